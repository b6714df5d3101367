# SPDX-License-Identifier: Apache-2.0
"""Parts that are gone: a component that stands for others, one for each entry of a list, removes those whose entry was deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..describe.descriptor import Component


def lapsed(components: Sequence[Component], installed: Collection[str]) -> list[Component]:
    """Installed components that no part of the description names any more, as components to remove.

    Those of a later prefix go first, as an engine before its model.
    """
    described = {component.name for component in components}
    found: list[Component] = []
    for owner in components:
        if owner.parts is None or owner.state == "skip":
            continue
        prefixes, named = owner.parts.prefixes, set(owner.parts.names)
        gone = {
            name: prefix
            for name in installed
            for prefix in prefixes
            if name.startswith(prefix) and name not in described | named
        }
        for name, prefix in gone.items():
            rest = name.removeprefix(prefix)
            earlier = [f"{one}{rest}" for one in prefixes[: prefixes.index(prefix)]]
            # Where the owner goes, too, it goes last: its claim is held by the pods of its parts.
            requires = [owner.name, *(one for one in earlier if one in gone)]
            found.append(Component(name=name, state="absent", requires=requires, outlives=owner.outlives))
    return found
