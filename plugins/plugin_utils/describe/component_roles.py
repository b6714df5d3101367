# SPDX-License-Identifier: Apache-2.0
"""Which roles describe components, and in what order: found in the roles folder, listed nowhere."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from ...module_utils.errors import LlmOnEksError

TEMPLATE = Path("templates", "components.yml.j2")
# In C where it is there: all roles are read, several times in a run.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ACCOUNT, EKS = "account", "eks"
SKIP = "skip"


class ComponentRolesError(LlmOnEksError):
    """A role that is not there, or roles that need each other in a circle."""


@dataclass(frozen=True)
class ComponentRole:
    """A role with a descriptor. `scope`: empty for every cluster, `eks` or `account`; `needs`: roles whose facts it reads.

    `state`: its state where an inventory says nothing.
    """

    name: str
    scope: str = ""
    needs: tuple[str, ...] = ()
    state: str = "present"


def discover(roles: Path) -> dict[str, ComponentRole]:
    """name -> role, for every role folder that has a descriptor template."""
    return {role.name: _read(role) for role in sorted(roles.iterdir()) if (role / TEMPLATE).exists()}


def _read(role: Path) -> ComponentRole:
    file = role / "vars" / "main.yml"
    # Templates in the file are not rendered: only plain values are read here.
    own = yaml.load(file.read_bytes(), Loader=_LOADER) or {} if file.exists() else {}  # noqa: S506
    scope, needs = own.get(f"{role.name}_scope", ""), tuple(own.get(f"{role.name}_needs", ()))
    return ComponentRole(role.name, scope, needs, _default_state(role))


def _default_state(role: Path) -> str:
    """Read as text: all defaults of all roles would take longer than everything else here."""
    file = role / "defaults" / "main.yml"
    found = re.search(rf"^{role.name}_state: (\w+)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return found[1] if found else "present"


def left_out(
    roles: Mapping[str, ComponentRole], names: Collection[str], state_of: Callable[[ComponentRole], str]
) -> list[str]:
    """Those of `names` that nothing is described of: skipped by default and by the inventory, and needed by no other.

    `state_of` gives a role's state in the inventory. A role that only an inventory skips is described all the same: it
    may have components of other names, a model's for instance.
    """
    skipped = {name for name in names if roles[name].state == SKIP and state_of(roles[name]) == SKIP}
    wanted = [name for name in names if name not in skipped]
    needed = set(in_order(roles, wanted, provider=EKS)) if wanted else set()
    return [name for name in names if name in skipped and name not in needed]


def in_order(
    roles: Mapping[str, ComponentRole], wanted: Collection[str] = (), *, provider: str = "existing", scope: str = ""
) -> list[str]:
    """The wanted roles and all roles that they need, in dependency order.

    Without `wanted`: all roles of a cluster of this provider, or all of `scope`. Raises ComponentRolesError.
    """
    chosen = list(wanted) or [
        role.name for role in roles.values() if _belongs(role, provider) and scope in ("", role.scope)
    ]
    graph: dict[str, tuple[str, ...]] = {}
    while chosen:
        name = chosen.pop()
        if name not in roles:
            raise ComponentRolesError(
                f"{name} is not a role that describes components; there are {', '.join(sorted(roles))}"
            )
        # Without AWS, a role does not need what only exists on AWS.
        graph[name] = tuple(need for need in roles[name].needs if _belongs(roles.get(need), provider))
        chosen += [need for need in graph[name] if need not in graph]
    try:
        return list(graphlib.TopologicalSorter(dict(sorted(graph.items()))).static_order())
    except graphlib.CycleError as error:
        raise ComponentRolesError(f"roles need each other in a circle: {' -> '.join(error.args[1])}") from error


def _belongs(role: ComponentRole | None, provider: str) -> bool:
    """Whether a cluster of this provider has the role. An unknown role is kept, so that it is refused by name later."""
    return role is None or not role.scope or (role.scope == EKS and provider == EKS)
