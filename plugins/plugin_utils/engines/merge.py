# SPDX-License-Identifier: Apache-2.0
"""Nested mappings, one over the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(first: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` merged into `first`, mapping by mapping."""
    found = dict(first)
    for key, value in over.items():
        there = found.get(key)
        found[key] = merged(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return found
