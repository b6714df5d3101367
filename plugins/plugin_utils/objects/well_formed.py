# SPDX-License-Identifier: Apache-2.0
"""What every Kubernetes object must have, whatever serves its kind: checked before anything is sent. Pure.

https://kubernetes.io/docs/concepts/overview/working-with-objects/#required-fields
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from .identity import CLUSTER_WIDE

Document = Mapping[str, Any]
# Kinds that are meaningless without a spec.
_WITH_SPEC = {
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("autoscaling", "HorizontalPodAutoscaler"),
}
# Where a kind keeps the spec of its pods.
_POD = {
    "Pod": ("spec",),
    "Job": ("spec", "template", "spec"),
    "Deployment": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
_POD_GROUPS = ("", "apps", "batch")
# Lists of a container whose entries must differ in these fields: the API refuses duplicates, or silently drops one.
_KEYED = {"env": ("name",), "ports": ("containerPort", "protocol"), "volumeMounts": ("mountPath",)}
_LONGEST_SHOWN = 80
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def fault(document: Any, home: str = "") -> str:
    """What is wrong with an object, beginning with its kind and name; empty for a valid one. It never contains a field's value.

    `home`: the namespace of an object that names none.
    """
    if not isinstance(document, Mapping):
        return f"an object is {_word(document)}, not a map of fields"
    for path in ("apiVersion", "kind"):
        if not isinstance(document.get(path), str) or not document[path]:
            fields = ", ".join(map(str, document))
            return (
                f"a {document.get('kind') or 'manifest'} has no {path}{_named(document, home)}; its fields are {fields}"
            )
    subject = f"{document['kind']}{_named(document, home)}"
    said = next(_faults(document), "")
    return f"{subject}: {said}" if said else ""


def _faults(document: Document) -> Iterator[str]:
    kind, group = document["kind"], document["apiVersion"].rpartition("/")[0]
    if kind.endswith("List") and "items" in document:
        yield "a List cannot be applied; write its items one by one"
    yield from _metadata(document.get("metadata"))
    if (group, kind) in _WITH_SPEC and not isinstance(document.get("spec"), Mapping):
        yield f"spec is {_word(document.get('spec'))}; it must be a map"
    if (group, kind) == ("", "Secret"):
        yield from _secret(document)
    if (group, kind) == ("", "ConfigMap"):
        yield from _texts(document.get("data"), "data")
    if (group, kind) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        yield from _crd(document["spec"])
    if kind in _POD and group in _POD_GROUPS:
        yield from _pod(document, _POD[kind])


def _metadata(metadata: Any) -> Iterator[str]:
    if not isinstance(metadata, Mapping):
        yield f"metadata is {_word(metadata)}; it must be a map with a name"
        return
    name = metadata.get("name")
    if name is None and metadata.get("generateName"):
        yield "it has generateName but no metadata.name; give it a name, by which the next run finds it"
    if not isinstance(name, str) or not name:
        yield f"metadata.name is {_shown(name)}; it must be a string{_quoted(name)}"
    namespace = metadata.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        yield f"metadata.namespace is {_shown(namespace)}; it must be a string{_quoted(namespace)}"
    if isinstance(name, str):
        yield from _path_segment(name, "metadata.name", 253)
    if isinstance(namespace, str) and namespace:
        yield from _path_segment(namespace, "metadata.namespace", 63)
    for field in ("labels", "annotations"):
        yield from _texts(metadata.get(field), f"metadata.{field}")


def _path_segment(name: str, path: str, longest: int) -> Iterator[str]:
    """Of a name, which is a part of the object's address.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#path-segment-names
    """
    if len(name) > longest:
        yield f"{path} has {len(name)} characters; {longest} at most are allowed"
    if name in (".", "..") or "/" in name or "%" in name:
        yield f"{path} is {name!r}; it must not be . or .., and must not contain / or %"


def _texts(value: Any, path: str, *, nulls: bool = False) -> Iterator[str]:
    """Of a map of texts; one that is not there is sound."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f"{path} is {_word(value)}; it must be a map of strings"
        return
    for key, item in value.items():
        if not isinstance(key, str):
            yield f"{path} has the key {_shown(key)}; it must be a string{_quoted(key)}"
        elif not isinstance(item, str) and not (nulls and item is None):
            yield f"{path}.{key} is {_word(item)}; it must be a string{_quoted(item)}"


def _secret(document: Document) -> Iterator[str]:
    yield from _texts(document.get("data"), "data", nulls=True)
    yield from _texts(document.get("stringData"), "stringData", nulls=True)
    for key, value in (document.get("data") or {}).items():
        if isinstance(value, str) and not _is_base64(value):
            yield f"data.{key} is not base64; write plain text to stringData"


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _crd(spec: Document) -> Iterator[str]:
    if not isinstance(spec.get("group"), str) or not spec["group"]:
        yield "spec.group must be a string"
    names = spec.get("names")
    if not isinstance(names, Mapping) or not all(isinstance(names.get(key), str) for key in ("kind", "plural")):
        yield "spec.names must have kind and plural"
    versions = spec.get("versions")
    if not isinstance(versions, list) or not versions:
        yield "spec.versions is empty; it needs at least one version"
    elif not all(isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in versions):
        yield "spec.versions has an entry without a name"


def _pod(document: Document, path: tuple[str, ...]) -> Iterator[str]:
    spec: Any = document
    for index, step in enumerate(path):
        spec = spec.get(step)
        if not isinstance(spec, Mapping):
            yield f"{'.'.join(path[: index + 1])} is {_word(spec)}; it must be a map"
            return
    where = ".".join(path)
    if not spec.get("containers") or not isinstance(spec["containers"], list):
        yield f"{where}.containers is {_word(spec.get('containers'))}; it must be a list of at least one container"
    for field in _CONTAINERS:
        yield from _containers(spec.get(field), f"{where}.{field}")
    yield from _twice(spec.get("volumes"), ("name",), f"{where}.volumes")


def _containers(containers: Any, where: str) -> Iterator[str]:
    if containers is None:
        return
    if not isinstance(containers, list) or not all(isinstance(one, Mapping) for one in containers):
        yield f"{where} is {_word(containers)}; it must be a list of containers"
        return
    yield from _twice(containers, ("name",), where)
    for container in containers:
        place = f"{where}[{container.get('name')}]"
        for field, keys in _KEYED.items():
            yield from _twice(container.get(field), keys, f"{place}.{field}")
        for entry in container.get("env") or []:
            if entry.get("value") is not None and not isinstance(entry["value"], str):
                yield f"{place}.env[{entry.get('name')}] is {_word(entry['value'])}; it must be a string{_quoted(entry['value'])}"


def _twice(items: Any, keys: tuple[str, ...], where: str) -> Iterator[str]:
    """Of a list whose entries must differ in these fields."""
    if items is None:
        return
    if not isinstance(items, list) or not all(isinstance(one, Mapping) for one in items):
        yield f"{where} is {_word(items)}; it must be a list of maps"
        return
    seen: set[tuple[str, ...]] = set()
    for item in items:
        # A port without a protocol is a TCP port.
        key = tuple(str(item.get(name) or ("TCP" if name == "protocol" else "")) for name in keys)
        if key in seen and key[0]:
            yield f"{where} has {keys[0]} {key[0]} twice (a duplicate); keep one of them"
        seen.add(key)


def _named(document: Document, home: str) -> str:
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return ""
    place = "" if document.get("kind") in CLUSTER_WIDE else metadata.get("namespace") or home
    where = f"{place}/" if isinstance(place, str) and place else ""
    return (
        f" {where}{metadata['name']}"
        if len(metadata["name"]) <= _LONGEST_SHOWN
        else f" {where}{metadata['name'][:_LONGEST_SHOWN]}..."
    )


def _word(value: Any) -> str:
    """The type of a value in words, without the value itself, which may be a secret."""
    if value is None:
        return "missing"
    words = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "a map"}
    empty = "an empty " if isinstance(value, list | dict | str) and not value else ""
    word = words.get(type(value), type(value).__name__)
    return f"{empty}{word.removeprefix('a ')}" if empty else word


def _shown(value: Any) -> str:
    return (
        "missing"
        if value is None
        else (f"{_word(value)} ({value})" if isinstance(value, int | float) else _word(value))
    )


def _quoted(value: Any) -> str:
    return " (put it in quotes)" if isinstance(value, bool | int | float) else ""
