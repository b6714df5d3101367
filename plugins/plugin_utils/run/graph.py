# SPDX-License-Identifier: Apache-2.0
"""The vertex of the graph: a node and its dependencies."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..kinds.base import Node


@dataclass
class Vertex:
    """A node in the graph. `after`: indices of vertices that must have succeeded before it starts.

    `behind`: indices of vertices that must have ended before it starts, whether they succeeded or not.
    """

    index: int
    component: str
    node: Node
    after: set[int] = field(default_factory=set)
    behind: set[int] = field(default_factory=set)
