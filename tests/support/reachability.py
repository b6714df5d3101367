# SPDX-License-Identifier: Apache-2.0
"""Who reaches whom, worked out from NetworkPolicies as Kubernetes defines them; for where no network enforces them.

https://kubernetes.io/docs/concepts/services-networking/network-policies/: a pod that no policy of a direction selects lets
everything through; else what one of them allows. A connection needs both ends' leave.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """A pod (with a namespace), or an address outside of the cluster. `ports`: number → name, of its containers."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, str] = field(default_factory=dict)
    address: str = ""


def reaches(policies: Iterable[Document], one: Endpoint, other: Endpoint, port: int, protocol: str = "TCP") -> bool:
    """Whether `one` may open a connection to this port of `other`."""
    policies = list(policies)
    return _allowed(policies, "Egress", one, other, other, port, protocol) and _allowed(
        policies, "Ingress", other, one, other, port, protocol
    )


def _allowed(
    policies: list[Document], direction: str, whose: Endpoint, peer: Endpoint, asked: Endpoint, port: int, protocol: str
) -> bool:
    mine = [policy["spec"] for policy in policies if _selects(policy, whose) and direction in _types(policy["spec"])]
    if not whose.namespace or not mine:
        return True
    rules = [rule for spec in mine for rule in spec.get(direction.lower()) or []]
    key = "to" if direction == "Egress" else "from"
    return any(
        _port(rule.get("ports") or [], asked, port, protocol) and _peer(rule.get(key) or [], peer, whose.namespace)
        for rule in rules
    )


def _types(spec: Document) -> list[str]:
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _selects(policy: Document, pod: Endpoint) -> bool:
    return policy["metadata"].get("namespace", "") == pod.namespace and _match(
        policy["spec"]["podSelector"], pod.labels
    )


def _match(selector: Document, labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(one, labels) for one in selector.get("matchExpressions") or [])


def _expression(one: Document, labels: Mapping[str, str]) -> bool:
    there, values = one["key"] in labels, one.get("values") or []
    return {
        "Exists": there,
        "DoesNotExist": not there,
        "In": labels.get(one["key"]) in values,
        "NotIn": labels.get(one["key"]) not in values,
    }[one["operator"]]


def _port(ports: list[Document], asked: Endpoint, port: int, protocol: str) -> bool:
    """Names are those of the asked pod's containers."""
    if not ports:
        return True
    for one in ports:
        if one.get("protocol", "TCP") != protocol:
            continue
        wanted = one.get("port")
        if wanted in (None, port, asked.ports.get(port)):
            return True
        if isinstance(wanted, int) and wanted <= port <= one.get("endPort", wanted):
            return True
    return False


def _peer(peers: list[Document], other: Endpoint, namespace: str) -> bool:
    return not peers or any(_is_peer(one, other, namespace) for one in peers)


def _is_peer(peer: Document, other: Endpoint, namespace: str) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if other.namespace:
            return False  # what an address block says of pods is up to the network; ours never count on it
        address = ipaddress.ip_address(other.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(one) for one in block.get("except") or [])
    if not other.namespace:
        return False
    spaces = peer.get("namespaceSelector")
    here = other.namespace == namespace if spaces is None else _match(spaces, _labels_of(other.namespace))
    return here and _match(peer.get("podSelector") or {}, other.labels)


def _labels_of(namespace: str) -> dict[str, str]:
    return {"kubernetes.io/metadata.name": namespace}
