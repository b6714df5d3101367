# SPDX-License-Identifier: Apache-2.0
"""What runs in an environment, as pins: images, versions, revisions of models, digests of charts; and their move to the next one.

`cluster_version` is no part of it: an upgrade of Kubernetes is a step of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..helm import lock_file
from . import edit
from .environment import Environment

_PIN = re.compile(r"_(image|version)$")
_NEW_FILE = Path("group_vars", "eks_clusters", "release.yml")
_HEAD = "---\n# Pins of the release set that no other file sets. Written by playbooks/promote.yml.\n"
Pins = dict[tuple[str, ...], str]


@dataclass
class Promotion:
    """`moved` and `left` are lines for a person; `files`: path → its new text."""

    moved: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    files: dict[Path, str] = field(default_factory=dict)


def promotion(source: Environment, target: Environment) -> Promotion:
    """What would move from `source` to `target`, and what stays because a person must decide it."""
    made = Promotion()
    edits: dict[Path, list[edit.Edit]] = {}
    new: dict[str, str] = {}
    for path, value in pins(source).items():
        before = pins(target).get(path, "")
        after = reference(value, before) if path[0].endswith(("_image", "_images")) else value
        if after == before:
            continue
        reason = _reason(path, source, target)
        if reason:
            made.left.append(f"{_shown(path)}: {reason}")
            continue
        file = target.places.get(path[0])
        change = edit.replace(file.read_text(encoding="utf-8"), path, after) if file else None
        if file and change:
            edits.setdefault(file, []).append(change)
        elif len(path) == 1:
            new[path[0]] = after
        else:
            made.left.append(f"{_shown(path)}: {target.name} has no place for it")
            continue
        made.moved.append(f"{'~' if before else '+'} {_shown(path)}  {before or '(not set)'} → {after}")
    _images(source, target, made, edits)
    made.files |= {file: edit.apply(file.read_text(encoding="utf-8"), some) for file, some in edits.items()}
    if new:
        file = target.folder / _NEW_FILE
        text = file.read_text(encoding="utf-8") if file.exists() else _HEAD
        made.files[file] = text + "".join(f"{name}: {value}\n" for name, value in sorted(new.items()))
    made.moved += lock_file.moves(target.lock, source.lock) if source.lock.charts else []
    return made


def pins(environment: Environment) -> Pins:
    """path → value, of everything that says which bytes run."""
    return {path: value for path, value in _pins(environment.variables) if "{{" not in value}


def _pins(variables: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, value in variables.items():
        if _PIN.search(name) and name != "cluster_version" and value:
            yield (name,), str(value)
    images = variables.get("platform_images")
    for name, value in images.items() if isinstance(images, Mapping) else ():
        yield ("platform_images", str(name)), str(value)
    for model in _models(variables).values():
        if model.get("revision"):
            yield ("model_catalog", str(model["name"]), "revision"), str(model["revision"])


def _models(variables: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = variables.get("model_catalog")
    return {str(one["name"]): one for one in found if "name" in one} if isinstance(found, list) else {}


def reference(source: str, target: str) -> str:
    """The source's image, from the registry that the target uses already. Each account has its own registry."""
    ours, theirs = (one.partition("/")[0] for one in (source, target))
    if "/" in target and "." in theirs and "." in ours:
        return f"{theirs}/{source.partition('/')[2]}"
    return source


def _reason(path: tuple[str, ...], source: Environment, target: Environment) -> str:
    """Why a pin stays; empty where it moves."""
    if path[0] == "platform_images" and not isinstance(target.variables.get("platform_images"), Mapping):
        return "-"  # the whole mapping moves at once
    if path[0] != "model_catalog":
        return ""
    ours, theirs = (_models(one.variables) for one in (source, target))
    if isinstance(target.variables.get("model_catalog"), str):
        return f"the catalogue of {target.name} is a template"
    if path[1] not in theirs:
        return f"{target.name} does not serve this model; add its entry first"
    if ours[path[1]].get("source") != theirs[path[1]].get("source"):
        return f"{target.name} takes the model from {theirs[path[1]].get('source')}, where the revision means nothing"
    return ""


def _images(source: Environment, target: Environment, made: Promotion, edits: dict[Path, list[edit.Edit]]) -> None:
    """All of `platform_images`, where the target has a template or nothing."""
    made.left = [line for line in made.left if not line.endswith(": -")]
    ours, theirs = source.variables.get("platform_images"), target.variables.get("platform_images")
    if not isinstance(ours, Mapping):
        made.left.append(f"platform_images: {source.name} has no pushed images; see playbooks/account.yml")
        return
    file = target.places.get("platform_images")
    if isinstance(theirs, Mapping) or not file:
        return
    change = edit.replace(file.read_text(encoding="utf-8"), ["platform_images"], dict(ours))
    if change:
        edits.setdefault(file, []).append(change)
        made.moved += [f"+ platform_images.{name}  {value}" for name, value in ours.items()]


def _shown(path: tuple[str, ...]) -> str:
    return f"{path[0]}[{path[1]}].{path[2]}" if len(path) == 3 else ".".join(path)
