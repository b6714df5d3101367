# SPDX-License-Identifier: Apache-2.0
"""A new environment: a copy of another one with its own names and its own address range."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from .environment import LOCK, UnknownEnvironment

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_RANGE = re.compile(r"^(network_cidr:\s*)\S+", re.MULTILINE)
_REGION = re.compile(r"^(platform_aws_region:\s*)\S+", re.MULTILINE)
_SCHEMA = re.compile(r"^# yaml-language-server: \$schema=\S+$", re.MULTILINE)
# What is of one environment alone: its release set, its pushed images.
_NOT_COPIED = {LOCK, "release.yml"}


def files(name: str, like: Path, inventories: Path, region: str, schema: Path) -> dict[Path, str]:
    """path → text of the new environment's files.

    like: the environment's folder to copy; inventories: where the new one comes to stand; schema: docs/inventory.schema.json.
    Raises UnknownEnvironment.
    """
    target = inventories / name
    if not _NAME.fullmatch(name):
        raise UnknownEnvironment(f"name is {name!r}; use lower-case letters, digits and hyphens, for example prod-eu")
    if target.exists():
        raise UnknownEnvironment(f"{target} exists already; choose another name, or delete the folder first")
    free = _free_range(inventories)
    return {
        target / file.relative_to(like): _renamed(
            text, name, like, region, free, _relative(schema, target / file.relative_to(like))
        )
        for file, text in _sources(like)
    }


def left_out(like: Path) -> list[str]:
    """Files that are not copied, since they hold secrets."""
    return [str(file.relative_to(like)) for file in sorted(like.rglob("*")) if file.is_file() and _is_secret(file)]


def _sources(like: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(like.rglob("*.yml")):
        if file.name not in _NOT_COPIED and not _is_secret(file):
            yield file, file.read_text(encoding="utf-8")


def _is_secret(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(14) == b"$ANSIBLE_VAULT" or file.name.startswith("vault")


def _renamed(text: str, name: str, like: Path, region: str, free: str, schema: str) -> str:
    text = re.sub(rf"\bllm-{re.escape(like.name)}\b", f"llm-{name}", text)
    text = _RANGE.sub(rf"\g<1>{free}", text)
    text = _SCHEMA.sub(f"# yaml-language-server: $schema={schema}", text)
    return _REGION.sub(rf"\g<1>{region}", text) if region else text


def _relative(schema: Path, file: Path) -> str:
    return os.path.relpath(schema, file.parent)


def _free_range(inventories: Path) -> str:
    """The first 10.N.0.0/16 that no environment beside it has, so that all can be peered."""
    taken = set()
    for file in inventories.rglob("*.yml"):
        taken |= {
            int(one) for one in re.findall(r"^network_cidr:\s*\"?10\.(\d+)\.", file.read_text("utf-8"), re.MULTILINE)
        }
    return next(f"10.{number}.0.0/16" for number in range(40, 256, 10) if number not in taken)


def asked(texts: Mapping[Path, str]) -> list[str]:
    """What only the owner knows: one line each, with the place and the hint."""
    lines = []
    for file, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if found := re.match(r"(\w+): .*undef\(hint='([^']*)'", line):
                lines.append(f"{file}:{number}: {found[1]}: {found[2]}")
    return lines
