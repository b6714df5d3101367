# SPDX-License-Identifier: Apache-2.0
"""What the catalogue's `autoscaling` becomes, and the node pools that its accelerators become."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.engines import scaling
from ansible_collections.llm.on_eks.plugins.plugin_utils.karpenter.pools import PoolError, pools
from tests.support.described import REPO
from tools.debian import find

PROMTOOL = find("promtool")

SETTINGS = {
    "node_class": "accelerated",
    "capacity": ["reserved", "on-demand"],
    "spare": 1,
    "budgets": [{"nodes": "1"}],
    "consolidate_after": "10m",
    "expire_after": "Never",
    "drain_limit": "2h",
    "startup_taints": [],
}


def entry(name="m", engine="vllm", least=1, most=4, autoscaling=None, **more):
    scaled = {} if autoscaling is None else {"autoscaling": autoscaling}
    return {"name": name, "engine": engine, "replicas": {"min": least, "max": most}, **scaled, **more}


def pool_of(*catalog, own=None, **settings):
    return {pool["metadata"]["name"]: pool["spec"] for pool in pools(catalog, {**SETTINGS, **settings}, own or {})}


def test_only_models_that_ask_for_it_and_have_room_are_scaled():
    catalog = [
        entry("asks", autoscaling={}),
        entry("does-not"),
        entry("fixed", least=2, most=2, autoscaling={}),
        entry("gone", autoscaling={}, state="absent"),
    ]
    (only,) = scaling.scaled(catalog)
    assert (only.model, only.signal, only.target) == ("asks", "queue", 8)


def test_keda_counts_what_waits_and_what_runs_and_may_go_down_to_none():
    (made,) = scaling.scaled_objects(
        scaling.scaled([entry("llama-3.1", least=0, autoscaling={"target": 5})]), "http://p"
    )
    assert made["metadata"]["name"] == made["spec"]["scaleTargetRef"]["name"] == "engine-llama-3-1"
    assert (made["spec"]["minReplicaCount"], made["spec"]["maxReplicaCount"]) == (0, 4)
    (trigger,) = made["spec"]["triggers"]
    assert trigger["metadata"]["threshold"] == "5"
    assert trigger["metadata"]["query"] == (
        'sum(llm_gateway_queue_depth{model="llama-3.1"}) + sum(llm_gateway_requests_in_flight{model="llama-3.1"})'
    )


def test_a_model_that_goes_down_to_none_is_kedas_whatever_its_signal():
    catalog = [entry("none", least=0, autoscaling={"signal": "requests"}), entry(autoscaling={"signal": "requests"})]
    assert [model.model for model in scaling.scaled(catalog, ["queue"], by_keda=True)] == ["none"]
    assert [model.model for model in scaling.scaled(catalog, ["requests"], by_keda=False)] == ["m"]


@pytest.mark.parametrize("signal", ["requests", "kv_cache"])
def test_a_waiting_request_brings_the_first_pod_whatever_the_signal(signal):
    """llm-d/llm-d#2492: of no pod nothing is measured."""
    (none,) = scaling.scaled_objects(scaling.scaled([entry(least=0, autoscaling={"signal": signal})]), "http://p")
    __, wakes = (trigger["metadata"] for trigger in none["spec"]["triggers"])
    assert wakes["query"].startswith("clamp_max(sum(llm_gateway_queue_depth")
    assert wakes["threshold"] == "1", "it asks for one pod, never for more"
    (one,) = scaling.scaled_objects(scaling.scaled([entry(autoscaling={"signal": signal})]), "http://p")
    assert len(one["spec"]["triggers"]) == 1


@pytest.mark.parametrize(
    ("least", "series", "value"),
    [
        (0, {'llm_gateway_queue_depth{model="m"}': 3, 'llm_gateway_requests_in_flight{model="m"}': 0}, 0),
        (0, {'vllm:kv_cache_usage_perc{model="m"}': 0.5, 'llm_gateway_queue_depth{model="m"}': 3}, 50),
        (0, {}, None),
        (1, {'llm_gateway_queue_depth{model="m"}': 3, 'llm_gateway_requests_in_flight{model="m"}': 0}, None),
    ],
    ids=["no-pod", "pods", "no-gateway-either", "pods-that-say-nothing"],
)
@pytest.mark.programs
@pytest.mark.skipif(not PROMTOOL, reason="promtool is missing; Debian's package prometheus has it")
def test_the_cache_of_no_pod_is_empty_and_no_failure(tmp_path, least, series, value):
    (model,) = scaling.scaled([entry(least=least, autoscaling={"signal": "kv_cache"})])
    expected = [] if value is None else [{"labels": "{}", "value": value}]
    asked = {"expr": model.query, "eval_time": "1m", "exp_samples": expected}
    given = [{"series": name, "values": f"{number}x2"} for name, number in series.items()]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"tests": [{"input_series": given, "promql_expr_test": [asked]}]}))
    done = subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_walk_throughs_autoscaler_has_its_average_and_its_behaviour():
    models = scaling.scaled([entry(engine="tgi", autoscaling={"signal": "requests"})])
    (made,) = scaling.autoscalers(models, seed=True)
    (metric,) = made["spec"]["metrics"]
    assert metric["pods"] == {
        "metric": {"name": "tgi_request_per_second"},
        "target": {"type": "AverageValue", "averageValue": "500m"},
    }
    assert made["spec"]["behavior"]["scaleUp"]["policies"][1] == {"type": "Pods", "value": 4, "periodSeconds": 15}
    offered = {rule["name"]["as"] for rule in scaling.adapter_rules()}
    assert "tgi_request_per_second" in offered, "an autoscaler on a metric that nobody offers never scales"


@pytest.mark.parametrize("signal", scaling.SIGNALS)
def test_every_metric_of_an_autoscaler_is_recorded_and_offered(signal):
    models = scaling.scaled([entry("a.b", autoscaling={"signal": signal})])
    (made,) = scaling.autoscalers(models, seed=False)
    asked = made["spec"]["metrics"][0]["object"]
    (rule,) = scaling.recorded(models)["spec"]["groups"][0]["rules"]
    assert rule["record"] == asked["metric"]["name"]
    assert rule["labels"] == {"namespace": "llm-engines", "service": asked["describedObject"]["name"]}
    assert asked["metric"]["name"] in {rule["name"]["as"] for rule in scaling.adapter_rules()}


def test_the_metric_of_the_gateways_own_autoscaler_is_offered():
    template = (REPO / "roles" / "gateway" / "templates" / "components.yml.j2").read_text()
    asked = re.search(r"gateway_autoscaling.metric \| default\('(\w+)'\)", template)
    assert asked
    assert asked[1] in {rule["name"]["as"] for rule in scaling.adapter_rules()}


def test_a_pool_for_each_type_with_the_models_order_as_weight_and_their_pods_as_limit():
    found = pool_of(
        entry("a", accelerators=["g6.xlarge", "g5.xlarge"]),
        entry("b", most=2, accelerators=["g5.xlarge"]),
        entry("c", accelerators=["inf2.xlarge"], state="absent"),
        entry("d", accelerators="cpu"),
    )
    assert {name: (spec["weight"], spec["limits"]) for name, spec in found.items()} == {
        "g6-xlarge": (100, {"nodes": "5"}),
        "g5-xlarge": (100, {"nodes": "7"}),
    }
    assert pool_of(entry("a", accelerators=["g6.xlarge", "g5.xlarge"]))["g5-xlarge"]["weight"] == 99


def test_a_pools_nodes_have_the_taint_that_engines_tolerate_and_the_label_that_device_plugins_look_for():
    found = pool_of(entry("a", accelerators=["g6.xlarge"]), entry("b", accelerators=["inf2.xlarge"]))
    gpu, neuron = found["g6-xlarge"]["template"], found["inf2-xlarge"]["template"]
    assert gpu["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]
    assert gpu["metadata"]["labels"]["nvidia.com/gpu.present"] == "true"
    assert neuron["spec"]["taints"][0]["key"] == "aws.amazon.com/neuron"
    assert neuron["metadata"]["labels"] == {"llm.on-eks/accelerator": "neuron"}


def test_a_node_on_which_an_engine_serves_is_not_consolidated():
    assert pool_of(entry(accelerators=["g6.xlarge"]))["g6-xlarge"]["disruption"]["consolidationPolicy"] == "WhenEmpty"


def test_a_pool_can_be_changed_and_a_wrong_name_is_refused():
    own = {"g6-xlarge": {"limits": {"nodes": "9"}, "disruption": {"consolidateAfter": "1h"}}}
    changed = pool_of(entry(accelerators=["g6.xlarge"]), own=own)["g6-xlarge"]
    assert (changed["limits"], changed["disruption"]["consolidateAfter"]) == ({"nodes": "9"}, "1h")
    assert changed["disruption"]["budgets"] == [{"nodes": "1"}]
    with pytest.raises(PoolError, match=r"karpenter_pools names 'g6\.xlarge'; the pools are g6-xlarge"):
        pool_of(entry(accelerators=["g6.xlarge"]), own={"g6.xlarge": {}})
