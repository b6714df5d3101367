# SPDX-License-Identifier: Apache-2.0
"""What a node reports: actions, notes, errors; and what a descriptor allows the node to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...module_utils.errors import LlmOnEksError
from ..describe.descriptor import Reference
from ..objects import disruption
from ..objects.compare import Change, to_yaml
from ..objects.identity import Identity, identity
from ..objects.masking import Masker

Document = dict[str, Any]
_SERVED_TIMEOUT_S = 30
Verb = Literal["create", "update", "delete", "recreate", "run", "adopt"]


class NodeError(LlmOnEksError):
    """A node of the graph could not reach its state."""


@dataclass(frozen=True)
class Action:
    """One thing done, or that would be done. `subject` is kind and name as people write them.

    `means`: the effect on users, where the kind of node knows it better than the document shows. `loses`: data that is
    lost for good.
    """

    verb: Verb
    subject: str
    changes: Sequence[Change] = ()
    before: Document | None = None
    after: Document | None = None
    means: disruption.Disruption | None = None
    loses: str = ""

    @property
    def disruption(self) -> disruption.Disruption:
        return self.means or disruption.of(self.verb, self.before or self.after, self.changes)

    def diff(self, masker: Masker) -> dict[str, str]:
        """In Ansible's form, secrets masked."""
        return {
            "before_header": self.subject,
            "after_header": self.subject,
            "before": masker.text(to_yaml(self.before)),
            "after": masker.text(to_yaml(self.after)),
        }


@dataclass(frozen=True)
class Outcome:
    """What a node did or would do, and notes for the user."""

    actions: Sequence[Action] = ()
    notes: Sequence[str] = ()


class Unfinished(NodeError):
    """A node failed after it had done something; `outcome` is what it had done."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class Policy:
    """What a component's descriptor allows: taking over objects of others, and deleting to make anew."""

    adopt: bool = False
    recreate: Sequence[Reference] = ()
    lose_data: Sequence[Reference] = ()

    def may_recreate(self, target: Identity) -> bool:
        return any(matches(reference, target) for reference in self.recreate)


def subject(document: Mapping[str, Any]) -> str:
    """`Deployment kong/kong-gateway`, `Namespace kong`."""
    return str(identity(document))


def matches(reference: Reference, target: Identity) -> bool:
    """Whether a descriptor's reference means this object; one without a namespace means any."""
    return (
        reference.kind == target.kind
        and reference.name == target.name
        and reference.namespace in ("", target.namespace)
    )
