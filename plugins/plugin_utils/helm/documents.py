# SPDX-License-Identifier: Apache-2.0
"""Helm's text as documents: crds, objects, hooks. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import yaml

from .errors import ChartError

Document = dict[str, Any]
HOOK = "helm.sh/hook"
WEIGHT = "helm.sh/hook-weight"
DELETE_POLICY = "helm.sh/hook-delete-policy"
BEFORE_CREATION = "before-hook-creation"


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """An object that exists for a moment of a release's life. `events` and `policies` are Helm's words."""

    document: Document
    events: list[str]
    weight: int = 0
    policies: list[str] = msgspec.field(default_factory=lambda: [BEFORE_CREATION])


class Chunk(msgspec.Struct, frozen=True):
    """One document of Helm's output as text, and the template it is from."""

    source: str
    text: str


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: no dates, no sexagesimal numbers, a bare `=` is text, `1e3` is a number."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(0b[01_]+|0o?[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _integer(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse(text: str) -> list[Document]:
    """Every document of a YAML text, lists taken apart. Raises ChartError."""
    try:
        found = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        raise ChartError(
            f"a template renders text that is not YAML ({getattr(error, 'problem', None) or error}"
            f"{f', line {place.line + 1}' if place else ''})"
        ) from None
    return [document for item in found if item for document in _taken_apart(item)]


def _taken_apart(item: Any) -> Iterator[Document]:
    if (
        not isinstance(item, dict)
        or not isinstance(item.get("kind"), str)
        or not isinstance(item.get("apiVersion"), str)
    ):
        raise ChartError("a template renders a document without apiVersion and kind")
    if item["kind"].endswith("List") and isinstance(item.get("items"), list):
        for entry in item["items"]:
            yield from _taken_apart(entry)
        return
    if not isinstance(item.get("metadata"), dict) or not item["metadata"].get("name"):
        raise ChartError(f"a template renders a {item['kind']} without metadata.name")
    yield _normal(item)


def _normal(document: Document) -> Document:
    """As the API keeps it: text of a Secret encoded, annotations and labels that hold nothing left out."""
    if document["kind"] == "Secret" and document.get("stringData") is not None:
        plain = document.pop("stringData") or {}
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        document["data"] = {**(document.get("data") or {}), **encoded}
    for key in ("annotations", "labels"):
        if key in document["metadata"] and not document["metadata"][key]:
            del document["metadata"][key]
    return document


def chunks(output: str) -> list[Chunk]:
    """The output of `helm template`, document by document, as text."""
    found: list[Chunk] = []
    for text in re.split(r"^---(?:[ \t].*)?$\n?", output, flags=re.MULTILINE):
        if text.strip():
            source = re.search(r"^# Source: (.+)$", text, re.MULTILINE)
            found.append(Chunk(source[1].strip() if source else (found[-1].source if found else ""), text))
    return found


def key_of(document: Document, namespace: str = "") -> str:
    """What identifies an object within a release: `apps/Deployment/kong/kong-gateway`. The API version is not part of it."""
    group = document["apiVersion"].rpartition("/")[0]
    metadata = document["metadata"]
    return f"{group}/{document['kind']}/{metadata.get('namespace') or namespace}/{metadata['name']}"


def split(documents: Sequence[Document]) -> tuple[list[Document], list[Document], list[Hook]]:
    """(crds, objects, hooks). CRDs come first wherever a chart keeps them; hooks are in Helm's order."""
    crds: list[Document] = []
    objects: list[Document] = []
    hooks: list[Hook] = []
    for document in documents:
        events = _words(document, HOOK)
        if document["kind"] == "CustomResourceDefinition":
            crds.append(document)
        elif events:
            hooks.append(_hook(document, events))
        else:
            objects.append(document)
    return crds, objects, sorted(hooks, key=lambda hook: hook.weight)


def _hook(document: Document, events: list[str]) -> Hook:
    weight = str((document["metadata"].get("annotations") or {}).get(WEIGHT, "0"))
    number = int(weight) if re.fullmatch(r"[-+]?\d+", weight.strip()) else 0
    return Hook(
        document=document, events=events, weight=number, policies=_words(document, DELETE_POLICY) or [BEFORE_CREATION]
    )


def _words(document: Document, annotation: str) -> list[str]:
    text = (document["metadata"].get("annotations") or {}).get(annotation) or ""
    return [word.strip().lower() for word in str(text).split(",") if word.strip()]
