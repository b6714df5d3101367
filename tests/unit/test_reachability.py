# SPDX-License-Identifier: Apache-2.0
"""Default deny, and every way that is open: worked out from all policies that the roles describe, over all pairs of pods.

No network that enforces policies runs here, so Kubernetes' rules are computed (tests/support/reachability.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.described import describe
from tests.support.reachability import Endpoint, reaches

pytestmark = pytest.mark.programs
REVISION = "0e9e39f249a16976918f6564b8830bc894c89659"
SETTINGS: dict[str, Any] = {
    "platform_cluster_name": "demo",
    "platform_provider": "eks",
    "platform_aws_region": "us-west-2",
    "model_catalog": [
        {
            "name": "a",
            "source": "hf://a/a",
            "revision": REVISION,
            "engine": "vllm",
            "accelerators": ["inf2.8xlarge"],
            "tensor_parallel": 2,
        },
        {"name": "b", "source": "hf://b/b", "revision": REVISION, "engine": "tgi", "accelerators": ["g6.xlarge"]},
    ],
    "istio_mtls": "strict",
    **{
        f"{role}_state": "present"
        for role in ("network_policies", "prometheus", "kong", "gateway_api", "jaeger", "istio", "keda")
    },
}
RESTRICTED = ("llm-gateway", "llm-engines")
# Pods of charts, as their charts label them, and of the cluster; ports that something asks.
OTHERS = [
    Endpoint(
        "kong",
        "kong",
        {"app.kubernetes.io/name": "gateway", "app.kubernetes.io/instance": "kong"},
        {8000: "proxy", 8444: "admin-tls", 8100: "status"},
    ),
    Endpoint("kong controller", "kong", {"app.kubernetes.io/name": "controller", "app.kubernetes.io/instance": "kong"}),
    Endpoint("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}, {9090: "http-web"}),
    Endpoint("keda", "keda", {"app": "keda-operator"}),
    Endpoint("control plane of the mesh", "istio-system", {"app": "istiod"}, {15012: "tls-xds"}),
    Endpoint("dns", "kube-system", {"k8s-app": "kube-dns"}, {53: "dns-tcp"}),
    Endpoint("a pod of somebody", "default", {"app": "somebody"}, {8080: "http"}),
]
OUTSIDE = [
    Endpoint("kubelet by ambient", address="169.254.7.127"),
    Endpoint("the internet", ports={443: "", 80: ""}, address="203.0.113.7"),
    Endpoint("API", ports={443: "", 6443: ""}, address="198.51.100.1"),
]
# The whole list. Everybody reaches the gateway, which asks for a key; `(pods)` are those of the table above and of roles.
EVERYBODY = {
    "kong",
    "kong controller",
    "prometheus",
    "keda",
    "control plane of the mesh",
    "dns",
    "a pod of somebody",
    "the internet",
    "API",
    "jaeger",
}
TUNNEL = 15008
PODS = [("gateway", 8080), ("engine a", 8000), ("engine b", 8080), ("metrics of models", 9100)]
PROBES = {("kubelet by ambient", one, port) for one, own in PODS for port in (own, TUNNEL)}
ENGINES = [("engine a", 8000), ("engine b", 8080), ("engine a", TUNNEL), ("engine b", TUNNEL)]
ALLOWED = {
    *((one, "gateway", 8080) for one in EVERYBODY),
    *PROBES,
    ("gateway", "dns", 53),
    *(("gateway", "jaeger", port) for port in (4317, 4318)),
    *(("gateway", there, port) for there, port in (("the internet", 443), ("API", 443), ("API", 6443))),
    *((one, engine, port) for one in ("gateway", "prometheus") for engine, port in ENGINES),
    # Its numbers are no secret.
    *((one, "metrics of models", 9100) for one in EVERYBODY | {"gateway"}),
    *((one, "metrics of models", TUNNEL) for one in ("gateway", "prometheus")),
    *((one, "gateway", TUNNEL) for one in ("kong", "kong controller", "prometheus")),
    *((one, "dns", 53) for one in ("engine a", "engine b", "metrics of models", "job")),
    # Sidecars of the mesh, where pods have them.
    *(
        (one, "control plane of the mesh", 15012)
        for one in ("gateway", "engine a", "engine b", "metrics of models", "job")
    ),
    *(("job", there, port) for there, port in (("the internet", 443), ("API", 443), ("API", 6443))),
}


@pytest.fixture(scope="module")
def described():
    plain = {**SETTINGS, "istio_state": "skip"}
    return describe({"mesh": SETTINGS, "plain": plain})


def objects(components, kind):
    for component in components:
        home = (component.get("namespace") or {}).get("name", "")
        for found in [*component.get("manifests", []), *(job["manifest"] for job in component.get("jobs", []))]:
            if found["kind"] == kind:
                yield {
                    **found,
                    "metadata": {**found["metadata"], "namespace": found["metadata"].get("namespace", home)},
                }


def policies(components):
    return list(objects(components, "NetworkPolicy"))


def pods(components, ambient):
    names = {"llm-gateway": "gateway", "models-metrics": "metrics of models"}
    for workload in objects(components, "Deployment"):
        space, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        template = workload["spec"]["template"]
        ports = {p["containerPort"]: p["name"] for c in template["spec"]["containers"] for p in c.get("ports", [])}
        if ambient and space in RESTRICTED:
            ports = {**ports, TUNNEL: ""}
        yield Endpoint(
            names.get(name, name.replace("engine-", "engine ")), space, template["metadata"]["labels"], ports
        )
    yield Endpoint("job", "llm-engines", {"batch.kubernetes.io/job-name": "sync-a"})


def ways(components, ambient):
    """(who, whom, port) of every connection from or to the restricted namespaces that is let through."""
    everybody = [*pods(components, ambient), *OTHERS, *OUTSIDE]
    found = policies(components)
    return {
        (one.name, other.name, port)
        for one in everybody
        for other in everybody
        for port in other.ports
        if one is not other and (one.namespace in RESTRICTED or other.namespace in RESTRICTED)
        if any(reaches(found, one, other, port, protocol) for protocol in ("TCP",))
    }


@pytest.mark.parametrize("shape", ["mesh", "plain"])
def test_only_the_listed_ways_are_open(described, shape):
    wanted = (
        ALLOWED if shape == "mesh" else {way for way in ALLOWED if way[2] != TUNNEL and way[0] != "kubelet by ambient"}
    )
    found = ways(described[shape], shape == "mesh")
    if shape == "plain":
        found = {way for way in found if way[0] != "kubelet by ambient"}
    assert found - wanted == set(), "open, and not listed"
    assert wanted - found == set(), "listed, and closed"


def test_names_are_asked_by_udp_too(described):
    asking = [pod for pod in pods(described["plain"], False) if pod.namespace in RESTRICTED]
    (dns,) = [one for one in OTHERS if one.name == "dns"]
    assert asking and all(reaches(policies(described["plain"]), pod, dns, 53, "UDP") for pod in asking)


def test_without_the_role_nobody_is_denied_what_the_listed_ways_allow(described):
    """Policies of gateway and engines alone say who may ask them; what they ask is open."""
    alone = [one for one in described["plain"] if one["name"] != "network_policies"]
    (gateway,) = [pod for pod in pods(alone, False) if pod.name == "gateway"]
    (internet,) = [one for one in OUTSIDE if one.name == "the internet"]
    assert reaches(policies(alone), gateway, internet, 80)
    assert not reaches(policies(described["plain"]), gateway, internet, 80)


def test_kongs_admin_api_is_its_controllers_alone(described):
    everybody = {one.name: one for one in [*pods(described["plain"], False), *OTHERS]}
    found = policies(described["plain"])
    asking = {
        name for name, one in everybody.items() if name != "kong" and reaches(found, one, everybody["kong"], 8444)
    }
    assert asking == {"kong controller"}
