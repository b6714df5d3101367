# SPDX-License-Identifier: Apache-2.0
"""What one worker keeps of one key from request to request."""

from __future__ import annotations

from llm_gateway.callers.limits import BOUNDLESS, Rules, Subject
from llm_gateway.config.key_documents import Key


class KeyUse:
    """What one key (or all that are counted as "other") has used since the metrics last took it over."""

    __slots__ = ("requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.tokens = 0


class Caller(Subject):
    """A key, its limits, and where its use is counted. Requests look at the fields here, not into the key: see README, "Memory in no cache"."""

    __slots__ = ("expires_at", "key", "models", "tenant", "use")

    def __init__(self, key: Key, rules: Rules, use: KeyUse) -> None:
        super().__init__("key", key.name, rules)
        self.expires_at = BOUNDLESS if key.expires_at is None else key.expires_at
        self.models = key.models
        self.use = use
        self.tenant = key.tenant
        self.key = key


# Of a request that shows no good key; what it uses is counted nowhere.
NOBODY = Caller(Key(name=""), Rules(), KeyUse())
