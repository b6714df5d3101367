# SPDX-License-Identifier: Apache-2.0
"""Artifacts on the shared volume: ROOT/MODEL/BACKEND/KEY/, either complete or absent.

They are kept as models are (`models.store`): staged, made durable, published by one rename; a manifest has every file's
size and sha256, and every input of the key in clear text. Only one builder works on a key at a time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.store import MANIFEST, ModelStore, sha256_of
from .errors import MismatchError
from .key import Inputs, differences


@dataclass(frozen=True)
class Artifact:
    """One complete set. `inputs`: what it was compiled for, as `Inputs.parts` returns it."""

    path: Path
    key: str
    inputs: Mapping[str, Any]
    files: Mapping[str, tuple[int, str]]
    seconds: float
    compiler: str

    def damaged(self, *, full: bool) -> list[str]:
        """Files that are missing or of another size; with `full`, of other content too."""
        return [
            name
            for name, (size, digest) in self.files.items()
            if not (self.path / name).is_file()
            or (self.path / name).stat().st_size != size
            or (full and sha256_of(self.path / name) != digest)
        ]


class ArtifactStore:
    """`root`: where the artifacts of all models are."""

    def __init__(self, root: str | Path) -> None:
        self._store = ModelStore(root)
        self.root = self._store.root

    def folder(self, model: str, inputs: Inputs) -> Path:
        return self._store.folder(f"{model}.{inputs.backend}", inputs.key)

    def find(self, model: str, inputs: Inputs, *, full: bool = False) -> Artifact | None:
        """The artifacts for exactly these inputs, if they exist and are complete."""
        found = read(self.folder(model, inputs))
        if found is None or found.key != inputs.key or found.damaged(full=full):
            return None
        return found

    def nearest(self, model: str, inputs: Inputs) -> Artifact | None:
        """The artifacts whose inputs differ in the fewest parts."""
        parent = self.folder(model, inputs).parent
        there = [one for one in map(read, sorted(parent.glob("*"))) if one is not None]
        return min(there, key=lambda one: len(differences(inputs.parts(), one.inputs)), default=None)

    @contextmanager
    def building(self, model: str, inputs: Inputs, wait_s: float) -> Iterator[Path]:
        """An empty folder to compile into, while nobody else compiles the same. BusyError after `wait_s` seconds."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._store.fetching(f"{model}.{inputs.backend}", inputs.key, wait_s) as staging:
            # What an earlier builder has left is of no use: no compiler can continue it.
            for left in staging.iterdir():
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def publish(self, staging: Path, model: str, inputs: Inputs, seconds: float, compiler: str) -> Artifact:
        """Publish the content of `staging` as the artifacts."""
        for path in staging.rglob("*"):
            if path.is_file():
                _sync_file(path)
        files = {
            path.relative_to(staging).as_posix(): [path.stat().st_size, sha256_of(path)]
            for path in sorted(staging.rglob("*"))
            if path.is_file()
        }
        written = {
            "key": inputs.key,
            "key_inputs": inputs.parts(),
            "model": model,
            "files": files,
            "compile_seconds": round(seconds, 1),
            "compiler": compiler,
        }
        target = self.folder(model, inputs)
        self._store.publish_folder(staging, target, json.dumps(written, indent=1, sort_keys=True) + "\n")
        found = read(target)
        if found is None:
            raise AssertionError
        return found

    def list(self) -> list[tuple[str, Artifact]]:
        """(model, artifacts) of all that exist."""
        found = []
        for folder in sorted(self.root.glob("*/*")):
            artifact = read(folder) if not folder.parent.name.startswith(".") else None
            if artifact is not None:
                found.append((folder.parent.name.rpartition(".")[0], artifact))
        return found

    def use(self, artifact: Artifact) -> None:
        """Note that they are wanted now: what was not used for longest is the oldest."""
        os.utime(artifact.path / MANIFEST)

    def old(self, wanted: Collection[str], mounted: Collection[str], keep: int) -> Sequence[Artifact]:
        """Artifacts to remove: of models that are not wanted, and of others all but the `keep` + 1 that were used last.

        Nothing in a mounted folder (MODEL.BACKEND): a pod of an older description may use any key.
        """
        found = []
        seen: dict[str, int] = {}
        for model, artifact in sorted(self.list(), key=lambda one: _used_at(one[1]), reverse=True):
            folder = artifact.path.parent.name
            seen[folder] = seen.get(folder, 0) + 1
            if folder not in mounted and (model not in wanted or seen[folder] > keep + 1):
                found.append(artifact)
        return found

    def remove(self, artifact: Artifact) -> None:
        """Only folders with our manifest are ever removed."""
        self._store.remove(artifact.path.parent.name, artifact.path.name)


def _used_at(artifact: Artifact) -> float:
    return (artifact.path / MANIFEST).stat().st_mtime


def _sync_file(path: Path) -> None:
    """Compilers do not wait until their bytes are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def read(folder: Path) -> Artifact | None:
    """The artifact that a folder's manifest describes; None where it has none of ours."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in found["files"].items()}
        return Artifact(
            folder,
            str(found["key"]),
            found["key_inputs"],
            files,
            float(found["compile_seconds"]),
            str(found["compiler"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def refuse_mismatch(wanted: Mapping[str, Any], artifact: Artifact) -> None:
    """MismatchError with every part in which the artifacts differ, and the cost of a compilation."""
    found = differences(wanted, artifact.inputs)
    if found:
        took = f"{artifact.seconds / 60:.0f} min" if artifact.seconds >= 90 else f"{artifact.seconds:.0f} s"
        raise MismatchError(
            f"{artifact.path} was compiled for something else: {'; '.join(map(str, found))}. "
            f"Compile it again (the last time took {took}), or set back what was changed"
        )
