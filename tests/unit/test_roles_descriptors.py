# SPDX-License-Identifier: Apache-2.0
"""Each role's `describe`, through Ansible, against the descriptor's own schema."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.module_utils import names
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from tests.support import described as described_roles

REPO = Path(__file__).resolve().parents[2]


def describe(**variables):
    """Components by name, from the real roles with these variables."""
    (found,) = described_roles.describe({"here": variables}).values()
    parse(found)
    return {component["name"]: component for component in found}


@pytest.fixture(scope="module")
def weights():
    return described_roles.weights()


def entry(weights, name="llama-3.1-tiny", **more):
    return {"name": name, "source": f"file://{weights}", "engine": "llamacpp", **more}


@pytest.fixture(scope="module")
def described(weights):
    catalog = [
        entry(weights, replicas={"min": 2, "max": 2}, context=1024, resources={"limits": {"memory": "3Gi"}}),
        entry(weights, "gone", state="absent"),
        entry(weights, "elsewhere", engine="vllm"),
    ]
    front_door = "http://127.0.0.1:18080"
    return describe(
        model_catalog=catalog,
        platform_local=True,
        platform_front_door=front_door,
        gateway_values={"queue_size": 7},
    )


def manifest(component, kind):
    (found,) = [document for document in component["manifests"] if document["kind"] == kind]
    return found


def kinds(component):
    return {document["kind"] for document in component["manifests"]}


def pod_specs(described):
    for component in described.values():
        for document in [*component.get("manifests", []), *(job["manifest"] for job in component.get("jobs", []))]:
            if document["kind"] in ("Deployment", "Job"):
                yield document["spec"]["template"]["spec"]


def test_one_component_each_for_claim_model_engine_and_gateway(described):
    own = {name for name in described if name.startswith(("model", "engine")) or name == "gateway"}
    assert own == {
        "models",
        "model-llama-3-1-tiny",
        "model-gone",
        "model-elsewhere",
        "engine-llama-3-1-tiny",
        "engine-gone",
        "engine-elsewhere",
        "gateway",
    }


def test_an_absent_entry_is_described_as_absent(described):
    assert described["engine-gone"]["state"] == described["model-gone"]["state"] == "absent"
    assert "manifests" not in described["engine-gone"]


def test_a_job_is_named_after_what_it_publishes(described, weights):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (job,) = described["model-llama-3-1-tiny"]["jobs"]
    assert job["stdin_files"] == [str(weights)]
    assert job["manifest"]["metadata"]["name"] == f"sync-llama-3-1-tiny-{digest[:8]}"
    arguments = job["manifest"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--sha256={digest}" in arguments
    assert f"--size={weights.stat().st_size}" in arguments


def test_an_engine_mounts_exactly_its_model(described, weights):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    pod = manifest(described["engine-llama-3-1-tiny"], "Deployment")["spec"]["template"]["spec"]
    mount = pod["containers"][0]["volumeMounts"][0]
    assert mount == {
        "name": "models",
        "mountPath": "/model",
        "subPath": f"llama-3.1-tiny/{digest[:12]}",
        "readOnly": True,
    }


def test_each_slot_of_an_engine_has_the_whole_context(described):
    arguments = manifest(described["engine-llama-3-1-tiny"], "Deployment")["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    assert {"--ctx-size=4096", "--parallel=4", "--alias=llama-3.1-tiny"} <= set(arguments)


def test_the_engines_flags_are_flags_that_the_engine_knows(described):
    sys.path.insert(0, str(REPO / "engines" / "llamacpp"))
    from llamacpp_engine.flags import parse as parse_flags

    deployment = manifest(described["engine-llama-3-1-tiny"], "Deployment")
    settings = parse_flags(deployment["spec"]["template"]["spec"]["containers"][0]["args"])
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings.drain_timeout_s


def test_engine_service_and_pods_carry_the_labels_that_the_gateway_looks_for(described):
    wanted = {names.LABEL_ENGINE: "llamacpp", names.LABEL_MODEL: "llama-3.1-tiny"}
    component = described["engine-llama-3-1-tiny"]
    service, deployment = manifest(component, "Service"), manifest(component, "Deployment")
    assert service["metadata"]["labels"] == service["spec"]["selector"] == wanted
    assert deployment["spec"]["template"]["metadata"]["labels"] == wanted
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]


def test_an_entrys_resources_go_over_the_roles(described):
    pod = manifest(described["engine-llama-3-1-tiny"], "Deployment")["spec"]["template"]["spec"]
    resources = pod["containers"][0]["resources"]
    assert resources["limits"]["memory"] == "3Gi"
    assert resources["requests"]["memory"] == "512Mi"


def test_only_more_than_one_replica_gets_a_disruption_budget(described):
    assert "PodDisruptionBudget" in kinds(described["engine-llama-3-1-tiny"])
    assert "PodDisruptionBudget" not in kinds(described["gateway"])


def test_no_pod_has_more_rights_than_it_needs(described):
    pods = list(pod_specs(described))
    assert len(pods) == 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_every_image_is_listed_for_mirrors(described):
    for component in described.values():
        used = {container["image"] for pod in pod_specs({"": component}) for container in pod["containers"]}
        assert used == set(component.get("images", []))


def test_object_names_are_names_that_kubernetes_takes(described):
    for component in described.values():
        for document in [*component.get("manifests", []), *(job["manifest"] for job in component.get("jobs", []))]:
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", document["metadata"]["name"])


def test_the_gateways_config_is_one_that_the_gateway_takes(described):
    from llm_gateway.config.settings import load

    document = yaml.safe_load(manifest(described["gateway"], "ConfigMap")["data"]["config.yaml"])
    settings = load(None, {}, document)
    assert settings.kubernetes
    assert settings.queue_size == 7
    pod = manifest(described["gateway"], "Deployment")["spec"]["template"]["spec"]
    assert settings.keys_dir in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert pod["terminationGracePeriodSeconds"] > settings.drain_timeout + settings.drain_delay


def test_the_gateway_may_read_endpoint_slices_and_nothing_else(described):
    assert manifest(described["gateway"], "Role")["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    ]


def test_the_first_key_is_never_mounted(described):
    pod = manifest(described["gateway"], "Deployment")["spec"]["template"]["spec"]
    assert "llm-gateway-first-key" not in json.dumps(pod)


@pytest.mark.programs
def test_removing_everything_needs_no_model_file(weights):
    gone = entry(weights.parent / "moved-away.gguf")
    described = describe(model_catalog=[gone], models_state="absent", engine_llamacpp_state="absent")
    assert described["model-llama-3-1-tiny"]["state"] == "absent"


def test_every_setting_of_the_gateway_is_a_variable_with_the_gateways_own_default():
    from dataclasses import MISSING

    from llm_gateway.config.settings import fields, parse

    role = REPO / "roles" / "gateway"
    computed = yaml.safe_load((role / "vars" / "main.yml").read_text())["gateway_computed_values"]
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    # What the role decides itself, or what only makes sense outside of Kubernetes.
    fixed = {
        "engine",
        "model",
        "kubernetes_api",
        "kubernetes_token_file",
        "kubernetes_ca_file",
        "api_key_file",
        "admin_keys_dir",
        "state_file",
    }
    for field in fields():
        if field.name in fixed:
            continue
        assert field.name in computed, f"roles/gateway/vars/main.yml lacks {field.name}"
        variable = f"gateway_{field.name}"
        # The last one is the address of role jaeger's, where that is there.
        if str(computed[field.name]).startswith("{{ " + variable) and field.name not in (
            "workers",
            "drain_delay",
            "drain_timeout",
            "trace_endpoint",
        ):
            default = {} if field.default is MISSING else field.default
            assert parse(field, defaults[variable], variable) == default


@pytest.mark.programs
def test_the_gateway_scales_by_its_own_metric_and_shares_its_limits_over_all_pods():
    described = describe(
        model_catalog=[],
        gateway_autoscaling={"enabled": True, "min": 2, "max": 6},
        gateway_secret="mine",
        gateway_network_policy_from=[{"namespaceSelector": {}}],
        gateway_limit_concurrency=12,
        gateway_queue_timeout="45s",
    )
    gateway = described["gateway"]
    scaler = manifest(gateway, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == "llm_gateway_requests_in_flight"
    deployment = manifest(gateway, "Deployment")["spec"]
    assert "replicas" not in deployment
    assert deployment["template"]["spec"]["topologySpreadConstraints"]
    assert manifest(gateway, "PodDisruptionBudget")
    assert manifest(gateway, "NetworkPolicy")["spec"]["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    config = yaml.safe_load(manifest(gateway, "ConfigMap")["data"]["config.yaml"])
    assert (config["limit_replicas"], config["limit_concurrency"], config["queue_timeout"]) == (6, 12, "45s")
    volumes = {volume["name"] for volume in deployment["template"]["spec"]["volumes"]}
    assert {"admin", "secrets"} <= volumes
