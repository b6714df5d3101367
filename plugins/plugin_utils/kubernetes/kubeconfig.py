# SPDX-License-Identifier: Apache-2.0
"""kubeconfig files, several merged into one as kubectl merges them.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ConnectionError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}


@dataclass(frozen=True)
class Section:
    """The settings of a cluster or a user, and the file that holds them: relative paths start at its folder."""

    name: str
    values: Mapping[str, Any]
    file: Path

    def text(self, key: str) -> str:
        """A setting; empty where there is none. Raises ConnectionError for what is no text."""
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise ConnectionError(f"kubeconfig {self.file}: {key} is {value!r}, which is not text")
        return value

    def path(self, key: str) -> Path | None:
        named = self.text(key)
        return self.file.parent / Path(named).expanduser() if named else None

    def pem(self, key: str) -> bytes:
        """What a kubeconfig carries inline, or names as a file. Raises ConnectionError."""
        if inline := self.text(f"{key}-data"):
            try:
                return base64.b64decode("".join(inline.split()), validate=True)
            except ValueError:
                raise ConnectionError(f"kubeconfig {self.file}: {key}-data is not base64") from None
        named = self.path(key)
        return read(named, f"{key} of kubeconfig {self.file}") if named else b""


class Kubeconfig:
    """One or more files. Of two entries with one name, the first file's wins; the same holds for the current context."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.current_context = ""
        self._entries: dict[str, dict[str, Section]] = {section: {} for section in _SECTIONS}
        for file in files:
            self._add(file, _document(file))

    def _add(self, file: Path, document: Mapping[str, Any]) -> None:
        self.current_context = self.current_context or str(document.get("current-context") or "")
        for section, key in _SECTIONS.items():
            for entry in document.get(section) or []:
                if not isinstance(entry, Mapping) or not isinstance(entry.get(key) or {}, Mapping):
                    raise ConnectionError(f"kubeconfig {file}: an entry of {section} has no name and {key}")
                name = str(entry.get("name"))
                self._entries[section].setdefault(name, Section(name, entry.get(key) or {}, file))

    def chosen(self, context: str) -> tuple[Section, Section]:
        """Cluster and user of a context, empty for the current one. Raises ConnectionError."""
        wanted = context or self.current_context
        if not wanted:
            known = ", ".join(self._entries["contexts"]) or "none"
            raise ConnectionError(
                f"kubeconfig {self} has no current-context; set platform_context to one of its contexts: {known}"
            )
        found = self._named("contexts", wanted)
        user = found.text("user")
        return self._named("clusters", found.text("cluster")), (
            self.user(user) if user else Section("", {}, found.file)
        )

    def user(self, name: str) -> Section:
        """Raises ConnectionError."""
        return self._named("users", name)

    def _named(self, section: str, name: str) -> Section:
        entries = self._entries[section]
        if name not in entries:
            known = ", ".join(entries) or "none"
            raise ConnectionError(f"kubeconfig {self} has no entry {name!r} in {section}; it has {known}")
        return entries[name]

    def __str__(self) -> str:
        return os.pathsep.join(map(str, self.files))


def files_of(named: str) -> list[Path]:
    """A path, or several as in KUBECONFIG; of several, those that exist. Raises ConnectionError when none exists."""
    files = [Path(entry).expanduser() for entry in named.split(os.pathsep) if entry]
    found = [file for file in files if file.exists()]
    if not found:
        said = " and ".join(map(str, files)) or repr(named)
        does = "does" if len(files) == 1 else "do"
        raise ConnectionError(
            f"kubeconfig {said} {does} not exist; set platform_kubeconfig to the file of your cluster"
        )
    return found


def read(file: Path | str, what: str) -> bytes:
    """Raises ConnectionError that says what the file is."""
    try:
        return Path(file).expanduser().read_bytes() if file else b""
    except OSError as error:
        raise ConnectionError(f"{what}: {file} cannot be read: {error.strerror}") from None


def _document(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(read(file, "kubeconfig"), Loader=_LOADER) or {}  # noqa: S506 - a safe loader, in C
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ConnectionError(
            f"kubeconfig {file} is not YAML{line}: {getattr(error, 'problem', None) or error}"
        ) from None
    lists = isinstance(document, Mapping) and all(isinstance(document.get(name) or [], list) for name in _SECTIONS)
    if not lists:
        raise ConnectionError(
            f"kubeconfig {file} is not a kubeconfig: it must have lists of clusters, users and contexts"
        )
    return document
