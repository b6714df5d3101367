# SPDX-License-Identifier: Apache-2.0
"""The targets by name: the module of each, and its name there. Only what is fuzzed is imported."""

from __future__ import annotations

from importlib import import_module

from fuzz.target import Target

TARGETS: dict[str, tuple[str, str]] = {
    "callers": ("callers", "CALLERS"),
    "client": ("clients", "CLIENT"),
    "head": ("heads", "HEAD"),
    "planted": ("planted", "PLANTED"),
    "relay": ("relays", "RELAY"),
    "replies": ("documents", "REPLIES"),
    "reply": ("replies", "REPLY"),
    "requests": ("documents", "REQUESTS"),
    "streams": ("streams", "STREAMS"),
}


def find(name: str) -> Target:
    """The target of this name. Raises KeyError."""
    module, attribute = TARGETS[name]
    found: Target = getattr(import_module(f"fuzz.{module}"), attribute)
    return found
