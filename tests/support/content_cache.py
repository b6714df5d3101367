# SPDX-License-Identifier: Apache-2.0
"""What costs much and depends on content alone, kept from one session to the next: JSON files named by a digest of it all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
_KEPT_S = 14 * 24 * 3600
# Below a source; of these nothing depends on.
_IGNORED = {"__pycache__", "tests", "README.md"}


def cache_root() -> Path:
    """Where programs, images and models are kept, too."""
    return Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks")


@cache
def digest_of(*places: str) -> str:
    """Of every file at or below these places of the checkout, names and content; without tests. Read once a session."""
    digest = hashlib.sha256()
    for place in places:
        top = REPO / place
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and not _IGNORED.intersection(file.relative_to(top).parts):
                content = file.read_bytes()
                digest.update(f"\0{file.relative_to(REPO)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


class ContentCache:
    """A folder of values by key. Two sessions may write one value at a time: both write the same."""

    def __init__(self, name: str) -> None:
        self._folder = cache_root() / "tests" / name

    def get(self, key: str) -> Any:
        """None where it is not known."""
        file = self._folder / f"{key}.json"
        try:
            found = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        file.touch()  # in use
        return found

    def put(self, key: str, value: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, staging = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "w") as file:
            json.dump(value, file)
        Path(staging).replace(self._folder / f"{key}.json")
        self._drop_old()

    def _drop_old(self) -> None:
        for file in self._folder.iterdir():
            # Another process may rename or delete it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > _KEPT_S:
                    file.unlink()


def key_of(*parts: Any, sources: Iterable[str]) -> str:
    """`sources`: places of the checkout, see `digest_of`."""
    text = json.dumps([digest_of(*sources), *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
