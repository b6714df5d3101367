# SPDX-License-Identifier: Apache-2.0
"""A digest of what a descriptor says, the same on every machine that plans it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from ..objects.masking import Masker
from .descriptor import Component

# Where a file is on this controller says nothing of its content, which other fields pin.
_PLACES = ("stdin_file", "archive", "path")


def digest(component: Component, masker: Masker) -> str:
    """`sha256:…` over the descriptor, secrets masked."""
    described = _portable(masker.data(msgspec.to_builtins(component)))
    return f"sha256:{hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()}"


def _portable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _portable(one) for key, one in value.items() if not (key in _PLACES and _is_local(one))}
    return [_portable(one) for one in value] if isinstance(value, list) else value


def _is_local(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")
