# SPDX-License-Identifier: Apache-2.0
"""Preflight says which systems of the platform do not fit together."""

from __future__ import annotations

from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.systems import check_systems


def said(**values):
    found = list(check_systems(values))
    assert {finding.severity for finding in found} <= {"warning"}
    return {finding.variable: str(finding) for finding in found}


def test_nothing_is_said_of_systems_that_fit():
    assert said(prometheus_state="present", keda_state="present", cost_state="present", cluster_version="1.35") == {}
    assert said(keda_state="skip", cost_state="absent") == {}


def test_a_system_without_what_it_reads_is_named_with_both_ways_out():
    found = said(cost_state="present")
    assert found["cost_state"] == (
        "cost_state is present, but prometheus_state is not, so it misses what pods use; "
        "set prometheus_state to present, or prometheus_address to yours."
    )
    assert said(cost_state="present", prometheus_address="http://mine:9090") == {}


def test_a_model_that_nobody_scales_is_named():
    entry = {"name": "m", "engine": "vllm", "replicas": {"min": 1, "max": 4}, "autoscaling": {"signal": "queue"}}
    assert "the model stays at 1 pods" in said(model_catalog=[entry])["model_catalog[m].autoscaling"]
    assert said(model_catalog=[entry], keda_state="present", prometheus_state="present") == {}
    assert said(model_catalog=[{**entry, "autoscaling": None}, "no mapping"]) == {}


def test_a_model_that_only_keda_wakes_is_named_where_there_is_another_autoscaler():
    entry = {"name": "m", "engine": "vllm", "replicas": {"min": 0, "max": 4}, "autoscaling": {"signal": "requests"}}
    adapter = {"prometheus_adapter_state": "present", "prometheus_state": "present"}
    assert "stays at 0 pods" in said(model_catalog=[entry], **adapter)["model_catalog[m].autoscaling"]
    assert said(model_catalog=[entry], **adapter, keda_state="present") == {}
    assert said(model_catalog=[{**entry, "replicas": {"min": 1, "max": 4}}], **adapter) == {}


def test_a_signal_that_the_engine_does_not_measure_is_named():
    entry = {"name": "m", "engine": "llamacpp", "replicas": {"min": 1, "max": 4}, "autoscaling": {"signal": "kv_cache"}}
    present = {"keda_state": "present", "prometheus_state": "present"}
    found = said(model_catalog=[entry], **present)["model_catalog[m].autoscaling.signal"]
    assert "is kv_cache, which llamacpp does not measure" in found
    assert said(model_catalog=[{**entry, "engine": "vllm"}], **present) == {}


def test_a_gateway_that_scales_by_a_metric_that_nobody_offers_is_named():
    assert "nobody offers the metric" in said(gateway_autoscaling={"enabled": True})["gateway_autoscaling"]
    both = {"prometheus_adapter_state": "present", "prometheus_state": "present"}
    assert said(gateway_autoscaling={"enabled": True}, **both) == {}


def test_a_kubernetes_version_outside_of_a_systems_window_is_named():
    assert "made for 1.32 to 1.36" in said(istio_state="present", cluster_version="1.31")["istio_state"]
    assert said(istio_state="present", cluster_version="1.36") == {}


def test_an_address_that_the_network_policies_close_is_named_without_its_password():
    closed = {"network_policies_state": "present", "gateway_redis_url": "redis://:hidden@redis.cache.svc:6379"}
    (found,) = check_systems(closed)
    assert "is redis.cache.svc:6379, which network_policies does not let the gateway reach" in str(found)
    assert "hidden" not in str(found)
    way = {"name": "redis", "namespace": "llm-gateway", "ports": [{"port": 6379}]}
    assert not list(check_systems({**closed, "network_policies_ways": [way]}))


def test_addresses_that_the_policies_open_are_none_of_these():
    opened = {"network_policies_state": "present", "gateway_trace_endpoint": "http://jaeger.jaeger.svc:4318"}
    assert not list(check_systems({**opened, "gateway_jwks": "https://login.example.com/keys"}))
    assert list(check_systems({**opened, "gateway_jwks": "http://login.example.com/keys"}))
