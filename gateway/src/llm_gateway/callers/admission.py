# SPDX-License-Identifier: Apache-2.0
"""Who asks, and how much they may ask: keys, their callers, the limits of keys and models, classes of requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llm_gateway.callers.caller import Caller, KeyUse
from llm_gateway.callers.digest_table import DigestTable
from llm_gateway.callers.keys import KeyStore, read_keys
from llm_gateway.callers.ledger import Ledger, LedgerFull, Record
from llm_gateway.callers.limits import BOUNDLESS, Limiter, Rules, Subject, Ticket
from llm_gateway.config.key_documents import Key, KeyLimits
from llm_gateway.config.settings import Settings
from llm_gateway.errors import ConfigError, forbidden, malformed, printable

if TYPE_CHECKING:
    from llm_gateway.callers.jwt import TokenVerifier
    from llm_gateway.callers.redis_limits import RedisLimiter

# Keys whose limits and counts are kept at hand.
MAX_CALLERS: Final = 200_000
# Most keys have the same limits: one `Rules` serves them all.
MAX_RULES: Final = 10_000
NO_SUBJECTS: Final[list[Subject]] = []


class Admission:
    """Finds the caller of a request and admits the request, or refuses it.

    `use_of` gives the counts of a key by its name; `degraded` is called for each request that Redis should have admitted and could not.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        use_of: Callable[[str], KeyUse],
        degraded: Callable[[], None],
    ) -> None:
        # By the SHA-256 of their key; and by name, those that are known otherwise (by a token, or not at all).
        self.callers = DigestTable()
        self._named: dict[str, Caller] = {}
        self.keys = KeyStore(anonymous=settings.anonymous)
        self.tokens: TokenVerifier | None = None
        self.limiter = Limiter(ledger)
        self.remote: RedisLimiter | None = None
        self.has_classes = False
        self._settings = settings
        self._ledger = ledger
        self._use_of = use_of
        self._degraded = degraded
        self._rules: dict[tuple[KeyLimits, bool], Rules] = {}

    # --- callers

    def caller(self, digest: bytes | None, token: bytes | None) -> Caller | None:
        """Who shows the key with this SHA-256; None for nobody who is known (any more)."""
        caller: Caller | None = None if digest is None else self.callers.get(digest)
        if caller is not None:
            return None if caller.expires_at != BOUNDLESS and time.time() >= caller.expires_at else caller
        key = self.keys.find(digest, token)
        if key is None:
            return None
        if digest is not None and self.keys.stored(digest):
            caller = self._make_caller(key)
            self.callers.put(digest, caller, self.record(caller), caller.use, caller.name)
            return caller
        caller = self._named.get(key.name)
        if caller is None or caller.key is not key:
            if len(self._named) >= MAX_CALLERS:
                self._named.clear()
            caller = self._named[key.name] = self._make_caller(key)
        return caller

    def _make_caller(self, key: Key) -> Caller:
        return Caller(key, self._rules_of(key.limits, key=True), self._use_of(key.name))

    def record(self, caller: Caller) -> Record | None:
        """Where a key's use is counted; None: the ledger has no room for it."""
        if caller.record is None:
            with suppress(LedgerFull):
                caller.record = self._ledger.record(caller.record_name)
        return caller.record

    def rank(self, key: Key, wanted: bytes | None) -> int:
        """The class of a request, 0 the most urgent. Raises ApiError (400, 403)."""
        classes = self._settings.priority_classes
        if wanted is None:
            name = self._settings.default_class
            if key.classes is not None and name not in key.classes:
                allowed = [place for place, known in enumerate(classes) if known in key.classes]
                return allowed[-1] if allowed else len(classes)
            return classes.index(name) if name in classes else 0
        name = wanted.decode("latin-1").strip().lower()
        if name not in classes:
            raise malformed(f"The class '{printable(name)}' is not one of {', '.join(classes)}.", param="x-priority")
        if key.classes is not None and name not in key.classes:
            raise forbidden(f"This key may not use the class '{name}'.", code="class_not_allowed")
        return classes.index(name)

    # --- limits

    def model_subjects(self, model: str, limits: KeyLimits) -> list[Subject]:
        """The limits of a model as subjects of a request to it; empty: none."""
        rules = self._rules_of(limits, key=False)
        return [Subject("model", model, rules)] if rules.any else NO_SUBJECTS

    def limited(self, caller: Caller, of_model: list[Subject]) -> list[Subject] | None:
        """All limits that a request must pass; None: none."""
        if not caller.rules.any:
            return of_model or None
        return [caller, *of_model] if of_model else [caller]

    def admit(self, subjects: list[Subject], tokens: float) -> Ticket:
        """A ticket for a request that may use `tokens`, by this gateway's own counts. Raises ApiError (429, 503)."""
        return self.limiter.admit(subjects, tokens)

    async def admit_remotely(self, subjects: list[Subject], tokens: float, request_id: bytes) -> Ticket:
        """The same by Redis; by this gateway's share of the limits when Redis does not answer. Raises ApiError 429."""
        if self.remote is not None:
            try:
                return await self.remote.admit(subjects, tokens, request_id)
            except ConnectionError:
                self._degraded()
        replicas = self._settings.limit_replicas
        return self.limiter.admit([subject.share(replicas) for subject in subjects], tokens)

    def _rules_of(self, limits: KeyLimits, *, key: bool) -> Rules:
        """What a key's (or a model's) own limits and the settings come to; this gateway's share of it where Redis does not count for all."""
        found = self._rules.get((limits, key))
        if found is not None:
            return found
        settings = self._settings

        def chosen(own: int | None, general: int) -> int:
            return (general if key else 0) if own is None else own

        rules = Rules(
            chosen(limits.requests_per_minute, settings.limit_requests_per_minute),
            chosen(limits.tokens_per_minute, settings.limit_tokens_per_minute),
            chosen(limits.concurrency, settings.limit_concurrency),
            chosen(limits.budget_tokens, settings.limit_budget_tokens),
            settings.limit_budget_period if limits.budget_period is None else limits.budget_period,
        )
        if self.remote is None:
            rules = rules.share(settings.limit_replicas)
        if len(self._rules) >= MAX_RULES:
            self._rules.clear()
        self._rules[limits, key] = rules
        return rules

    # --- changes

    def configure(self, settings: Settings) -> None:
        """Go on with other settings; counts stay."""
        self._settings = settings
        self._rules.clear()
        self._forget_callers()

    def load_keys(self) -> None:
        """Read all keys anew. Raises ConfigError; the old keys then stay."""
        settings = self._settings
        pairs = read_keys(settings.keys_dir, settings.api_key_file)
        if settings.admin_keys_dir and Path(settings.admin_keys_dir).is_dir():
            pairs += read_keys(settings.admin_keys_dir, "")
        admin = read_secret(settings.admin_key_file)
        if admin:
            key = Key(name="admin", tenant="admin", models=frozenset(), admin=True)
            pairs.append((sha256(admin.encode()).digest(), key))
        self.keys = KeyStore(pairs, anonymous=settings.anonymous and not pairs, tokens=self.tokens)
        self.has_classes = any(key.classes is not None for __, key in pairs) or self.tokens is not None
        self._forget_callers()

    def _forget_callers(self) -> None:
        self.callers.clear()
        self._named.clear()


def read_secret(path: str) -> str:
    """What a secret's file holds; nothing for no file. Raises ConfigError."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"file {path}: cannot be read: {error.strerror}") from error
