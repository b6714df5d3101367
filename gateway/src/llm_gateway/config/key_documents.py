# SPDX-License-Identifier: Apache-2.0
"""What a key is, and how a key file in JSON says it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class KeyLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one key; None: as the settings say, 0: none."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    budget_tokens: int | None = None
    budget_period: float | None = None


class KeyDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key file in JSON. `previous` hashes stay good until `previous_until` (rotation with overlap)."""

    sha256: str
    name: str | None = None
    models: list[str] | None = None
    classes: list[str] | None = None
    tenant: str | None = None
    weight: float = 1.0
    expires: float | str | None = None
    previous: list[str] = []
    previous_until: float | str | None = None
    admin: bool = False
    limits: KeyLimits = KeyLimits()


# What most keys have: one object for all of them.
NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Key:
    """One caller. `models` None: all. Times are seconds since the epoch."""

    name: str
    tenant: str = ""
    models: frozenset[str] | None = None
    expires_at: float | None = None
    classes: frozenset[str] | None = None
    weight: float = 1.0
    admin: bool = False
    limits: KeyLimits = NO_LIMITS

    def may_use(self, model: str) -> bool:
        """Whether the key's scope has the model."""
        return self.models is None or model in self.models


ANONYMOUS = Key(name="anonymous", tenant="anonymous")
