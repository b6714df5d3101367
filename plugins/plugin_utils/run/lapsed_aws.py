# SPDX-License-Identifier: Apache-2.0
"""What components to remove had on AWS in earlier revisions, and do not describe any more."""

from __future__ import annotations

from collections.abc import Sequence

from ...module_utils.aws.catalog import RESOURCES
from ..describe.descriptor import AwsEntry, Component
from ..describe.references import references
from ..kinds.aws import keys_of, removable
from ..objects.identity import Identity
from ..objects.record import Recorder


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
