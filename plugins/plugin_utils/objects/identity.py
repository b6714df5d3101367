# SPDX-License-Identifier: Apache-2.0
"""What identifies an object: the four values that tell it from every other object of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# Kubernetes' own cluster-scoped kinds.
CLUSTER_WIDE = (
    *("APIService", "CSIDriver", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "IngressClass"),
    *("MutatingWebhookConfiguration", "Namespace", "PersistentVolume", "PriorityClass", "RuntimeClass", "StorageClass"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"),
)


class Identity(NamedTuple):
    """`group` rather than a version: an object served in two versions is one object.

    `namespace` is empty for cluster-scoped objects.
    """

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"

    def compact(self) -> str:
        return "|".join(self)


def identity(document: Mapping[str, Any]) -> Identity:
    """Of an object with apiVersion, kind and metadata."""
    metadata = document["metadata"]
    group = document["apiVersion"].rpartition("/")[0]
    return Identity(group, document["kind"], metadata.get("namespace") or "", metadata["name"])


def namespace_identity(name: str) -> Identity:
    """Of a namespace itself."""
    return Identity("", "Namespace", "", name)


def from_compact(text: str) -> Identity:
    return Identity(*text.split("|"))
