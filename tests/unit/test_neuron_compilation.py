# SPDX-License-Identifier: Apache-2.0
"""The compilation between a model's sync and its engine: the commands of the pods that are described are run here, as they are, on
folders in the place of mounts, with the program as the image has it. transformers-neuronx is a stand-in of 20 lines."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.contract import ContractError, components
from tools.images.catalog import IMAGES, context_files

pytestmark = pytest.mark.programs

REPO = Path(__file__).resolve().parents[2]
ENTRY = {
    "name": "llama-2-13b",
    "source": "hf://meta-llama/Llama-2-13b-hf",
    "engine": "tgw",
    "accelerators": ["inf2.24xlarge"],
    "tensor_parallel": 12,
    "context": 2048,
}
FILE = {"revision": "0e9e39f249a1"}
LIBRARY = """
import json, pathlib, time
class LlamaForSampling:
    @classmethod
    def from_pretrained(cls, path, **shapes):
        made = cls()
        made.shapes = shapes
        return made
    def cpu_compile(self):
        time.sleep(0.1)
    def save(self, folder):
        (pathlib.Path(folder) / "graph.neff").write_text(json.dumps(self.shapes))
"""


def engine(backend="tnx", **more):
    return {
        "name": "tgw",
        "image": "registry.example/tgw@sha256:" + "a" * 64,
        "devices": 12,
        "model_path": "/models/llama-2-13b",
        "neuron": {"backend": backend, "program_image": "registry.example/store:1"},
        **more,
    }


def described(backend="tnx", **more):
    made = components({**ENTRY, **more}, engine(backend), FILE)
    parse(made)
    return made


def pods(**more):
    """The Job's container, and the check of the engine's pod."""
    compilation, served = described(**more)
    (job,) = compilation["jobs"]
    spec = served["manifests"][0]["spec"]["template"]["spec"]
    return job["manifest"]["spec"]["template"]["spec"]["containers"][0], spec["initContainers"][1]


class Node:
    """Folders in the place of a pod's volumes, and the libraries of the engine's image."""

    def __init__(self, folder):
        self.folder, self.claim, self.program, self.image = (
            folder,
            *(folder / name for name in ("claim", "run", "image")),
        )
        model = self.claim / "llama-2-13b" / FILE["revision"]
        model.mkdir(parents=True)
        (model / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
        for name, file in context_files(IMAGES["model_store"], REPO).items():
            if name.startswith("model_store/"):
                (self.program / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, self.program / name)
        for part in ("", "llama"):
            (self.image / "transformers_neuronx" / part).mkdir(parents=True, exist_ok=True)
            (self.image / "transformers_neuronx" / part / "__init__.py").touch()
        (self.image / "transformers_neuronx" / "llama" / "model.py").write_text(LIBRARY)
        self.install("neuronx-cc", "2.20.9961")

    def install(self, package, version):
        for old in self.image.glob(f"{package.replace('-', '_')}-*.dist-info"):
            shutil.rmtree(old)
        made = self.image / f"{package.replace('-', '_')}-{version}.dist-info"
        made.mkdir()
        (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")

    def run(self, container):
        """Run a container's command; its mounts are known by their paths."""
        places = {
            mount["mountPath"]: str(self.claim / mount.get("subPath", ""))
            for mount in container["volumeMounts"]
            if mount["name"] == "models"
        }
        places["/run/neuron"] = str(self.program)
        arguments = [*container["command"], *container["args"]]
        # The store's root is the parent of the mounted folder.
        places["--root=/neuron"] = f"--root={self.claim}/.neuron"
        inside = re.compile("|".join(sorted(map(re.escape, places), key=len, reverse=True)))
        arguments = [inside.sub(lambda found: places[found[0]], one) for one in arguments]
        arguments[0] = sys.executable
        environment = {**os.environ, "PYTHONPATH": f"{self.program}:{self.image}"}
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_it_stands_between_the_sync_and_the_engine():
    compilation, served = described()
    assert (compilation["name"], compilation["requires"]) == ("neuron-llama-2-13b", ["model-llama-2-13b"])
    assert served["requires"] == ["model-llama-2-13b", "neuron-llama-2-13b"]
    assert described(state="absent")[0]["state"] == "absent"


def test_the_job_compiles_and_the_engine_finds_what_it_made(node):
    compiling, check = pods()
    refused = node.run(check)
    assert (refused.returncode, "has no artifacts" in refused.stderr) == (3, True), refused.stderr
    done = node.run(compiling)
    assert done.returncode == 0, done.stderr
    found = node.run(check)
    assert found.returncode == 0, found.stderr
    graph = json.loads((node.program / "artifacts" / "graph.neff").read_text())
    assert (graph["tp_degree"], graph["n_positions"], graph["amp"]) == (12, 2048, "bf16")
    again = node.run(compiling)
    assert json.loads(again.stdout.splitlines()[-1])["status"] == "present"


def test_an_engine_with_another_compiler_or_context_refuses_and_says_which_and_how_long(node):
    compiling, check = pods()
    assert node.run(compiling).returncode == 0
    node.install("neuronx-cc", "2.21.0")
    refused = node.run(check)
    assert refused.returncode == 3
    wanted = r'versions\.neuronx-cc is "2\.20\.9961", not "2\.21\.0"\. Compile it again \(the last time took \d+ s\)'
    assert re.search(wanted, refused.stderr), refused.stderr
    node.install("neuronx-cc", "2.20.9961")
    refused = node.run(pods(context=4096)[1])
    assert "n_positions is 2048, not 4096" in refused.stderr


def test_what_an_entry_says_of_the_graphs_reaches_the_job_and_the_check_alike():
    given = {"batch_size": 2, "buckets": [128, 512], "config": {"fuse_qkv": True}, "compiler_flags": ["-O1"]}
    compiling, check = pods(neuron=given)
    wanted = [
        "--batch-size=2",
        "--bucket=128",
        "--bucket=512",
        '--neuron-config={"fuse_qkv": true}',
        "--compiler-flag=-O1",
    ]
    for container in (compiling, check):
        assert set(wanted) <= set(container["args"])
    assert pods(neuron={"compile": False})[0]["args"][1] == "verify"
    with pytest.raises(ContractError, match="batchsize"):
        described(neuron={"batchsize": 2})


def test_the_job_takes_a_node_that_has_what_the_compiler_needs():
    spec = described()[0]["jobs"][0]["manifest"]["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "97Gi"}
    # vLLM's plugin compiles on a device: the smallest host of the family that has the memory.
    spec = described("vllm", name="llama-3.1-8b", accelerators=["inf2.xlarge"])[0]["jobs"][0]["manifest"]["spec"][
        "template"
    ]["spec"]
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["inf2.8xlarge", "inf2.24xlarge", "inf2.48xlarge"]
    assert spec["containers"][0]["resources"]["limits"]["aws.amazon.com/neuroncore"] == "12"


def test_its_pods_are_no_engines():
    compilation, served = described()
    labels = compilation["jobs"][0]["manifest"]["spec"]["template"]["metadata"]["labels"]
    service = next(one for one in served["manifests"] if one["kind"] == "Service")
    assert not service["spec"]["selector"].items() <= labels.items()


def test_another_description_is_another_job():
    names = {described(**more)[0]["jobs"][0]["manifest"]["metadata"]["name"] for more in ({}, {}, {"context": 4096})}
    assert len(names) == 2


def test_the_counts_are_shown_to_prometheus(node):
    compiling, __ = pods()
    for __ in range(2):
        assert node.run(compiling).returncode == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [
        sys.executable,
        "-m",
        "model_store.neuron.job",
        f"--root={node.claim}/.neuron",
        "metrics",
        f"--serve={port}",
    ]
    served = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": str(node.program)})
    try:
        said = answered(f"http://127.0.0.1:{port}/metrics")
    finally:
        served.terminate()
    assert 'neuron_artifacts_hits_total{model="llama-2-13b",backend="tnx"} 1' in said
    assert 'neuron_artifacts_misses_total{model="llama-2-13b",backend="tnx"} 1' in said
    assert served.wait(10) == 0


def answered(url):
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
