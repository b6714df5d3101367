# SPDX-License-Identifier: Apache-2.0
"""inventories/prod with every system on, an emulated account, a real control plane and nodes that run nothing."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference.accelerators import (
    KIND_LABEL,
    KINDS,
    AcceleratorKind,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.registry import Registry
from tests.support.cluster_client import new_client
from tests.support.content_cache import cache_root
from tests.support.described import IMAGES, REPO
from tests.support.docker_registry import published, started
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws, make_role
from tests.support.emulated_cluster import EmulatedEks
from tests.support.simulated_backends import SimulatedBackends
from tests.support.simulated_node import SimulatedNode
from tests.support.simulated_operators import SimulatedOperators

# Beside what inventories/prod has on already.
SYSTEMS = ("istio", "kiali", "jaeger", "prometheus_adapter", "metrics_server", "storage_s3")
REVISION = "0e9e39f249a16976918f6564b8830bc894c89659"
DIGEST = "sha256:5617a9f61b028005a4858fdac845db406aefb1815617a9f61b028005a4858fda"
# name, engine, accelerator, more: each engine, GPUs and Neuron, each signal of autoscaling.
MODELS = [
    ("llama-3.1-8b", "vllm", "g6.xlarge", {"replicas": {"min": 1, "max": 4}, "autoscaling": {"signal": "queue"}}),
    ("llama-3.1-8b-inf2", "vllm", "inf2.8xlarge", {"tensor_parallel": 2, "context": 4096}),
    ("mistral-7b", "sglang", "g6.xlarge", {"replicas": {"min": 0, "max": 2}, "autoscaling": {"signal": "kv_cache"}}),
    ("llama-tgi", "tgi", "g6.xlarge", {"replicas": {"min": 1, "max": 2}, "autoscaling": {"signal": "requests"}}),
    ("llama-2-13b-tgw", "tgw", "inf2.24xlarge", {"tensor_parallel": 12, "context": 2048}),
]
# Variable → image of others, which are locked by their digest. A registry of this machine stands in for their publishers'.
PUBLISHED = {
    "engine_vllm_image": "vllm/vllm-openai:v0.33.0",
    "engine_vllm_neuron_image": "neuron/vllm-neuronx:0.13.0",
    "engine_sglang_image": "lmsysorg/sglang:v0.5.23",
    "engine_tgi_image": "huggingface/tgi:3.3.7",
    "jaeger_image": "jaegertracing/jaeger:2.19.0",
    "accelerators_neuron_monitor_image": "neuron/neuron-monitor:1.3.0",
    "registry_push_base": "library/python:3.12-slim",
}
# Of Inf instances, on demand and spot: a new account may have none.
_RAISED = ("L-1945791B", "L-B5D1601B")
GPU = {"nvidia.com/gpu": 8}


def neuron(devices: int) -> dict[str, int]:
    """Inferentia2 has two cores in a device."""
    return {"aws.amazon.com/neuron": devices, "aws.amazon.com/neuroncore": 2 * devices}


def labels(kind: AcceleratorKind) -> dict[str, str]:
    """As the platform's node pools have them."""
    return {**KINDS[kind].labels, KIND_LABEL: kind}


NODES: dict[str, dict[str, Any]] = {
    **{f"system-{zone}": {"zone": f"{REGION}{zone}", "instance_type": "m7i.xlarge"} for zone in "abc"},
    "gpu": {"zone": f"{REGION}a", "instance_type": "g6.xlarge", "devices": GPU, "labels": labels("gpu")},
    "inf2": {"zone": f"{REGION}a", "instance_type": "inf2.8xlarge", "devices": neuron(1), "labels": labels("neuron")},
    "inf2-large": {
        "zone": f"{REGION}b",
        "instance_type": "inf2.24xlarge",
        "devices": neuron(6),
        "labels": labels("neuron"),
    },
}


@dataclass
class Ran:
    """One run of a playbook. `cpu_s`: of Ansible and all that it started."""

    said: str
    code: int
    cpu_s: float
    wall_s: float

    @property
    def changed(self) -> int:
        return sum(int(found) for found in re.findall(r"changed=(\d+)", self.said))


@dataclass
class Production:
    """An inventory on disk and the world that it is run on."""

    name: str
    inventory: Path
    aws: EmulatedAws
    kubeconfig: Path

    def run(self, playbook: str, *arguments: str, check: bool = True) -> Ran:
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory), playbook]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [*command, *arguments],
            cwd=REPO,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        said = done.stdout + done.stderr
        assert done.returncode == 0 or not check, said[-12000:]
        return Ran(said, done.returncode, cpu_s, wall_s)

    def _environment(self) -> dict[str, str]:
        """Whoever asks the internet gets no answer, and a run that needed one fails."""
        nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,198.18.0.0/16"}
        quiet = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
        return {**os.environ, **quiet, **nowhere, "LLM_ON_EKS_CACHE": str(cache_root())}


def model(name: str, engine: str, accelerator: str, more: dict[str, Any]) -> dict[str, Any]:
    source = {"source": "hf://meta-llama/Llama-3.1-8B-Instruct", "revision": REVISION}
    if engine == "tgw":
        source = {"source": "s3://our-models/llama-2-13b", "revision": DIGEST}
    return {"name": name, **source, "engine": engine, "accelerators": [accelerator], **more}


@contextmanager
def publishers(folder: Path) -> Iterator[dict[str, str]]:
    """Variable → reference of the image, in a registry that runs meanwhile."""
    process, host = started(folder / "registry")
    try:
        for image in PUBLISHED.values():
            published(Registry(host), *image.split(":"), "amd64", layer_bytes=1000)
        yield {name: f"{host}/{image}" for name, image in PUBLISHED.items()}
    finally:
        process.terminate()
        process.wait(10)


def way_in(aws: EmulatedAws, folder: Path) -> dict[str, Any]:
    """What the owner of an account says of it."""
    keys = folder / "credentials"
    keys.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in KEYS.items()))
    return {
        "ansible_python_interpreter": sys.executable,
        "platform_aws_endpoint_url": aws.url,
        "platform_aws_credentials_file": str(keys),
        "platform_state_bucket": "our-records",
        "platform_images": {**IMAGES, "tgw": "localhost/tgw:1"},
    }


def variables(folder: Path, mirror: Path) -> dict[str, Any]:
    """What the owner of a cluster says, and every system that prod leaves out."""
    catalog = yaml.safe_load((REPO / "inventories/prod/group_vars/eks_clusters/models.yml").read_text())
    return {
        "platform_chart_mirror": str(mirror),
        "platform_report_file": str(folder / "report.html"),
        "platform_protected": False,
        "cluster_admins": ["arn:aws:iam::123456789012:role/platform"],
        # As if this ran within the VPC.
        "cluster_public_access_cidrs": ["203.0.113.7/32"],
        "models_check_sources": False,
        # A control plane of this machine has a class of that name.
        "storage_efs_class": "files",
        # What would outlive the cluster.
        "storage_efs_retain": False,
        "loki_bucket_retain": False,
        "storage_s3_buckets": [{"name": "weights", "bucket": "our-models"}],
        # The public source of Neuron's chart is an older one.
        "accelerators_neuron_version": "1.0.0",
        "istio_mtls": "strict",
        "model_catalog": [*catalog["model_catalog"], *(model(*one) for one in MODELS)],
        **{f"{system}_state": "present" for system in SYSTEMS},
    }


@contextmanager
def production(eks: EmulatedEks, folder: Path, mirror: Path, *arguments: str) -> Iterator[Production]:
    """`mirror`: folder of charts; `arguments` as of `python -m local.aws serve`."""
    name = eks.cluster.config.name
    client = new_client(eks.cluster.kubeconfig)
    address = eks.cluster.config.host_address
    with ExitStack() as world:
        aws = world.enter_context(eks.account(*arguments))
        aws.client("s3").create_bucket(Bucket="our-models", CreateBucketConfiguration={"LocationConstraint": REGION})
        # EKS takes no administrator that IAM does not know.
        make_role(aws, "platform")
        for code in _RAISED:
            aws.admin("PUT", f"quotas/{REGION}/{code}", {"value": 256})
        for node, given in NODES.items():
            world.enter_context(SimulatedNode(new_client(eks.cluster.kubeconfig), node, pod_ip=str(address), **given))
        backends = world.enter_context(SimulatedBackends(str(address), folder))
        world.enter_context(SimulatedOperators(client, backends.authority))
        shutil.copytree(REPO / "inventories" / "prod" / "group_vars", folder / "group_vars")
        (folder / "host_vars").mkdir()
        images = world.enter_context(publishers(folder))
        account = way_in(aws, folder)
        given = {"account": account, name: account | variables(folder, mirror) | images}
        given["account"]["registry_push_base"] = images["registry_push_base"]
        for host, said in json.loads(json.dumps(given)).items():
            (folder / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(said))
        hosts = {"eks_clusters": {"hosts": {name: {}}}, "aws_accounts": {"hosts": {"account": {}}}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
        yield Production(name, folder / "hosts.yml", aws, eks.cluster.kubeconfig)
