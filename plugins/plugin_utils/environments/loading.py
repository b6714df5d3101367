# SPDX-License-Identifier: Apache-2.0
"""Reads an environment as Ansible does: groups, group_vars and host_vars, in Ansible's own order of precedence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager

from ...module_utils.errors import LlmOnEksError
from ..helm import lock_file
from ..preflight.findings import place_of
from ..run.options import plain
from .environment import GROUP, Environment, choose, find

HIDDEN = "(encrypted)"


def load(given: str, inventories: Path, prefixes: Sequence[str], loader: DataLoader) -> Environment:
    """The environment that `given` names. Raises UnknownEnvironment; LlmOnEksError for files that Ansible cannot read."""
    try:
        return _load(*find(given, inventories), prefixes, loader)
    except AnsibleError as error:
        raise LlmOnEksError(str(error)) from error


def _load(folder: Path, wanted: str, prefixes: Sequence[str], loader: DataLoader) -> Environment:
    inventory = InventoryManager(loader=loader, sources=[str(folder)])
    cluster = choose(folder, _clusters(inventory), wanted)
    everything = VariableManager(loader=loader, inventory=inventory).get_vars(host=inventory.get_host(cluster))
    ours = {
        name: value for name, value in everything.items() if name == "model_catalog" or name.startswith(tuple(prefixes))
    }
    places = {name: Path(place.path) for name, value in ours.items() if (place := place_of(value))}
    made = Environment(
        folder,
        cluster,
        {name: HIDDEN if _is_encrypted(value) else plain(value) for name, value in ours.items()},
        {name: place for name, place in places.items() if place.is_relative_to(folder)},
    )
    return Environment(folder, cluster, made.variables, made.places, lock_file.read(made.lock_path))


def clusters_of(folder: Path, loader: DataLoader) -> list[str]:
    """The clusters of an inventory folder."""
    return _clusters(InventoryManager(loader=loader, sources=[str(folder)]))


def _clusters(inventory: InventoryManager) -> list[str]:
    group = inventory.groups.get(GROUP)
    return [str(host.name) for host in group.get_hosts()] if group else []


def _is_encrypted(value: Any) -> bool:
    """Whether a value comes from a vault: it is never shown."""
    try:
        # The public way to this does not exist in ansible-core 2.19.
        from ansible._internal._datatag._tags import VaultedValue
    except ImportError:
        return type(value).__name__ == "EncryptedString"
    return type(value).__name__ == "EncryptedString" or VaultedValue.is_tagged_on(value)
