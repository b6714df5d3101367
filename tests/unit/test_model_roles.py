# SPDX-License-Identifier: Apache-2.0
"""What role models describes for sources that are fetched inside the cluster."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.models import job as jobs
from ansible_collections.llm.on_eks.plugins.module_utils.neuron import job as compilations
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.parts import lapsed
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.steps import build
from tests.support import described

pytestmark = pytest.mark.programs

COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"
ENTRY = {
    "name": "llama-3.1-8b",
    "source": "hf://meta-llama/Llama-3.1-8B-Instruct",
    "revision": COMMIT,
    "engine": "llamacpp",
    "exclude": ["*.md"],
}


NEURON = {
    **ENTRY,
    "name": "llama-3.1-8b-inf2",
    "engine": "vllm",
    "accelerators": ["inf2.xlarge"],
}


@pytest.fixture(scope="module")
def components():
    given = {
        "model_catalog": [ENTRY, NEURON],
        "models_hub_token_secret": "hub-token",
        "models_service_account": "model-sync",
        "models_environment": {"HF_ENDPOINT": "https://mirror.example"},
        "platform_provider": "existing",
    }
    found = described.describe({"one": given})["one"]
    parse(found)
    return {component["name"]: component for component in found}


@pytest.fixture(scope="module")
def pod(components):
    (job,) = components["model-llama-3-1-8b"]["jobs"]
    assert "stdin_files" not in job
    return job["manifest"]["spec"]["template"]["spec"]


def test_the_job_fetches_with_arguments_that_its_program_takes(pod):
    chosen = jobs._parser().parse_args(pod["containers"][0]["args"])
    assert (chosen.command, chosen.source, chosen.revision) == ("fetch", ENTRY["source"], COMMIT)
    assert chosen.exclude == ["*.md"]
    assert "stdin" not in pod["containers"][0]


def test_the_token_is_a_file_and_no_argument(components, pod):
    container = pod["containers"][0]
    assert {"name": "HF_TOKEN_PATH", "value": "/run/hub/token"} in container["env"]
    assert {"name": "HF_ENDPOINT", "value": "https://mirror.example"} in container["env"]
    assert {"name": "hub", "mountPath": "/run/hub", "readOnly": True} in container["volumeMounts"]
    assert components["models"]["secrets"] == [{"name": "hub-token", "from": "existing"}]
    assert pod["serviceAccountName"] == "model-sync"


def test_a_fetch_that_failed_is_taken_up_again(components):
    (job,) = components["model-llama-3-1-8b"]["jobs"]
    assert job["manifest"]["spec"]["backoffLimit"] > 0


def test_the_engine_mounts_the_folder_that_the_job_publishes(components):
    deployment = components["engine-llama-3-1-8b"]["manifests"][0]
    mounts = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert [mount["subPath"] for mount in mounts if "subPath" in mount] == [f"llama-3.1-8b/{COMMIT[:12]}"]


def test_the_catalogue_stands_for_its_components_and_for_no_others(components):
    parts = components["models"]["parts"]
    in_namespace = {
        name for name, one in components.items() if (one.get("namespace") or {}).get("name") == "llm-engines"
    }
    assert set(parts["names"]) == in_namespace - {"models"}
    assert all(name.startswith(tuple(parts["prefixes"])) for name in parts["names"])
    assert {"model-llama-3-1-8b", "engine-llama-3-1-8b", "neuron-llama-3-1-8b-inf2", "models-metrics"} <= in_namespace


def test_what_no_entry_needs_any_more_goes_before_the_claim_that_it_mounts(components):
    """The claim stays as long as a pod has it: what the last entry left would hold it for ever."""
    installed = ["engine-old", "model-old", "models", "models-metrics", "neuron-old"]
    (owner,) = parse(
        [{**components["models"], "state": "absent", "parts": {**components["models"]["parts"], "names": []}}]
    )
    gone = lapsed([owner], installed)
    assert {one.name for one in gone} == {*installed} - {"models"}
    vertices = build([owner, *gone], installed)
    removal = {one.component: one for one in vertices if one.node.name == "removal"}
    for one in gone:
        assert removal[one.name].index in removal["models"].after
    assert removal["engine-old"].index in removal["model-old"].after


def test_what_the_catalogue_names_is_not_cleaned_away(components):
    (cron,) = [one for one in components["models"]["manifests"] if one["kind"] == "CronJob"]
    models, neuron = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    chosen = jobs._parser().parse_args(models["args"])
    assert (chosen.command, chosen.keep, chosen.namespace, chosen.drop_unnamed) == ("collect", 1, "llm-engines", False)
    assert chosen.wanted == [f"llama-3.1-8b/{COMMIT[:12]}", f"llama-3.1-8b-inf2/{COMMIT[:12]}"]
    chosen = compilations._parser().parse_args(neuron["args"])
    assert (chosen.command, chosen.wanted) == ("collect", ["llama-3.1-8b", "llama-3.1-8b-inf2"])
