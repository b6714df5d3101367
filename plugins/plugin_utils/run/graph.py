# SPDX-License-Identifier: Apache-2.0
"""A node in its place in the graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..kinds.base import Node


@dataclass
class Vertex:
    """A node in the graph. `after`: indices of the vertices that must have ended well before it; `behind`: that must have ended."""

    index: int
    component: str
    node: Node
    after: set[int] = field(default_factory=set)
    behind: set[int] = field(default_factory=set)
