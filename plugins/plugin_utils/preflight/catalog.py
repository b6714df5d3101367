# SPDX-License-Identifier: Apache-2.0
"""Rules of the model catalogue beyond the types of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .findings import Finding, place_of

# A model's name becomes part of Kubernetes object names and of a label value.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,46}[a-z0-9])?")
_SOURCES = ("hf://", "s3://", "https://", "file://", "pip://")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def check_catalog(catalog: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Findings for names, sources, counts and percentages; types are the argument spec's business."""
    yield from _check_routes(catalog)
    seen: dict[str, str] = {}
    for entry in catalog:
        if not isinstance(entry, Mapping):
            continue
        name = entry.get("name")
        if isinstance(name, str):
            yield from _check_name(entry, name, seen)
        path = f"model_catalog[{name}]"
        if entry.get("state") == "absent":
            continue
        yield from _check_source(path, entry)
        yield from _check_replicas(path, entry)
        yield from _check_numbers(path, entry)


def _check_routes(catalog: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Further names lead to one model each, and fallbacks are served."""
    entries = [entry for entry in catalog if isinstance(entry, Mapping) and entry.get("state", "present") == "present"]
    served = {entry.get("name") for entry in entries}
    taken = dict.fromkeys(served, "a model of the catalogue")
    for entry in entries:
        path = f"model_catalog[{entry.get('name')}]"
        for name in entry.get("alias") or ():
            if name in taken:
                yield Finding(
                    f"{path}.alias", f"holds {name!r}, which is {taken[name]}", "take another name", place_of(entry)
                )
            taken[name] = f"an alias of {entry.get('name')}"
        for name in entry.get("fallbacks") or ():
            if name not in served or name == entry.get("name"):
                said = (
                    "which is the model itself" if name == entry.get("name") else "which the catalogue does not serve"
                )
                mend = "name other models of the catalogue"
                yield Finding(f"{path}.fallbacks", f"holds {name!r}, {said}", mend, place_of(entry))


def check_shares(models: Any, catalog: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Warnings for names of `gateway_models` that lead to models of no entry: they get no request. Engines may have more names than their entry."""
    if not isinstance(models, Mapping):
        return
    entries = [entry for entry in catalog if isinstance(entry, Mapping) and entry.get("state", "present") == "present"]
    known = {*models, *(entry.get("name") for entry in entries)}
    for entry in entries:
        known.update(entry.get("alias") or ())
        known.update(adapter.get("name") for adapter in entry.get("lora") or () if isinstance(adapter, Mapping))
    for name, settings in models.items():
        if not isinstance(settings, Mapping):
            continue
        split, alias = settings.get("split"), settings.get("alias")
        named = {"split": list(split) if isinstance(split, Mapping) else [], "alias": [alias] if alias else []}
        for key, targets in named.items():
            for target in targets:
                if target not in known:
                    said, mend = (
                        f"holds {target!r}, which the catalogue does not serve",
                        "name a model of the catalogue",
                    )
                    yield Finding(f"gateway_models[{name}].{key}", said, mend, place_of(settings), "warning")


def _check_name(entry: Mapping[str, Any], name: str, seen: dict[str, str]) -> Iterator[Finding]:
    place = place_of(name) or place_of(entry)
    if not _NAME.fullmatch(name):
        yield Finding(
            "model_catalog.name",
            f"is {name!r}",
            "use at most 48 lower-case letters, digits, dots and dashes, a letter or digit at both ends",
            place,
        )
    slug = name.replace(".", "-")
    if slug in seen:
        first = seen[slug]
        same = "two models of one name" if first == name else f"the same Kubernetes name as {first!r}"
        yield Finding("model_catalog.name", f"is {name!r}: {same}", "give each model a name of its own", place)
    seen.setdefault(slug, name)


def _check_source(path: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    source = entry.get("source")
    if isinstance(source, str) and not source.startswith(_SOURCES):
        yield Finding(
            f"{path}.source",
            f"is {source!r}",
            f"begin it with one of {', '.join(_SOURCES)}",
            place_of(source) or place_of(entry),
        )
    revision = entry.get("revision")
    if isinstance(revision, str) and not _REVISION.fullmatch(revision):
        yield Finding(
            f"{path}.revision",
            f"is {revision!r}",
            "give a commit, a tag or sha256:DIGEST",
            place_of(revision) or place_of(entry),
        )


def _check_replicas(path: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    replicas = entry.get("replicas")
    if not isinstance(replicas, Mapping):
        return
    place = place_of(replicas) or place_of(entry)
    least = replicas.get("min", 1)
    most = replicas.get("max", least if _whole(least) and int(least) > 0 else 1)
    for key, value, floor in (("min", least, 0), ("max", most, 1)):
        if _whole(value) and int(value) < floor:
            yield Finding(f"{path}.replicas.{key}", f"is {value}", f"give {floor} or more", place_of(value) or place)
    if _whole(least) and _whole(most) and 0 <= int(least) > int(most):
        yield Finding(f"{path}.replicas", f"has min {least} above max {most}", "raise max or lower min", place)


def _check_numbers(path: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    context: Any = entry.get("context")
    if _whole(context) and int(context) < 1:
        yield Finding(f"{path}.context", f"is {context}", "give a number of tokens, 1 or more", place_of(entry))
    rollout = entry.get("rollout")
    steps = rollout.get("canary") if isinstance(rollout, Mapping) else None
    if isinstance(steps, Sequence) and all(_whole(step) for step in steps):
        numbers = [int(step) for step in steps]
        if numbers != sorted(set(numbers)) or not numbers or numbers[0] < 1 or numbers[-1] != 100:
            yield Finding(
                f"{path}.rollout.canary",
                f"is {numbers}",
                "give rising percentages that end with 100",
                place_of(steps) or place_of(entry),
            )
        else:
            yield Finding(
                f"{path}.rollout.canary",
                "is not followed yet: a change reaches all clients at once",
                "leave it out; docs/catalogue.md shows a canary by weight",
                place_of(steps) or place_of(entry),
                "warning",
            )


def _whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or str(value).lstrip("-").isdigit())
