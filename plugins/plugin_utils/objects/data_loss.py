# SPDX-License-Identifier: Apache-2.0
"""Data that is lost for good when an object is deleted, because no description holds it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .identity import Identity

Document = dict[str, Any]
ALL = "all"


def of_claim(volume: Document | None) -> str:
    """Of a PersistentVolumeClaim, by its volume, which is None where there is none yet or it cannot be read.

    Empty where the files stay.
    """
    policy = ((volume or {}).get("spec") or {}).get("persistentVolumeReclaimPolicy", "Delete")
    return "" if policy == "Retain" else "the files of its volume"


def of_crd(objects: int) -> str:
    """Of a CustomResourceDefinition with this number of live objects."""
    return f"{objects} objects of its kind" if objects else ""


@dataclass(frozen=True)
class Permission:
    """What may be lost in a run: `all`, or objects as KIND/NAME or KIND/NAMESPACE/NAME. AWS: TYPE/NAME."""

    names: Sequence[str] = ()

    def covers(self, kind: str, names: Iterable[str]) -> bool:
        """`names`: all names by which a permission may call the object."""
        return ALL in self.names or any(f"{kind}/{name}" in self.names for name in names)

    def covers_object(self, target: Identity) -> bool:
        return self.covers(target.kind, (target.name, f"{target.namespace}/{target.name}"))


def refusal(subject: str, loses: str, named: str) -> str:
    """Why something is not deleted, and what to do. `named`: how a permission names it."""
    return (
        f"{subject} would be deleted, which loses data: {loses}. Keep it with `retain`, or, if it may be lost, name {named} in "
        "platform_lose_data or in the component's `lose_data`"
    )
