# SPDX-License-Identifier: Apache-2.0
"""All kinds of AWS resources, by the name that a component descriptor's `aws:` and the documentation use."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from .base.resource import AwsResource

# Folders without kinds.
_APART = ("base", "survey", "estimate", "reference")


def _modules() -> Iterator[str]:
    """The modules in the services' folders. Inside an Ansible module's payload: those that it contains."""
    here = importlib.import_module(__package__)
    for folder in pkgutil.iter_modules(here.__path__):
        if folder.ispkg and folder.name not in _APART:
            package = importlib.import_module(f"{__package__}.{folder.name}")
            yield from (f"{package.__name__}.{found.name}" for found in pkgutil.iter_modules(package.__path__))


def _kinds() -> Iterator[type[AwsResource]]:
    for name in _modules():
        for member in vars(importlib.import_module(name)).values():
            if isinstance(member, type) and issubclass(member, AwsResource) and member.__module__ == name:
                yield member


RESOURCES: dict[str, type[AwsResource]] = {
    kind.kind: kind for kind in sorted(_kinds(), key=lambda kind: kind.kind) if kind.kind
}


def height(kind: str) -> int:
    """Length of the longest chain of kinds that this kind depends on. The highest are removed first."""
    below = RESOURCES[kind].stands_on
    return 1 + max(map(height, below)) if below else 0


def below(kind: str) -> set[str]:
    """The kinds that this kind depends on, directly or not."""
    direct = set(RESOURCES[kind].stands_on)
    return direct.union(*map(below, direct))
