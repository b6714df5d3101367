# SPDX-License-Identifier: Apache-2.0
"""A model of a hub on a real node: its Job fetches it with the token of a Secret, the gateway serves it, and it goes with all it has."""

import json

import openai
import pytest
import yaml

from tests.support.local_platform import recap
from tests.support.model_server import COMMIT, TOKEN, Fault, ModelServer
from tests.support.tiny_model import make_tiny_gguf

pytestmark = [pytest.mark.cluster, pytest.mark.full, pytest.mark.timeout(2400)]


@pytest.fixture
def hub(platform, tmp_path):
    """A gated repository on the node's address, whose first answer of each large file is cut."""
    weights = tmp_path / "weights.gguf"
    make_tiny_gguf(weights, kind="bigram", seed=1)
    cut = set()

    def fault(asked):
        if asked.path.startswith("/cdn/") and asked.path not in cut:
            cut.add(asked.path)
            return Fault(cut_at=50_000)
        return None

    node = platform.kubectl(
        "get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"
    )
    files = {"tiny.gguf": weights.read_bytes(), "README.md": b"# tiny", "config.json": b"{}"}
    with ModelServer(files, fault, gated=True, host=node) as server:
        yield server


def catalogue(platform, *more, **variables):
    """The inventory's variables with further models."""
    file = platform.inventory.parent / "host_vars" / f"{platform.name}.yml"
    given = yaml.safe_load(file.read_text())
    given["model_catalog"] = [given["model_catalog"][0], *more]
    file.write_text(yaml.safe_dump({**given, **variables}))


def test_a_gated_model_is_fetched_in_the_cluster_served_and_removed_with_its_entry(platform, hub):
    platform.kubectl("-n", "llm-engines", "create", "secret", "generic", "hub-token", f"--from-literal=token={TOKEN}")
    model = {"name": "hub-1.0", "source": "hf://ORG/NAME", "revision": COMMIT, "engine": "llamacpp", "context": 512}
    catalogue(platform, model, models_environment={"HF_ENDPOINT": hub.url}, models_hub_token_secret="hub-token")
    platform.playbook("site.yml")
    job = platform.kubectl("-n", "llm-engines", "logs", "-l", "llm.on-eks/model=hub-1.0,job-name", "--tail=-1")
    assert "published hub-1.0: 1 files" in job
    assert TOKEN not in job
    client = openai.OpenAI(base_url=f"{platform.endpoint['url']}/v1", api_key=platform.endpoint["api_key"], timeout=60)
    assert client.completions.create(model="hub-1.0", prompt="This is a cake", max_tokens=4).usage.completion_tokens
    platform.playbook("playbooks/verify.yml", "-e", "verify_model=hub-1.0")
    assert recap(platform.playbook("site.yml").stdout)["changed"] == 0

    catalogue(platform, models_removed="delete")
    plan = platform.playbook("site.yml", "--check", "--diff").stdout
    assert "Deployment llm-engines/engine-hub-1-0" in plan
    platform.playbook("site.yml")
    kinds = "deployments,services,jobs,networkpolicies,poddisruptionbudgets"
    assert platform.kubectl("-n", "llm-engines", "get", kinds, "-l", "llm.on-eks/model=hub-1.0", "-o", "name") == ""
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="hub-1.0", prompt="x")
    platform.kubectl(
        "-n", "llm-engines", "wait", "pod", "-l", "llm.on-eks/model=hub-1.0", "--for=delete", "--timeout=100s"
    )
    platform.kubectl("-n", "llm-engines", "create", "job", "clean", "--from=cronjob/models-clean")
    platform.kubectl("-n", "llm-engines", "wait", "job/clean", "--for=condition=Complete", "--timeout=60s")
    cleaned = platform.kubectl("-n", "llm-engines", "logs", "job/clean", "-c", "models")
    assert f"hub-1.0/{COMMIT[:12]}" in cleaned
    assert "goes" in cleaned
    platform.kubectl("-n", "llm-engines", "delete", "job", "clean")
    catalogue(platform)
    assert json.loads(platform.kubectl("-n", "llm-engines", "get", "cronjob", "models-clean", "-o", "json"))
