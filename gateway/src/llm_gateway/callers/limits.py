# SPDX-License-Identifier: Apache-2.0
"""How much a key, or a model, may use: requests and tokens a minute, requests at once, tokens in a period.

Rates are a sliding window of two counts: this minute's, which begins with the first request in it, and the share of the last minute's that
still lies within 60 s (taken as spread evenly from that minute's begin to its last request). So a fresh key gets exactly its limit, no
burst at a minute's edge gets twice of it, and nobody waits for longer than a minute. Tokens are
reserved when a request is admitted (prompt estimated from its size, answer by what the request allows) and settled when it ends.

Everything here works on a `Ledger` and is exact over worker processes. Over gateway replicas it is exact with Redis (`limits_redis`);
without, every replica allows its share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from llm_gateway.callers.ledger import Ledger, LedgerFull, Record
from llm_gateway.errors import ApiError, unavailable

MINUTE_S: Final = 60.0
# A number no limit reaches.
BOUNDLESS: Final = float("inf")


class Rules:
    """The limits of one subject; 0: none. Rates are per minute, the budget is tokens in `budget_period_s`."""

    __slots__ = (
        "any",
        "budget",
        "budget_period_s",
        "concurrency",
        "request_lines",
        "requests",
        "token_lines",
        "tokens",
    )

    def __init__(
        self,
        requests: float = 0,
        tokens: float = 0,
        concurrency: float = 0,
        budget: float = 0,
        budget_period_s: float = 30 * 86400.0,
    ) -> None:
        self.requests = requests
        self.tokens = tokens
        self.concurrency = concurrency
        self.budget = budget
        self.budget_period_s = budget_period_s
        # Whether there is anything to look after.
        self.any = bool(requests or tokens or concurrency or budget)
        # `rate_lines`, as far as they are the same for every request.
        self.request_lines = _lines_of("requests", requests)
        self.token_lines = _lines_of("tokens", tokens)

    def share(self, replicas: int) -> Rules:
        """What one of several gateways may allow, so that all together allow no more than was said (but each at least one)."""
        if replicas <= 1 or not self.any:
            return self

        def part(limit: float) -> float:
            return max(1.0, limit // replicas) if limit else 0

        return Rules(
            part(self.requests),
            part(self.tokens),
            part(self.concurrency),
            part(self.budget),
            self.budget_period_s,
        )


def _lines_of(kind: str, limit: float) -> tuple[bytes, bytes]:
    """What stands before the remaining number, and between it and the seconds."""
    return (
        f"x-ratelimit-limit-{kind}: {limit:.0f}\r\nx-ratelimit-remaining-{kind}: ".encode(),
        f"\r\nx-ratelimit-reset-{kind}: ".encode(),
    )


def move_on(record: Record, now: float) -> None:
    """Begin a new minute in a record where the last one is over."""
    elapsed = now - record.start
    if 0.0 <= elapsed < MINUTE_S:
        return
    if MINUTE_S <= elapsed < 2 * MINUTE_S:
        record.start += MINUTE_S
        record.requests_before = record.requests
        record.tokens_before = record.tokens
        record.before_at = record.last_at
    else:
        record.start = now
        record.requests_before = record.tokens_before = 0.0
    record.requests = record.tokens = 0.0


def young_share(record: Record, now: float) -> float:
    """How much of the minute before counts still; `move_on` was called just before."""
    if not (record.requests_before or record.tokens_before):
        return 0.0
    # From its begin to its last count, this much of it is younger than a minute.
    young_s = record.before_at - (now - MINUTE_S)
    return min(1.0, young_s / _spread_s(record)) if young_s > 0 else 0.0


def _spread_s(record: Record) -> float:
    """How long the minute before has counted."""
    return record.before_at - (record.start - MINUTE_S)


def wait_s(record: Record, now: float, before: float, current: float, limit: float, wanted: float) -> float:
    """Seconds until `wanted` more fit, if nobody else takes them, where the minute before has counted `before` and this one `current`;
    `move_on` was called just before."""
    room = limit - current - wanted
    if room >= 0:
        if not before:
            return 0.0
        return max(0.0, record.before_at + MINUTE_S - min(1.0, room / before) * _spread_s(record) - now)
    if wanted > limit or not current:
        return MINUTE_S
    fits = record.last_at + MINUTE_S - min(1.0, (limit - wanted) / current) * (record.last_at - record.start)
    return max(0.0, record.start + MINUTE_S - now, fits - now)


def shown_time(seconds: float) -> str:
    """A duration as OpenAI's rate-limit headers write it: `12ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s"


def rate_headers(
    requests: tuple[float, float, float] | None, tokens: tuple[float, float, float] | None
) -> tuple[tuple[str, str], ...]:
    """OpenAI's rate-limit headers from (limit, used, seconds until all of it is free again)."""
    found: list[tuple[str, str]] = []
    for kind, state in (("requests", requests), ("tokens", tokens)):
        if state is not None:
            limit, used, reset_s = state
            found += [
                (f"x-ratelimit-limit-{kind}", f"{limit:.0f}"),
                (f"x-ratelimit-remaining-{kind}", f"{max(0, int(limit - used))}"),
                (f"x-ratelimit-reset-{kind}", shown_time(reset_s)),
            ]
    return tuple(found)


def refused(what: str, limit: float, subject: str, wait_s: float, headers: tuple[tuple[str, str], ...]) -> ApiError:
    """The 429 that OpenAI's clients understand."""
    words = {
        "requests": f"{limit:.0f} requests a minute",
        "tokens": f"{limit:.0f} tokens a minute",
        "concurrency": f"{limit:.0f} requests at once",
        "budget": f"a budget of {limit:.0f} tokens",
    }[what]
    codes = {"concurrency": "concurrency_limit_exceeded", "budget": "insufficient_quota"}
    return ApiError(
        429,
        f"Rate limit reached: {subject} has {words}. Try again in {shown_time(wait_s)}.",
        code=codes.get(what, "rate_limit_exceeded"),
        error_type="insufficient_quota" if what == "budget" else "rate_limit_error" if what == "concurrency" else what,
        retry_after_s=wait_s,
        headers=headers,
    )


def rate_lines(requests: tuple[float, float, float] | None, tokens: tuple[float, float, float] | None) -> bytes:
    """`rate_headers` as header lines, each ending in CRLF, in whole seconds."""
    if requests is not None:
        limit, used, reset_s = requests
        lines = (
            b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %ds\r\n"
            % (limit, limit - used if used < limit else 0, reset_s + 0.999)
        )
        if tokens is None:
            return lines
    else:
        lines = b""
    if tokens is not None:
        limit, used, reset_s = tokens
        lines += (
            b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %ds\r\n"
            % (limit, limit - used if used < limit else 0, reset_s + 0.999)
        )
    return lines


class Subject:
    """Who is limited: a key or a model, by its name, with its rules and its record (found when first needed)."""

    __slots__ = ("kind", "name", "record", "rules")

    def __init__(self, kind: str, name: str, rules: Rules) -> None:
        self.record: Record | None = None
        self.rules = rules
        self.kind = kind
        self.name = name

    @property
    def record_name(self) -> str:
        """What its record is called."""
        return f"{self.kind}:{self.name}"

    @property
    def shown(self) -> str:
        """What it is called towards clients."""
        return f"the {self.kind} '{self.name}'"

    def share(self, replicas: int) -> Subject:
        """The same, with one gateway's share of the limits."""
        return Subject(self.kind, self.name, self.rules.share(replicas))


# The ends of `rate_lines`, by the seconds in them.
_SECONDS: Final = [b"%ds\r\n" % seconds for seconds in range(62)]


def _rate_line(lines: tuple[bytes, bytes], limit: float, used: float, reset_s: float) -> bytes:
    remaining = b"%d" % int(limit - used) if used < limit else b"0"
    return b"".join((lines[0], remaining, lines[1], _SECONDS[int(reset_s + 0.999)]))


class Ticket:
    """What one admitted request holds: given back with `settle`, whatever became of it. `header_lines` are for its reply."""

    __slots__ = ("_ledger", "_subjects", "header_lines", "reserved", "settled")

    def __init__(self, ledger: Ledger, subjects: list[Subject], reserved: float, header_lines: bytes) -> None:
        self._ledger = ledger
        self._subjects = subjects
        self.reserved = reserved
        self.header_lines = header_lines
        self.settled = False

    def settle(self, prompt_tokens: float, completion_tokens: float) -> None:
        """The request is over and used this much."""
        if self.settled:
            return
        self.settled = True
        change = prompt_tokens + completion_tokens - self.reserved
        for subject in self._subjects:
            give_back(self._ledger, subject, change)


def give_back(ledger: Ledger, subject: Subject, token_change: float, *, unasked: bool = False) -> None:
    """Correct the tokens that were reserved, and count one request less at once; one that is `unasked` never was."""
    record = subject.record
    if record is None:
        return
    if ledger.mapped:
        with ledger.held(record):
            _give_back(record, subject.rules, token_change, unasked)
    else:
        _give_back(record, subject.rules, token_change, unasked)
    if subject.rules.concurrency:
        ledger.leave(record)


def _give_back(record: Record, rules: Rules, token_change: float, unasked: bool) -> None:
    if rules.tokens and token_change:
        # Into the current count; or the last one's where this minute is newer than the reservation.
        current = record.tokens + token_change
        if current >= 0:
            record.tokens = current
        else:
            record.tokens = 0.0
            record.tokens_before = max(0.0, record.tokens_before + current)
    if rules.budget:
        record.budget_used = max(0.0, record.budget_used + token_change)
    if unasked and rules.requests:
        record.requests = max(0.0, record.requests - 1)


class Limiter:
    """Admits requests by the rules of their key and their model."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def admit(self, subjects: list[Subject], tokens: float) -> Ticket:
        """A ticket for a request that may use `tokens`. Raises ApiError (429, 503)."""
        ledger = self._ledger
        now = self._clock()
        lines = b""
        for position, subject in enumerate(subjects):
            try:
                record = subject.record
                if record is None:
                    record = subject.record = self._record(subject)
                if ledger.mapped:
                    with ledger.held(record):
                        found = self._take(record, subject, tokens, now)
                else:
                    found = self._take(record, subject, tokens, now)
            except ApiError:
                for earlier in subjects[:position]:
                    give_back(ledger, earlier, -tokens, unasked=True)
                raise
            lines = lines or found
        return Ticket(ledger, subjects, tokens, lines)

    def _record(self, subject: Subject) -> Record:
        try:
            return self._ledger.record(subject.record_name)
        except LedgerFull as error:
            # A limit that cannot be kept count of must not become no limit.
            raise unavailable(f"The limits of {subject.shown} cannot be kept: {error}.", code="limits_full") from error

    def _take(self, record: Record, subject: Subject, tokens: float, now: float) -> bytes:
        ledger = self._ledger
        rules = subject.rules
        requests, token_limit, budget, concurrency = rules.requests, rules.tokens, rules.budget, rules.concurrency
        if record.start - MINUTE_S < now < record.start:
            # Another process began the minute between our look at the clock and our turn: no reason to begin it again.
            now = record.start
        move_on(record, now)
        young = young_share(record, now)
        requests_used = record.requests + record.requests_before * young + 1.0
        tokens_used = record.tokens + record.tokens_before * young + tokens
        if budget and not -MINUTE_S < now - record.budget_start < rules.budget_period_s:
            record.budget_start = now
            record.budget_used = 0.0
        if (
            (requests and requests_used > requests + 1e-9)
            or (token_limit and tokens_used > token_limit + 1e-9)
            or (budget and record.budget_used + tokens > budget + 1e-9)
            or (concurrency and ledger.in_flight(record) >= concurrency)
        ):
            raise self._refusal(record, subject, requests_used, tokens_used, tokens, now)
        record.last_at = now
        reset_s = record.start + MINUTE_S - now
        lines = b""
        if requests:
            record.requests += 1.0
            lines = _rate_line(rules.request_lines, requests, requests_used, reset_s)
        if token_limit:
            record.tokens += tokens
            lines += _rate_line(rules.token_lines, token_limit, tokens_used, reset_s)
        if budget:
            record.budget_used += tokens
        if concurrency:
            ledger.add(record, 1.0)
        return lines

    def _refusal(
        self, record: Record, subject: Subject, requests_used: float, tokens_used: float, tokens: float, now: float
    ) -> ApiError:
        """What to say to a request that would have made it `…_used`."""
        rules = subject.rules
        if rules.requests and requests_used > rules.requests + 1e-9:
            what, limit = "requests", rules.requests
            pause_s = wait_s(record, now, record.requests_before, record.requests, limit, 1)
        elif rules.tokens and tokens_used > rules.tokens + 1e-9:
            what, limit = "tokens", rules.tokens
            pause_s = wait_s(record, now, record.tokens_before, record.tokens, limit, tokens)
        elif rules.budget and record.budget_used + tokens > rules.budget + 1e-9:
            what, limit = "budget", rules.budget
            pause_s = record.budget_start + rules.budget_period_s - now
        else:
            what, limit, pause_s = "concurrency", rules.concurrency, 1.0
        reset_s = record.start + MINUTE_S - now
        headers = rate_headers(
            (rules.requests, requests_used - 1, reset_s) if rules.requests else None,
            (rules.tokens, tokens_used - tokens, reset_s) if rules.tokens else None,
        )
        return refused(what, limit, subject.shown, pause_s, headers)


def count_use(ledger: Ledger, record: Record, prompt_tokens: float, completion_tokens: float) -> None:
    """Add a request to what a key has used in all; for the admin's eyes, no limit looks at it."""
    if ledger.mapped:
        with ledger.held(record):
            _count_use(record, prompt_tokens, completion_tokens)
    else:
        _count_use(record, prompt_tokens, completion_tokens)


def _count_use(record: Record, prompt_tokens: float, completion_tokens: float) -> None:
    record.used_requests += 1.0
    record.used_prompt += prompt_tokens
    record.used_completion += completion_tokens
