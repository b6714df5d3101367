# SPDX-License-Identifier: Apache-2.0
"""Parts that are gone: a component that stands for others, one for each entry of a list, removes those whose entry was deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...module_utils.aws.catalog import RESOURCES
from ..describe.descriptor import AwsEntry, Component
from ..describe.references import references
from ..kinds.aws import keys_of, removable
from ..objects.identity import Identity
from ..objects.record import Recorder


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
            found.append(Component(name=name, state="absent", requires=requires))
    return found


def lapsed_on_aws(components: Sequence[Component], recorder: Recorder) -> dict[str, set[Identity]]:
    """Component to remove -> what its record holds of AWS, of the kinds of which it describes other ones or fewer.

    What the record of a component that stays holds, too, is not among it.
    """
    going = {component.name: component for component in components if component.state == "absent"}
    recorded = {name: removable(recorder.known(name)) for name in recorder.components()}
    elsewhere = {one for name, ones in recorded.items() if name not in going for one in ones}
    found = {name: _beyond(component, recorded.get(name, set()) - elsewhere) for name, component in going.items()}
    return {name: ones for name, ones in found.items() if ones}


def _beyond(component: Component, recorded: set[Identity]) -> set[Identity]:
    found: set[Identity] = set()
    for kind in {one.kind for one in recorded}:
        ones = {one for one in recorded if one.kind == kind}
        entries = [entry for entry in component.aws if entry.type == kind]
        if len(ones) > len(entries) or not all(any(_may_be(one, entry) for entry in entries) for one in ones):
            found |= ones
    return found


def _may_be(one: Identity, entry: AwsEntry) -> bool:
    """Whether an entry may describe what a record names. Keys that refer to outputs are not known yet."""
    keys = keys_of(one)
    given = {key: value for key, value in entry.properties.items() if key in RESOURCES[one.kind].key}
    return all(list(references(value)) or str(value) == keys.get(key) for key, value in given.items())
