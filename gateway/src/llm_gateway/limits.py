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
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from llm_gateway.errors import ApiError, unavailable
from llm_gateway.ledger import (
    BUDGET,
    REQUESTS,
    TOKENS,
    USED_COMPLETION,
    USED_PROMPT,
    USED_REQUESTS,
    Ledger,
    LedgerFull,
)

MINUTE_S: Final = 60.0
# A number no limit reaches.
BOUNDLESS: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of one subject; 0: none. Rates are per minute, the budget is tokens in `budget_period_s`."""

    requests: float = 0
    tokens: float = 0
    concurrency: float = 0
    budget: float = 0
    budget_period_s: float = 30 * 86400.0

    @property
    def any(self) -> bool:
        """Whether there is anything to look after."""
        return bool(self.requests or self.tokens or self.concurrency or self.budget)

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


def window_used(cells: memoryview[float], at: int, now: float, period_s: float = MINUTE_S) -> float:
    """What the window at `at` has counted in the last `period_s`; moves it on to `now`."""
    elapsed = now - cells[at]
    if not 0 <= elapsed < period_s:
        if period_s <= elapsed < 2 * period_s:
            cells[at] += period_s
            cells[at + 1] = cells[at + 2]
            cells[at + 3] = cells[at + 4]
        else:
            cells[at] = now
            cells[at + 1] = 0.0
        cells[at + 2] = 0.0
    before: float = cells[at + 1]
    if not before:
        return float(cells[at + 2])
    # Of the minute before, from its begin to its last count, this much is younger than a minute.
    spread_s = cells[at + 3] - (cells[at] - period_s)
    young_s = cells[at + 3] - (now - period_s)
    if young_s <= 0:
        return float(cells[at + 2])
    return before * min(1.0, young_s / spread_s) + cells[at + 2]


def window_wait_s(
    cells: memoryview[float], at: int, now: float, limit: float, wanted: float, period_s: float = MINUTE_S
) -> float:
    """Seconds until `wanted` more fit, if nobody else takes them; `window_used` was called just before."""
    start, before, current = cells[at], cells[at + 1], cells[at + 2]
    room = limit - current - wanted
    if room >= 0:
        spread_s = cells[at + 3] - (start - period_s)
        return max(0.0, cells[at + 3] + period_s - min(1.0, room / before) * spread_s - now) if before else 0.0
    if wanted > limit or not current:
        return period_s
    fits = cells[at + 4] + period_s - min(1.0, (limit - wanted) / current) * (cells[at + 4] - start)
    return max(0.0, start + period_s - now, fits - now)


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
    """Who is limited: the name of its record (found when first needed, -1 before), what it is called towards clients, and its rules."""

    __slots__ = ("name", "record", "request_lines", "rules", "shown", "token_lines")

    def __init__(self, name: str, shown: str, rules: Rules) -> None:
        self.rules = rules
        self.record = -1
        self.name = name
        self.shown = shown
        # `rate_lines`, as far as they are the same for every request.
        self.request_lines = _lines_of("requests", rules.requests)
        self.token_lines = _lines_of("tokens", rules.tokens)

    def share(self, replicas: int) -> Subject:
        """The same, with one gateway's share of the limits."""
        return Subject(self.name, self.shown, self.rules.share(replicas))


@lru_cache(maxsize=4096)
def _lines_of(kind: str, limit: float) -> tuple[bytes, bytes]:
    """What stands before the remaining number, and between it and the seconds."""
    return (
        f"x-ratelimit-limit-{kind}: {limit:.0f}\r\nx-ratelimit-remaining-{kind}: ".encode(),
        f"\r\nx-ratelimit-reset-{kind}: ".encode(),
    )


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


def give_back(ledger: Ledger, subject: Subject, token_change: float) -> None:
    """Correct the tokens that were reserved, and count one request less at once."""
    record = subject.record
    if not ledger.shared:
        _give_back(ledger, record, subject.rules, token_change)
        return
    with ledger.lock(record):
        _give_back(ledger, record, subject.rules, token_change)


def _give_back(ledger: Ledger, record: int, rules: Rules, token_change: float) -> None:
    cells = ledger.cells
    if rules.tokens and token_change:
        # Into the current count; or the last one's where this window is newer than the reservation.
        current = cells[record + TOKENS + 2] + token_change
        if current >= 0:
            cells[record + TOKENS + 2] = current
        else:
            cells[record + TOKENS + 2] = 0.0
            cells[record + TOKENS + 1] = max(0.0, cells[record + TOKENS + 1] + current)
    if rules.budget:
        cells[record + BUDGET + 1] = max(0.0, cells[record + BUDGET + 1] + token_change)
    if rules.concurrency:
        ledger.leave(record)


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
            record = subject.record
            try:
                if record < 0:
                    record = subject.record = self._record(subject)
                if ledger.shared:
                    with ledger.lock(record):
                        found = self._take(record, subject, tokens, now)
                else:
                    found = self._take(record, subject, tokens, now)
            except ApiError:
                for earlier in subjects[:position]:
                    give_back(ledger, earlier, -tokens)
                    self._return_request(earlier)
                raise
            lines = lines or found
        return Ticket(ledger, subjects, tokens, lines)

    def _record(self, subject: Subject) -> int:
        try:
            return self._ledger.record(subject.name)
        except LedgerFull as error:
            # A limit that cannot be kept count of must not become no limit.
            raise unavailable(f"The limits of {subject.shown} cannot be kept: {error}.", code="limits_full") from error

    def _return_request(self, subject: Subject) -> None:
        if subject.rules.requests:
            with self._ledger.lock(subject.record):
                at = subject.record + REQUESTS + 2
                self._ledger.cells[at] = max(0.0, self._ledger.cells[at] - 1)

    def _take(self, record: int, subject: Subject, tokens: float, now: float) -> bytes:
        ledger = self._ledger
        cells = ledger.cells
        rules = subject.rules
        requests, token_limit, budget, concurrency = rules.requests, rules.tokens, rules.budget, rules.concurrency
        requests_used = tokens_used = 0.0
        refusal: tuple[str, float, float] | None = None
        if requests:
            requests_used = window_used(cells, record + REQUESTS, now)
            if requests_used + 1 > requests + 1e-9:
                refusal = ("requests", requests, window_wait_s(cells, record + REQUESTS, now, requests, 1))
            else:
                requests_used += 1
        if token_limit:
            tokens_used = window_used(cells, record + TOKENS, now)
            if refusal is None:
                if tokens_used + tokens > token_limit + 1e-9:
                    refusal = ("tokens", token_limit, window_wait_s(cells, record + TOKENS, now, token_limit, tokens))
                else:
                    tokens_used += tokens
        if budget:
            start = cells[record + BUDGET]
            if not 0 <= now - start < rules.budget_period_s:
                start = cells[record + BUDGET] = now
                cells[record + BUDGET + 1] = 0.0
            if refusal is None and cells[record + BUDGET + 1] + tokens > budget + 1e-9:
                refusal = ("budget", budget, start + rules.budget_period_s - now)
        if refusal is None and concurrency and ledger.in_flight(record) >= concurrency:
            refusal = ("concurrency", concurrency, 1.0)
        if refusal is not None:
            what, limit, wait_s = refusal
            headers = rate_headers(
                (requests, requests_used, cells[record + REQUESTS] + MINUTE_S - now) if requests else None,
                (token_limit, tokens_used, cells[record + TOKENS] + MINUTE_S - now) if token_limit else None,
            )
            raise refused(what, limit, subject.shown, wait_s, headers)
        lines = b""
        if requests:
            at = record + REQUESTS
            cells[at + 2] += 1
            cells[at + 4] = now
            lines = _rate_line(subject.request_lines, requests, requests_used, cells[at] + MINUTE_S - now)
        if token_limit:
            at = record + TOKENS
            cells[at + 2] += tokens
            cells[at + 4] = now
            lines += _rate_line(subject.token_lines, token_limit, tokens_used, cells[at] + MINUTE_S - now)
        if budget:
            cells[record + BUDGET + 1] += tokens
        if concurrency:
            cells[ledger.mine(record)] += 1
        return lines


def count_use(ledger: Ledger, record: int, requests: int, prompt_tokens: float, completion_tokens: float) -> None:
    """Add to what a key has used in all; for the admin's eyes, no limit looks at it."""
    if not ledger.shared:
        _count_use(ledger.cells, record, requests, prompt_tokens, completion_tokens)
        return
    with ledger.lock(record):
        _count_use(ledger.cells, record, requests, prompt_tokens, completion_tokens)


def _count_use(
    cells: memoryview[float], record: int, requests: int, prompt_tokens: float, completion_tokens: float
) -> None:
    cells[record + USED_REQUESTS] += requests
    if prompt_tokens:
        cells[record + USED_PROMPT] += prompt_tokens
    if completion_tokens:
        cells[record + USED_COMPLETION] += completion_tokens
