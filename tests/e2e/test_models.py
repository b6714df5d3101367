# SPDX-License-Identifier: Apache-2.0
"""Models of a hub on a real node: Jobs fetch and compile them, the gateway serves them, and they go with all they have."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.module_utils.models.store import FileEntry, Manifest
from local.kubernetes.config import ClusterConfig
from tests.support.cluster_client import kubectl
from tests.support.guarded_bucket import REGION, described_policies, guarded_bucket
from tests.support.local_platform import REPO, recap
from tests.support.model_server import COMMIT, TOKEN, Fault, ModelServer
from tests.support.pod_identity_agent import PodIdentityAgent
from tests.support.tiny_model import make_tiny_folder, make_tiny_gguf
from tests.support.webhook import Webhook, allow, patch
from tools.images.__main__ import cache
from tools.images.build import Options, Plan, build
from tools.images.catalog import Image, context_files, digest, reference
from tools.progress import Progress

pytestmark = [pytest.mark.cluster, pytest.mark.full, pytest.mark.timeout(2400)]

OVERLAY = {
    f"tgw_neuron/{file.relative_to(REPO / 'engines/tgw/tgw_neuron').as_posix()}": file.relative_to(REPO).as_posix()
    for file in sorted((REPO / "engines/tgw/tgw_neuron").rglob("*.py"))
}


@pytest.fixture(scope="module")
def here(platform):
    """This machine's address on the link to the node: its pods reach it, and so does the run."""
    return ClusterConfig(platform.name).host_address


@pytest.fixture(scope="module")
def client(platform):
    endpoint = platform.endpoint
    return openai.OpenAI(base_url=f"{endpoint['url']}/v1", api_key=endpoint["api_key"], max_retries=0, timeout=60)


@contextmanager
def catalogue(platform, *more, **variables):
    """The platform's variables with further models; as before at the end."""
    file = platform.inventory.parent / "host_vars" / f"{platform.name}.yml"
    before = file.read_text()
    given = yaml.safe_load(before)
    given["model_catalog"] = [*given["model_catalog"], *more]
    file.write_text(yaml.safe_dump({**given, **variables}))
    try:
        yield
    finally:
        file.write_text(before)


def hub_of(host, files, **more):
    """A hub whose first answer of each large file is cut."""
    cut = set()

    def fault(asked):
        if asked.path.startswith("/cdn/") and asked.path not in cut:
            cut.add(asked.path)
            return Fault(cut_at=50_000)
        return None

    return ModelServer(files, **{"fault": fault, "host": host, **more})


def objects_of(platform, model):
    kinds = "deployments,services,jobs,networkpolicies,poddisruptionbudgets"
    return platform.kubectl("-n", "llm-engines", "get", kinds, "-l", f"llm.on-eks/model={model}", "-o", "name")


def until(what, holds, timeout_s=150):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(1)


def wait_removed(platform, client, model):
    """No object, no pod, no route: the gateway's pods see their new file when the kubelet has written it."""
    assert objects_of(platform, model) == ""
    pods = ("get", "pods", "-l", f"llm.on-eks/model={model}", "-o", "name")
    until("its pods are gone", lambda: platform.kubectl("-n", "llm-engines", *pods) == "")
    until("its route is gone", lambda: model not in [one.id for one in client.models.list()])
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=model, prompt="x")


def log_of(platform, model, job):
    """Of the pods of the model's Jobs of this name."""
    found = platform.kubectl("-n", "llm-engines", "get", "jobs", "-l", f"llm.on-eks/model={model}", "-o", "name")
    [name] = [one for one in found.split() if one.startswith(f"job.batch/{job}-")]
    return platform.kubectl("-n", "llm-engines", "logs", name, "--all-containers", "--tail=-1")


def clean(platform):
    """What the CronJob says when it is run now."""
    platform.kubectl("-n", "llm-engines", "create", "job", "clean", "--from=cronjob/models-clean")
    try:
        platform.kubectl("-n", "llm-engines", "wait", "job/clean", "--for=condition=Complete", "--timeout=100s")
        return platform.kubectl("-n", "llm-engines", "logs", "job/clean", "--all-containers")
    finally:
        platform.kubectl("-n", "llm-engines", "delete", "job", "clean")


def test_a_gated_model_is_fetched_in_the_cluster_served_and_removed_with_its_entry(platform, here, client, tmp_path):
    weights = make_tiny_gguf(tmp_path / "weights.gguf", kind="bigram", seed=1)
    model = {"name": "hub-1.0", "source": "hf://ORG/NAME", "revision": COMMIT, "engine": "llamacpp", "context": 512}
    files = {"tiny.gguf": weights.read_bytes(), "README.md": b"# tiny", "config.json": b"{}"}
    platform.kubectl("-n", "llm-engines", "create", "secret", "generic", "hub-token", f"--from-literal=token={TOKEN}")
    with (
        hub_of(here, files, gated=True) as hub,
        catalogue(platform, model, models_environment={"HF_ENDPOINT": hub.url}, models_hub_token_secret="hub-token"),
    ):
        said = platform.playbook("site.yml").stdout
        job = log_of(platform, "hub-1.0", "sync")
        assert "published hub-1.0: 3 files" in job
        assert len(weights.read_bytes()) <= hub.sent_bytes < len(weights.read_bytes()) + 100_000
        assert TOKEN not in job + said
        assert TOKEN not in platform.kubectl("-n", "llm-engines", "get", "pods,jobs", "-o", "yaml")
        assert client.completions.create(model="hub-1.0", prompt="This is a cake", max_tokens=4).usage.completion_tokens
        platform.playbook("playbooks/verify.yml", "-e", "verify_model=hub-1.0")
        assert recap(platform.playbook("site.yml").stdout)["changed"] == 0
    with catalogue(platform, models_removed="delete"):
        plan = platform.playbook("site.yml", "--check", "--diff").stdout
        assert "Deployment llm-engines/engine-hub-1-0" in plan
        platform.playbook("site.yml")
        wait_removed(platform, client, "hub-1.0")
        said = clean(platform)
        assert f"hub-1.0/{COMMIT[:12]}" in said and "goes" in said
        assert recap(platform.playbook("site.yml").stdout)["changed"] == 0


TOKEN_FOLDER = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
AUDIENCE = "pods.eks.amazonaws.com"


def pod_identity(agent):
    """What EKS puts into the pods of the sync Job's account (https://github.com/aws/amazon-eks-pod-identity-webhook)."""
    token = {
        "serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 86400, "path": "eks-pod-identity-token"}
    }
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{TOKEN_FOLDER}/eks-pod-identity-token",
    }
    container = "/spec/containers/0"
    added = {
        "/spec/volumes/-": {"name": "eks-pod-identity-token", "projected": {"sources": [token]}},
        f"{container}/volumeMounts/-": {"name": "eks-pod-identity-token", "mountPath": TOKEN_FOLDER, "readOnly": True},
    }
    operations = [{"op": "add", "path": path, "value": value} for path, value in added.items()]
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    operations += [{"op": "add", "path": f"{container}/env/-", "value": value} for value in environment]

    def answer(request):
        ours = request["object"]["spec"].get("serviceAccountName") == "models-sync"
        return patch(*operations)(request) if ours else allow(request)

    return answer


def test_a_bucket_is_read_with_the_credentials_that_pod_identity_gives(platform, here, tmp_path):
    kubeconfig = platform.endpoint["kubeconfig"]
    weights = make_tiny_gguf(tmp_path / "weights.gguf", kind="bigram", seed=1).read_bytes()
    platform.kubectl("-n", "llm-engines", "create", "serviceaccount", "models-sync")

    def whose(token):
        """As EKS Auth: the API server knows whose token it is, and the account has an association."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        review["spec"] = {"token": token, "audiences": [AUDIENCE]}
        said = kubectl(kubeconfig, "create", "-o", "json", "-f", "-", given=review)
        status = json.loads(said)["status"]
        ours = status.get("user", {}).get("username") == "system:serviceaccount:llm-engines:models-sync"
        return credentials if status.get("authenticated") and ours else None

    pods_made = {"resources": ("pods",), "operations": ("CREATE",)}
    policies, files = described_policies(), {"llama-2-13b/tiny.gguf": weights}
    with (
        guarded_bucket(here, "my-models", files, policies) as (url, credentials),
        PodIdentityAgent(here, {}, whose) as agent,
        Webhook(kubeconfig, here, tmp_path, "llm-engines", pod_identity(agent), mutating=True, **pods_made),
    ):
        digest = hashlib.sha256(weights).hexdigest()
        revision = Manifest("", "", "", (FileEntry("model.gguf", len(weights), digest),)).digest
        model = {"source": "s3://my-models/llama-2-13b", "revision": f"sha256:{revision}", "engine": "llamacpp"}
        given = {
            "models_service_account": "models-sync",
            "models_environment": {"AWS_ENDPOINT_URL_S3": url, "AWS_REGION": REGION},
        }
        with catalogue(platform, {**model, "name": "bucket", "context": 512, "weights_gib": 0.01}, **given):
            said = platform.playbook("site.yml").stdout
            job = log_of(platform, "bucket", "sync")
            assert "published bucket: 1 files" in job and len(agent.asked) == 1
            described = platform.kubectl("-n", "llm-engines", "get", "pods,jobs", "-o", "yaml")
            secrets = [credentials["SecretAccessKey"], credentials["Token"], *agent.asked]
            assert not [secret for secret in secrets if secret in said + job + described]
            assert recap(platform.playbook("site.yml").stdout)["changed"] == 0
    platform.playbook("site.yml")


@pytest.fixture(scope="module")
def tgw_image(platform):
    """Text Generation WebUI with our overlay, on the node; it and the Neuron library are stand-ins."""
    image = Image("tgw-stand-in", "tests/support/tgw", OVERLAY)
    options, files = Options(cache()), context_files(image, REPO)
    ref = reference(image.name, digest(files, {}))
    one = Plan(image, ref, files, options.cache / f"{image.name}-{ref.rpartition(':')[2]}.tar")
    build([one], options, Progress({image.name: 20}, lambda _text: None))
    command = [sys.executable, "-m", "local.kubernetes", "import-images", "--name", platform.name]
    subprocess.run([*command, f"{ref}={one.archive}"], cwd=REPO, check=True, capture_output=True)
    return ref


@pytest.fixture
def neuron_device(platform):
    """The node as one with a Neuron device, as its plugin would show it."""
    [name] = platform.kubectl("get", "nodes", "-o", "name").split()
    platform.kubectl("label", name, "node.kubernetes.io/instance-type=inf2.xlarge", "--overwrite")
    shown = json.dumps({"status": {kind: {"aws.amazon.com/neuroncore": "2"} for kind in ("capacity", "allocatable")}})
    platform.kubectl("patch", name, "--subresource=status", "--type=merge", "-p", shown)


def test_a_model_is_compiled_once_before_its_engine_loads_it_and_again_for_another_shape(
    platform, here, client, tgw_image, neuron_device, tmp_path
):
    folder = make_tiny_folder(tmp_path / "tiny")
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    small = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    model = {
        "name": "neuron-1.0",
        "source": "hf://ORG/NAME",
        "revision": COMMIT,
        "engine": "tgw",
        "context": 256,
        "accelerators": ["inf2.xlarge"],
        "neuron": {"resources": small},
        "resources": small,
    }
    with hub_of(here, files) as hub:
        given = {
            "models_environment": {"HF_ENDPOINT": hub.url},
            "engine_tgw_image": tgw_image,
            "engine_tgw_backend": "tnx",
            "engine_tgw_start_timeout": 120,
        }
        with catalogue(platform, model, **given):
            plan = platform.playbook("site.yml", "--check").stdout
            assert f"note: moves {len(files)} files, " in plan and "from hf://ORG/NAME" in plan
            platform.playbook("site.yml")
            first = log_of(platform, "neuron-1.0", "compile")
            assert '"status": "compiled"' in first
            whole = client.completions.create(model="neuron-1.0", prompt="This is a cake", max_tokens=4)
            assert whole.usage.completion_tokens
            assert recap(platform.playbook("site.yml").stdout)["changed"] == 0
        with catalogue(platform, {**model, "context": 128}, **given):
            platform.playbook("site.yml")
            again = log_of(platform, "neuron-1.0", "compile")
            assert '"status": "compiled"' in again and "n_positions" in again
            assert client.completions.create(model="neuron-1.0", prompt="This is a cake", max_tokens=4).choices[0].text
    with catalogue(platform, models_removed="delete"):
        platform.playbook("site.yml")
        wait_removed(platform, client, "neuron-1.0")
        # Nothing is compiled any more, and nobody shows its counts.
        deployments = platform.kubectl("-n", "llm-engines", "get", "deployments", "-o", "name")
        assert deployments.split() == ["deployment.apps/engine-tiny"]
        assert clean(platform).count("neuron-1.0.tnx/") == 2


def failed(platform, name, **variables):
    """What site.yml says that cannot bring this model up."""
    model = {"name": name, "source": "hf://ORG/NAME", "revision": COMMIT, "engine": "llamacpp", "context": 512}
    with catalogue(platform, model, **variables):
        done = platform.playbook("site.yml", "-e", f"platform_only=engine-{name}", check=False)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    return done.stdout


def test_a_gated_repository_without_a_token_is_found_before_anything_is_changed(platform, here):
    with hub_of(here, {"tiny.gguf": b"GGUF" * 1000}, gated=True) as hub:
        said = failed(platform, "gated", models_environment={"HF_ENDPOINT": hub.url})
    assert "ORG/NAME is gated or private: put a token into the Secret that models_hub_token_secret names" in said
    assert objects_of(platform, "gated") == ""


@pytest.mark.parametrize("name", ["gated", "large", "corrupt"])
def test_what_only_the_job_finds_is_one_sentence_and_no_engine_is_started(platform, here, tmp_path, name):
    weights = make_tiny_gguf(tmp_path / "weights.gguf", kind="bigram", seed=1).read_bytes()
    more, sentence = {
        "gated": ({"gated": True}, "is gated or private"),
        "large": ({"announced_more": 10**15}, "enlarge the volume or remove old revisions"),
        "corrupt": ({"fault": lambda _asked: Fault(flip=800_000)}, "sha256 is"),
    }[name]
    try:
        with hub_of(here, {"tiny.gguf": weights}, **more) as hub:
            said = failed(platform, name, models_environment={"HF_ENDPOINT": hub.url}, models_check_sources=False)
        assert sentence in said, said[-3000:]
        kinds = platform.kubectl("-n", "llm-engines", "get", "deploy", "-l", f"llm.on-eks/model={name}", "-o", "name")
        assert kinds == "", "an engine without its model would crash for ever"
        pods = ("get", "pods", "-l", f"llm.on-eks/model={name}", "-o", "name")
        assert len(platform.kubectl("-n", "llm-engines", *pods).split()) == 1, "trying again does not help"
    finally:
        platform.playbook("site.yml")
