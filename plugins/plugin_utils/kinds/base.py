# SPDX-License-Identifier: Apache-2.0
"""The contract of every kind of node, and its terms."""

from __future__ import annotations

from typing import Protocol

from .context import Context, Run, ServedKind, context_of
from .outcome import Action, Document, NodeError, Outcome, Policy, Unfinished, Verb, matches, subject

__all__ = [
    "Action",
    "Context",
    "Document",
    "Node",
    "NodeError",
    "Outcome",
    "Policy",
    "Run",
    "ServedKind",
    "Unfinished",
    "Verb",
    "context_of",
    "matches",
    "subject",
]


class Node(Protocol):
    """A unit of work. `slow` nodes only wait: they do not count against the concurrency."""

    @property
    def name(self) -> str: ...

    @property
    def slow(self) -> bool: ...

    def run(self, context: Context) -> Outcome:
        """Reach the node's state (only plan it when `context.run.check`). Raises LlmOnEksError."""
