# SPDX-License-Identifier: Apache-2.0
"""Checks data against a botocore shape: unknown members, missing members, values outside an enumeration. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from botocore.model import Shape

# Fields of a service's wrapper around its answer.
_XML_WRAPPERS = {"ResponseMetadata", "requestId", "RequestId"}


def unknown_in_json(shape: Any, body: bytes) -> list[str]:
    """Members of a JSON document that the shape does not have."""
    payload = shape.serialization.get("payload")
    if payload:
        shape = shape.members[payload]
    if shape.type_name != "structure" or not body.strip():
        return []
    try:
        return list(_json(shape, json.loads(body), shape.name))
    except ValueError:
        return [f"{shape.name}: not JSON"]


def _json(shape: Any, value: Any, path: str) -> Iterator[str]:
    if value is None or shape.metadata.get("document"):
        return
    if shape.type_name == "structure":
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, inner in value.items():
            if name not in names:
                yield f"{path}.{name}: not a member of {shape.name}"
            else:
                yield from _json(names[name], inner, f"{path}.{name}")
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _json(shape.member, inner, f"{path}[{index}]")
    elif shape.type_name == "map":
        for name, inner in value.items():
            yield from _json(shape.value, inner, f"{path}.{name}")


def unknown_in_xml(protocol: str, shape: Any, body: bytes) -> list[str]:
    """Elements of an XML answer that the shape does not have."""
    payload = shape.serialization.get("payload")
    if payload:
        shape = shape.members[payload]
    if shape.type_name != "structure" or not body.strip():
        return []
    root = ElementTree.fromstring(body)  # noqa: S314
    if protocol == "query" and shape.serialization.get("resultWrapper"):
        found = next((child for child in root if _tag(child) == shape.serialization["resultWrapper"]), None)
        if found is None:
            return [] if not shape.members else [f"{shape.name}: no {shape.serialization['resultWrapper']}"]
        root = found
    return list(_xml(shape, root, shape.name))


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _xml(shape: Any, element: ElementTree.Element, path: str) -> Iterator[str]:
    if shape.type_name == "structure":
        names: dict[str, Any] = {}
        for name, member in shape.members.items():
            flat = member.type_name == "list" and member.serialization.get("flattened")
            shown = member.serialization.get("name", name)
            if flat:
                shown = member.member.serialization.get("name", shown)
            names[shown] = member.member if flat else member
        for child in element:
            if _tag(child) in names:
                yield from _xml(names[_tag(child)], child, f"{path}.{_tag(child)}")
            elif _tag(child) not in _XML_WRAPPERS:
                yield f"{path}.{_tag(child)}: not a member of {shape.name}"
    elif shape.type_name == "list":
        for child in element:
            yield from _xml(shape.member, child, f"{path}[]")


def missing(shape: Shape | None, value: Any, path: str = "") -> list[str]:
    """Required members that are not there."""
    return list(_missing(shape, value, path or (shape.name if shape else "")))


def _missing(shape: Any, value: Any, path: str) -> Iterator[str]:
    if value is None or shape is None:
        return
    if shape.type_name == "structure":
        for name in shape.required_members:
            if not isinstance(value, dict) or name not in value:
                yield f"{path}.{name}: required and missing"
        for name, inner in value.items():
            yield from _missing(shape.members.get(name), inner, f"{path}.{name}")
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _missing(shape.member, inner, f"{path}[{index}]")


def wrong_enums(shape: Shape | None, value: Any) -> list[str]:
    """Strings outside their enumeration."""
    return list(_enums(shape, value, shape.name if shape else ""))


def _enums(shape: Any, value: Any, path: str) -> Iterator[str]:
    if value is None or shape is None:
        return
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, inner in value.items():
            yield from _enums(shape.members.get(name), inner, f"{path}.{name}")
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _enums(shape.member, inner, f"{path}[{index}]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for name, inner in value.items():
            yield from _enums(shape.value, inner, f"{path}.{name}")
    elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{path}: {value!r} is not one of {', '.join(shape.enum[:8])}"
