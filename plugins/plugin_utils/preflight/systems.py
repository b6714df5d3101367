# SPDX-License-Identifier: Apache-2.0
"""What does not fit among the platform's systems: one that another reads and that is not there, and Kubernetes versions.

All of it is a warning: a system that is skipped may have been installed by somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..engines.scaling import CACHE_METRICS, scaled
from .findings import Finding, place_of

# Minor versions of Kubernetes that a system's default version was made for, as its publisher says.
WINDOWS: Mapping[str, tuple[int, int]] = {
    "istio": (32, 36),
    "keda": (30, 35),
    "kong": (27, 35),
    "metrics_server": (31, 36),
}
# system → (what it reads, what is missed without it).
READS = {
    "keda": ("prometheus", "its signals"),
    "prometheus_adapter": ("prometheus", "its metrics"),
    "cost": ("prometheus", "what pods use"),
    "kiali": ("prometheus", "the traffic that it draws"),
}
# Address that the gateway asks → what of it is among the ways that role network_policies opens.
REACHED = {
    "gateway_redis_url": r"(?!)",
    "gateway_jwks": r"^https://[^/:]+(:443)?(/|$)",
    "gateway_trace_endpoint": r"^https?://[\w-]+\.jaeger(\.svc[\w.-]*)?:4318(/|$)|^https://[^/:]+(:443)?(/|$)",
}


def check_systems(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings for the states of the systems and what goes with them. `values`: the inventory's."""
    present = {
        name.removesuffix("_state") for name, state in values.items() if name.endswith("_state") and state == "present"
    }
    yield from _missing(values, present)
    yield from _nobody_scales(values, present)
    yield from _unmeasured(values)
    yield from _versions(values, present)
    yield from _closed(values, present)


def _warning(values: Mapping[str, Any], variable: str, problem: str, mend: str) -> Finding:
    return Finding(variable, problem, mend, place_of(values.get(variable)), "warning")


def _missing(values: Mapping[str, Any], present: set[str]) -> Iterator[Finding]:
    for system, (other, what) in READS.items():
        if system in present and other not in present and not values.get(f"{other}_address"):
            said = f"is present, but {other}_state is not, so it misses {what}"
            yield _warning(
                values, f"{system}_state", said, f"set {other}_state to present, or {other}_address to yours"
            )


def _nobody_scales(values: Mapping[str, Any], present: set[str]) -> Iterator[Finding]:
    gateway = values.get("gateway_autoscaling")
    if isinstance(gateway, Mapping) and gateway.get("enabled") and "prometheus_adapter" not in present:
        said = "is enabled, but nobody offers the metric that it reads"
        yield _warning(values, "gateway_autoscaling", said, "set prometheus_adapter_state to present")
    catalog = [entry for entry in values.get("model_catalog") or [] if isinstance(entry, Mapping)]
    if "keda" in present:
        return
    for model in scaled([entry for entry in catalog if isinstance(entry.get("autoscaling"), Mapping)]):
        variable = f"model_catalog[{model.model}].autoscaling"
        if model.least == 0 and "prometheus_adapter" in present:
            said = "begins at no pod, from where only KEDA brings one: the model stays at 0 pods"
            yield Finding(variable, said, "set keda_state to present, or replicas.min to 1", None, "warning")
        elif "prometheus_adapter" not in present:
            said = f"has nobody who does it: the model stays at {model.least} pods"
            yield Finding(variable, said, "set keda_state to present", None, "warning")


def _unmeasured(values: Mapping[str, Any]) -> Iterator[Finding]:
    catalog = [entry for entry in values.get("model_catalog") or [] if isinstance(entry, Mapping)]
    for model in scaled([entry for entry in catalog if isinstance(entry.get("autoscaling"), Mapping)], ["kv_cache"]):
        if model.engine not in CACHE_METRICS:
            variable = f"model_catalog[{model.model}].autoscaling.signal"
            said = f"is kv_cache, which {model.engine} does not measure: the model stays at {max(model.least, 1)} pods"
            yield Finding(variable, said, "set it to queue", None, "warning")


def _versions(values: Mapping[str, Any], present: set[str]) -> Iterator[Finding]:
    version = str(values.get("cluster_version") or "")
    major, __, minor = version.partition(".")
    if major != "1" or not minor.isdigit():
        return
    for system, (least, most) in WINDOWS.items():
        if system in present and not least <= int(minor) <= most:
            said = f"is present on Kubernetes {version}, and its version is made for 1.{least} to 1.{most}"
            yield _warning(values, f"{system}_state", said, f"look for a version that is, and set {system}_version")


def _closed(values: Mapping[str, Any], present: set[str]) -> Iterator[Finding]:
    """Addresses that the gateway is to ask, and that the platform's network policies do not let it reach."""
    ways = [way for way in values.get("network_policies_ways") or [] if isinstance(way, Mapping)]
    opened = any(way.get("namespace") == "llm-gateway" and way.get("direction") != "ingress" for way in ways)
    if "network_policies" not in present or opened:
        return
    for variable, reached in REACHED.items():
        address = str(values.get(variable) or "")
        if "://" in address and not re.search(reached, address):
            said = f"is {address.partition('@')[2] or address}, which network_policies does not let the gateway reach"
            yield _warning(values, variable, said, "add that way to network_policies_ways, with namespace llm-gateway")
