# SPDX-License-Identifier: Apache-2.0
"""The cluster as it really is, read past converge: plain GETs, and a comparison of two such looks."""

from __future__ import annotations

import json

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client

# What a controller makes of itself, and what converge keeps for itself.
_NOT_LOOKED_AT = {
    "Event", "EndpointSlice", "Endpoints", "Lease", "ControllerRevision", "Pod", "ReplicaSet", "APIService", "FlowSchema",
    "PriorityLevelConfiguration", "Node", "CSINode", "ComponentStatus", "StorageVersion", "IPAddress",
}  # fmt: skip
_SERVER = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
# Counted up by the Deployment and Job controllers, at a time of their own.
_CONTROLLERS = ("deployment.kubernetes.io/revision", "batch.kubernetes.io/job-tracking")


def look(client: Client, prefix: str) -> dict[str, dict]:
    """`Kind ns/name` -> object, of everything that descriptors of this prefix could have made."""
    found = {}
    seen = set()
    for resource in client.resources().values():
        group = resource.api_version.rpartition("/")[0]
        if (group, resource.kind) in seen or "list" not in resource.verbs or resource.kind in _NOT_LOOKED_AT:
            continue
        seen.add((group, resource.kind))
        try:
            items = json.loads(client.request("GET", resource.path()))["items"]
        except LlmOnEksError as error:
            if getattr(error, "status", 0) == 404:  # a definition that is just going
                continue
            raise
        for item in items:
            metadata = item["metadata"]
            place = metadata.get("namespace") or metadata["name"]
            if not (place.startswith(prefix) or f".{prefix}" in place) or _is_built_in(resource.kind, metadata):
                continue
            name = f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else metadata["name"]
            found[f"{resource.kind} {name}"] = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
    return found


def claims_of_sets(client: Client, prefix: str) -> set[str]:
    """The claims that StatefulSets of this prefix made. They come when the control plane gets to it, so a look leaves them out."""
    resource = client.resource("v1", "PersistentVolumeClaim")
    items = json.loads(client.request("GET", resource.path()))["items"]
    places = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in items]
    return {
        f"PersistentVolumeClaim {namespace}/{name}"
        for namespace, name in places
        if namespace.startswith(prefix) and name.startswith("data-")
    }


def _is_built_in(kind, metadata):
    return (
        (kind, metadata["name"]) in {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
        or (kind == "PersistentVolumeClaim" and metadata["name"].startswith("data-"))  # of a StatefulSet
        or any(owner.get("controller") for owner in metadata.get("ownerReferences") or [])
    )  # fmt: skip


def bare(document):
    """Without what the server and its controllers write."""
    made = json.loads(json.dumps({key: value for key, value in document.items() if key != "status"}))
    metadata = {key: value for key, value in made["metadata"].items() if key not in _SERVER}
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k not in _CONTROLLERS}
    made["metadata"] = {**metadata, **({"annotations": annotations} if annotations else {})}
    return made


def happened(before: dict[str, dict], after: dict[str, dict]) -> set[tuple[str, str]]:
    """(what, object) between two looks."""
    done = {("create", name) for name in after.keys() - before.keys()}
    done |= {("delete", name) for name in before.keys() - after.keys()}
    for name in before.keys() & after.keys():
        if before[name]["metadata"]["uid"] != after[name]["metadata"]["uid"]:
            done.add(("recreate", name))
        elif bare(before[name]) != bare(after[name]):
            done.add(("update", name))
    return done


def leaves(value, path=()):
    """Every leaf of nested data with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def missing(wanted, live, path=""):
    """The first field of a described object that the real one does not have; empty when it has all."""
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return path
        return next(
            (lack for key, item in wanted.items() if (lack := missing(item, live.get(key), f"{path}.{key}"))), ""
        )
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return path if wanted else ""
        return next(
            (
                f"{path}[{index}]"
                for index, item in enumerate(wanted)
                if not any(not missing(item, one, path) for one in live)
            ),
            "",
        )
    return "" if wanted == live else f"{path}: {wanted!r} is {live!r}"
