# SPDX-License-Identifier: Apache-2.0
"""Compiled graphs against what is installed here. The libraries fail late and obscurely on graphs of another version, or not at all."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from .errors import SettingsError
from .folders import ModelFolder

# Of the interpreter, not of a package; the path is in the hashes of transformers-neuronx's graphs alone.
_NO_PACKAGES = ("python", "prefix")


def refuse_other_versions(folder: ModelFolder, installed: Mapping[str, str] | None = None) -> None:
    """SettingsError that names every package which differs from the one that compiled, and what compiling takes."""
    compiled: Mapping[str, Any] = folder.manifest.get("key_inputs", {}).get("versions", {})
    here = installed if installed is not None else {name: _version(name) for name in compiled}
    differing = [
        f"{name} is {here.get(name) or 'not there'}, not {version}"
        for name, version in sorted(compiled.items())
        if name not in _NO_PACKAGES and here.get(name) != version
    ]
    if differing:
        seconds = float(folder.manifest.get("compile_seconds", 0))
        took = f" (the last time took {seconds / 60:.0f} min)" if seconds else ""
        raise SettingsError(
            f"{folder.artifacts} was compiled with other libraries: {'; '.join(differing)}. Compile it again{took}, "
            "or serve it with the image that compiled it"
        )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
