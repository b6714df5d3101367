# SPDX-License-Identifier: Apache-2.0
"""A catalogue with two llama.cpp models and one by vLLM on the local cluster: one gateway, one key, and the life of their pods."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
import yaml

from tests.support.cluster_names import cluster_name
from tests.support.local_platform import converged, recap
from tests.support.tiny_model import make_tiny_folder, make_tiny_gguf

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gateway" / "tests"))

from gateway_support.vllm import program

pytestmark = [pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(3000)]

PROMPT = "This is a cake recipe:\n\n1. Mix the flour and the"
MODELS = ["tiny", "tiny-b", "tiny-vllm"]


def extra(folder: Path, **changed) -> Path:
    """The file for models_extra; `changed`: of the second llama.cpp model."""
    entries = [
        {"name": "tiny-b", "source": f"file://{folder / 'b.gguf'}", "engine": "llamacpp", "context": 1024, **changed},
        {
            "name": "tiny-vllm",
            "source": f"file://{folder / 'vllm'}",
            "engine": "vllm",
            "context": 1024,
            "engine_args": ["--dtype=float32"],
            "resources": {"requests": {"cpu": "250m", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
        },
    ]
    file = folder / "extra.yml"
    file.write_text(yaml.safe_dump({"model_catalog": entries}))
    return file


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    program()  # the image is made of packages in the cache
    folder = tmp_path_factory.mktemp("two")
    make_tiny_gguf(folder / "b.gguf")
    make_tiny_folder(folder / "vllm")
    with converged(cluster_name("engines"), folder) as made:
        began = time.monotonic()
        made.playbook("site.yml", "-e", f"models_extra={extra(folder)}")
        print(f"\ntwo more models, one by vLLM: {time.monotonic() - began:.0f} s")
        yield made


@pytest.fixture
def client(platform):
    endpoint = platform.endpoint
    return openai.OpenAI(base_url=f"{endpoint['url']}/v1", api_key=endpoint["api_key"], max_retries=0, timeout=120)


def folder_of(platform) -> Path:
    return platform.inventory.parent


def with_extra(platform):
    return ("-e", f"models_extra={folder_of(platform) / 'extra.yml'}")


def pods_of(platform, model):
    """The engine's, not those of Jobs."""
    label = f"llm.on-eks/engine,llm.on-eks/model={model}"
    found = platform.kubectl("-n", "llm-engines", "get", "pods", "-l", label, "-o", "json")
    return json.loads(found)["items"]


def endpoints_of(platform, model):
    """address -> whether it gets traffic."""
    found = platform.kubectl(
        "-n", "llm-engines", "get", "endpointslices", "-l", f"llm.on-eks/model={model}", "-o", "json"
    )
    slices = json.loads(found)["items"]
    return {e["addresses"][0]: e["conditions"]["ready"] for one in slices for e in one.get("endpoints") or ()}


def said_by(client, model, **more):
    body = {"prompt": PROMPT, "max_tokens": 16, "temperature": 0, **more}
    return client.completions.create(model=model, **body).choices[0].text


@contextmanager
def asking(client, model):
    """Ask all the time; the list of what went wrong."""
    stop, wrong, count = threading.Event(), [], [0]

    def ask():
        while not stop.is_set():
            try:
                assert said_by(client, model)
                count[0] += 1
            except Exception as problem:
                wrong.append(repr(problem))
            stop.wait(0.2)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()
    assert count[0], "nothing was answered"


def test_one_key_serves_models_of_both_engines(platform, client):
    assert sorted(model.id for model in client.models.list()) == MODELS
    said = {model: said_by(client, model) for model in MODELS}
    assert all(said.values())
    # The same weights: greedy text is the engines' common ground.
    assert len(set(said.values())) == 1, said


def test_the_pod_of_vllm_is_that_of_the_contract(platform):
    (pod,) = pods_of(platform, "tiny-vllm")
    container = pod["spec"]["containers"][0]
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["command"] == ["vllm", "serve"]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    program = "import os; s = os.statvfs('/dev/shm'); print(s.f_frsize * s.f_blocks, *(n for n in os.environ if '_SERVICE_' in n))"
    name = pod["metadata"]["name"]
    shared, *services = platform.kubectl("-n", "llm-engines", "exec", name, "--", "python3", "-c", program).split()
    assert int(shared) == 2 << 30
    # Nothing but the API server's own: a Service called vllm would set VLLM_PORT.
    assert {one.partition("_SERVICE_")[0] for one in services} <= {"KUBERNETES"}


@pytest.mark.parametrize("model", ["tiny-b", "tiny-vllm"])
def test_users_can_ask_it_all_questions_and_see_a_table(platform, model):
    done = platform.playbook("playbooks/verify.yml", *with_extra(platform), "-e", f"verify_model={model}")
    print(done.stdout)
    assert "question" in done.stdout and "BROKEN" not in done.stdout
    assert "greedy" in done.stdout and "held" in done.stdout


@pytest.mark.parametrize("model", ["tiny-b", "tiny-vllm"])
def test_a_rollout_loses_no_request_and_a_new_pod_gets_none_before_it_answered(platform, client, model):
    deployment = f"deploy/engine-{model}"
    (old,) = pods_of(platform, model)
    early = []
    with asking(client, model) as wrong:
        began = time.monotonic()
        platform.kubectl("-n", "llm-engines", "rollout", "restart", deployment)
        while time.monotonic() - began < 900:
            pods = {pod["status"].get("podIP"): pod for pod in pods_of(platform, model)}
            for address, ready in endpoints_of(platform, model).items():
                status = (pods.get(address) or {}).get("status", {})
                started = [one["started"] for one in status.get("containerStatuses") or ()]
                if ready and started and not all(started):
                    early.append(address)
            if [pod["metadata"]["name"] for pod in pods.values()] != [old["metadata"]["name"]] and len(pods) == 1:
                break
            time.sleep(0.5)
        print(f"\n{model}: a rollout took {time.monotonic() - began:.0f} s")
    assert early == []
    assert wrong == []


def test_a_new_pod_that_never_answers_leaves_the_old_one_serving_and_says_why(platform, client):
    """It listens and is healthy, and refuses whoever asks without a key."""
    (old,) = pods_of(platform, "tiny-b")
    extra(folder_of(platform), engine_args=["--api-key=nobody-knows"])
    with asking(client, "tiny-b") as wrong:
        done = platform.playbook(
            "site.yml", *with_extra(platform), "-e", "engine_llamacpp_start_timeout=20", check=False
        )
    print(done.stdout[-3000:])
    assert done.returncode != 0
    assert "engine-tiny-b" in done.stdout
    assert "tartup probe failed" in done.stdout
    assert wrong == []
    assert old["metadata"]["name"] in [pod["metadata"]["name"] for pod in pods_of(platform, "tiny-b")]
    extra(folder_of(platform))
    platform.playbook("site.yml", *with_extra(platform))
    assert said_by(client, "tiny-b")


def test_an_entry_that_is_deleted_takes_all_of_its_model_with_it(platform, client):
    done = platform.playbook("site.yml")
    assert recap(done.stdout)["failed"] == 0
    assert [model.id for model in client.models.list()] == ["tiny"]
    with pytest.raises(openai.NotFoundError):
        said_by(client, "tiny-vllm")
    kinds = "deployments,services,networkpolicies,jobs,endpointslices"
    left = platform.kubectl("-n", "llm-engines", "get", kinds, "-o", "name")
    assert "tiny-b" not in left and "tiny-vllm" not in left
    deadline = time.monotonic() + 120
    while (left := [*pods_of(platform, "tiny-b"), *pods_of(platform, "tiny-vllm")]) and time.monotonic() < deadline:
        time.sleep(1)
    assert left == []
    assert recap(platform.playbook("site.yml").stdout)["changed"] == 0
