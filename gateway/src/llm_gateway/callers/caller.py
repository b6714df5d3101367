# SPDX-License-Identifier: Apache-2.0
"""What one worker keeps of one key from request to request."""

from __future__ import annotations

from llm_gateway.callers.limits import BOUNDLESS, Rules, Subject
from llm_gateway.config.key_documents import Key
from llm_gateway.telemetry.instruments import KeyUse


class Caller(Subject):
    """A key, its limits, and where its use is counted. What requests look at is here, not in the key: one of 100 000 keys is in none of the
    processor's caches, and each object more would be waited for."""

    __slots__ = ("expires_at", "key", "models", "tenant", "use")

    def __init__(self, key: Key, rules: Rules, use: KeyUse) -> None:
        super().__init__("key", key.name, rules)
        self.expires_at = BOUNDLESS if key.expires_at is None else key.expires_at
        self.models = key.models
        self.use = use
        self.tenant = key.tenant
        self.key = key
