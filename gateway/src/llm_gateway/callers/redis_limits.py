# SPDX-License-Identifier: Apache-2.0
"""Limits that are exact over several gateways: the same windows as in `limits`, kept in Redis or Valkey. Needs the extra `redis`.

One script admits (all subjects of a request, or none), one settles; both are atomic there. Time is Redis' own, so that gateways' clocks
need not agree. A request at once is a lease that ends by itself, should its gateway never come back to end it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from llm_gateway.callers.limits import MINUTE_S, Subject, Ticket, rate_headers, rate_lines, refused
from llm_gateway.errors import ConfigError

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
except ImportError as error:  # pragma: no cover - the image has it
    raise ConfigError("redis_url: redis is not installed; install llm-gateway[redis]") from error

LOG = logging.getLogger("llm_gateway.limits")
PREFIX = "llm-gateway:"
TIMEOUT_S = 0.5

# Shared by both scripts: a window as `limits` has it, in a hash with the fields KIND:s, p, c, l (last before) and m (last now).
_WINDOW = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local minute = 60
local function window(key, kind)
  local v = redis.call('HMGET', key, kind .. ':s', kind .. ':p', kind .. ':c', kind .. ':l', kind .. ':m')
  local w = {s = tonumber(v[1] or '0'), p = tonumber(v[2] or '0'), c = tonumber(v[3] or '0'),
             l = tonumber(v[4] or '0'), m = tonumber(v[5] or '0')}
  local elapsed = now - w.s
  if elapsed < 0 or elapsed >= minute then
    if elapsed >= minute and elapsed < 2 * minute then
      w.s, w.p, w.l = w.s + minute, w.c, w.m
    else
      w.s, w.p = now, 0
    end
    w.c = 0
  end
  local young = w.l - (now - minute)
  w.used = w.c
  if w.p > 0 and young > 0 then w.used = w.p * math.min(1, young / (w.l - (w.s - minute))) + w.c end
  return w
end
local function put(key, kind, w)
  redis.call('HSET', key, kind .. ':s', string.format('%.6f', w.s), kind .. ':p', tostring(w.p), kind .. ':c', tostring(w.c),
    kind .. ':l', string.format('%.6f', w.l), kind .. ':m', string.format('%.6f', w.m))
end
"""

# KEYS: one per subject. ARGV: tokens, request id, lease seconds, then requests, tokens, concurrency, budget, budget period per subject.
# Answers {refused subject (0: none), what, wait, then limit, used, reset of requests and of tokens, of the first subject that has them}.
_ADMIT = (
    _WINDOW
    + """
local tokens, id, lease = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local function wait(limit, wanted, w)
  local room = limit - w.c - wanted
  if room >= 0 then
    if w.p == 0 then return 0 end
    return math.max(0, w.l + minute - math.min(1, room / w.p) * (w.l - (w.s - minute)) - now)
  end
  if wanted > limit or w.c == 0 then return minute end
  return math.max(0, w.s + minute - now, w.m + minute - math.min(1, (limit - wanted) / w.c) * (w.m - w.s) - now)
end
local state = {'', '', '', '', '', ''}
local writes = {}
for i, key in ipairs(KEYS) do
  local base = 3 + (i - 1) * 5
  local requests, rate, concurrency = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local budget, period = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5])
  local refusal, pause
  if requests > 0 then
    local w = window(key, 'r')
    if w.used + 1 > requests + 1e-9 then refusal, pause = 'requests', wait(requests, 1, w) end
    if i == 1 then
      state[1], state[2], state[3] = requests, tostring(w.used + (refusal and 0 or 1)), tostring(w.s + minute - now)
    end
    w.c, w.m = w.c + 1, now
    writes[#writes + 1] = {key, 'r', w}
  end
  if rate > 0 then
    local w = window(key, 't')
    if not refusal and w.used + tokens > rate + 1e-9 then refusal, pause = 'tokens', wait(rate, tokens, w) end
    if i == 1 then
      state[4], state[5], state[6] = rate, tostring(w.used + (refusal and 0 or tokens)), tostring(w.s + minute - now)
    end
    w.c, w.m = w.c + tokens, now
    writes[#writes + 1] = {key, 't', w}
  end
  if budget > 0 then
    local v = redis.call('HMGET', key, 'b:s', 'b:c')
    local start, used = tonumber(v[1] or '0'), tonumber(v[2] or '0')
    if now - start < 0 or now - start >= period then start, used = now, 0 end
    if not refusal and used + tokens > budget + 1e-9 then refusal, pause = 'budget', start + period - now end
    writes[#writes + 1] = {key, 'b', {s = start, p = 0, c = used + tokens, l = 0, m = 0}}
  end
  if concurrency > 0 then
    redis.call('ZREMRANGEBYSCORE', key .. ':now', '-inf', now)
    if not refusal and redis.call('ZCARD', key .. ':now') >= concurrency then refusal, pause = 'concurrency', 1 end
  end
  if refusal then
    return {i, refusal, tostring(pause), state[1], state[2], state[3], state[4], state[5], state[6]}
  end
end
for _, one in ipairs(writes) do put(one[1], one[2], one[3]) end
for i, key in ipairs(KEYS) do
  local base = 3 + (i - 1) * 5
  if tonumber(ARGV[base + 3]) > 0 then
    redis.call('ZADD', key .. ':now', now + lease, id)
    redis.call('PEXPIRE', key .. ':now', math.ceil(lease * 1000))
  end
  local keep = 130
  if tonumber(ARGV[base + 4]) > 0 then keep = math.max(keep, tonumber(ARGV[base + 5])) end
  redis.call('EXPIRE', key, math.ceil(keep))
end
return {0, '', '0', state[1], state[2], state[3], state[4], state[5], state[6]}
"""
)

# ARGV: change of the tokens, request id, then tokens, concurrency, budget per subject.
_SETTLE = (
    _WINDOW
    + """
local change, id = tonumber(ARGV[1]), ARGV[2]
for i, key in ipairs(KEYS) do
  local base = 2 + (i - 1) * 3
  if tonumber(ARGV[base + 1]) > 0 and change ~= 0 then
    local w = window(key, 't')
    w.c = w.c + change
    if w.c < 0 then w.p, w.c = math.max(0, w.p + w.c), 0 end
    put(key, 't', w)
    redis.call('EXPIRE', key, 130, 'GT')
  end
  if tonumber(ARGV[base + 3]) > 0 then
    local used = tonumber(redis.call('HGET', key, 'b:c') or '0')
    redis.call('HSET', key, 'b:c', tostring(math.max(0, used + change)))
  end
  if tonumber(ARGV[base + 2]) > 0 then redis.call('ZREM', key .. ':now', id) end
end
return 0
"""
)


class RemoteTicket(Ticket):
    """A ticket whose counts are in Redis."""

    __slots__ = ("_id", "_limiter", "_remote")

    def __init__(
        self,
        limiter: RedisLimiter,
        subjects: list[Subject],
        reserved: float,
        header_lines: bytes,
        request_id: str,
    ) -> None:
        self._limiter = limiter
        self._remote = subjects
        self._id = request_id
        self.reserved = reserved
        self.header_lines = header_lines
        self.settled = False

    def settle(self, prompt_tokens: float, completion_tokens: float) -> None:
        """See Ticket."""
        if not self.settled:
            self.settled = True
            self._limiter.settle(self._remote, prompt_tokens + completion_tokens - self.reserved, self._id)


class RedisLimiter:
    """Admits requests by counts in Redis."""

    def __init__(self, url: str, lease_s: float, password: str = "") -> None:
        try:
            self._redis: Any = Redis.from_url(
                url,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                password=password or None,
            )
        except ValueError as error:
            raise ConfigError(f"redis_url: {error}") from error
        self._admit = self._redis.register_script(_ADMIT)
        self._settle = self._redis.register_script(_SETTLE)
        self._lease_s = lease_s + 60
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(self, subjects: list[Subject], tokens: float, request_id: bytes) -> RemoteTicket:
        """A ticket. Raises ApiError 429; ConnectionError when Redis does not answer."""
        self._count += 1
        # A client may use one request id twice; a lease must not.
        lease = f"{request_id.decode('latin-1')}/{self._count}"
        arguments: list[Any] = [tokens, lease, self._lease_s]
        for rules in (subject.rules for subject in subjects):
            arguments += [rules.requests, rules.tokens, rules.concurrency, rules.budget, rules.budget_period_s]
        try:
            answer = await self._admit(keys=[PREFIX + subject.record_name for subject in subjects], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            LOG.warning("Redis did not answer, limits are this gateway's share: %s", error)
            raise ConnectionError(str(error)) from error
        place, what, wait_s, *state = (part.decode() if isinstance(part, bytes) else part for part in answer)
        request_state, token_state = _state(state[:3]), _state(state[3:])
        if int(place):
            subject = subjects[int(place) - 1]
            limit, shown = getattr(subject.rules, what), subject.shown
            raise refused(what, limit, shown, float(wait_s), rate_headers(request_state, token_state))
        return RemoteTicket(self, subjects, tokens, rate_lines(request_state, token_state), lease)

    def settle(self, subjects: list[Subject], change: float, lease: str) -> None:
        """Correct the counts, in the background."""
        task = asyncio.get_running_loop().create_task(self._settle_now(subjects, change, lease))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle_now(self, subjects: list[Subject], change: float, lease: str) -> None:
        arguments: list[Any] = [change, lease]
        for rules in (subject.rules for subject in subjects):
            arguments += [rules.tokens, rules.concurrency, rules.budget]
        try:
            await self._settle(keys=[PREFIX + subject.record_name for subject in subjects], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            LOG.warning("Redis did not answer, a reservation stays until it ends by itself: %s", error)

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.aclose()


def _state(parts: list[Any]) -> tuple[float, float, float] | None:
    if parts[0] in ("", None):
        return None
    limit, used, reset_s = (float(part) for part in parts)
    return limit, used, min(MINUTE_S, max(0.0, reset_s))
