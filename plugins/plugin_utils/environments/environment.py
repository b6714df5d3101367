# SPDX-License-Identifier: Apache-2.0
"""One environment as its files say it: an inventory folder, and of it one cluster with its variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...module_utils.errors import LlmOnEksError
from ..helm import lock_file

LOCK = "release.lock.yml"
GROUP = "eks_clusters"


class UnknownEnvironment(LlmOnEksError):
    """An environment that is not there, or of which it is unclear what is meant."""


@dataclass(frozen=True)
class Environment:
    """`variables`: ours, as they are written (templates are not rendered); `places`: the file that sets each of them."""

    folder: Path
    cluster: str
    variables: Mapping[str, Any]
    places: Mapping[str, Path] = field(default_factory=dict)
    lock: lock_file.LockFile = field(default_factory=lock_file.LockFile)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def lock_path(self) -> Path:
        """The lock file; an environment that keeps it elsewhere sets `platform_lock_file`."""
        given = str(self.variables.get("platform_lock_file") or "")
        return Path(given) if given and "{{" not in given else self.folder / LOCK


def find(given: str, inventories: Path) -> tuple[Path, str]:
    """`prod`, a path, or either with `:CLUSTER` → (the folder, the cluster or an empty string). Raises UnknownEnvironment."""
    name, __, cluster = given.partition(":")
    if not name:
        raise UnknownEnvironment(f"no environment is named; {_known(inventories)}")
    folder = Path(name) if "/" in name else inventories / name
    if not folder.is_dir():
        raise UnknownEnvironment(f"{folder} is not an inventory folder; {_known(inventories)}")
    return folder.resolve(), cluster


def _known(inventories: Path) -> str:
    known = ", ".join(sorted(one.parent.name for one in inventories.glob("*/hosts.yml")))
    return f"{inventories} has {known or 'none'}"


def choose(folder: Path, clusters: list[str], wanted: str) -> str:
    """The cluster that is meant. Raises UnknownEnvironment."""
    if wanted in clusters or (not wanted and len(clusters) == 1):
        return wanted or clusters[0]
    if not clusters:
        raise UnknownEnvironment(f"{folder} has no host in the group {GROUP}")
    asked = f"has no cluster {wanted}" if wanted else "has several clusters"
    raise UnknownEnvironment(
        f"{folder.name} {asked}: {', '.join(clusters)}; name one of them, for example {folder.name}:{clusters[0]}"
    )
