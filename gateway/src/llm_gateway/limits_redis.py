# SPDX-License-Identifier: Apache-2.0
"""Limits that are exact over several gateways: the same windows as in `limits`, kept in Redis or Valkey. Needs the extra `redis`.

One script admits (all subjects of a request, or none), one settles; both are atomic there. Time is Redis' own, so that gateways' clocks
need not agree. A request at once is a lease that ends by itself, should its gateway never come back to end it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from llm_gateway.errors import ConfigError
from llm_gateway.limits import MINUTE_S, Rules, Ticket, rate_headers, refused

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
except ImportError as error:  # pragma: no cover - the image has it
    raise ConfigError("redis_url: redis is not installed; install llm-gateway[redis]") from error

LOG = logging.getLogger("llm_gateway.limits")
PREFIX = "llm-gateway:"
TIMEOUT_S = 0.5

# Shared by both scripts: the window of `limits.window_used`, in a hash with the fields KIND:s, KIND:p, KIND:c.
_WINDOW = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local function window(key, kind, period)
  local v = redis.call('HMGET', key, kind .. ':s', kind .. ':p', kind .. ':c')
  local start, before, current = tonumber(v[1] or '0'), tonumber(v[2] or '0'), tonumber(v[3] or '0')
  local elapsed = now - start
  if elapsed < 0 or elapsed >= period then
    if elapsed >= period and elapsed < 2 * period then
      start = start + period
      before = current
      elapsed = elapsed - period
    else
      start = now
      before = 0
      elapsed = 0
    end
    current = 0
  end
  return start, before, current, elapsed
end
local function put(key, kind, start, before, current)
  redis.call('HSET', key, kind .. ':s', string.format('%.6f', start), kind .. ':p', before, kind .. ':c', current)
end
"""

# KEYS: one per subject. ARGV: tokens, request id, lease seconds, then requests, tokens, concurrency, budget, budget period per subject.
# Answers {refused subject (0: none), what, wait, then limit, used, reset of requests and of tokens, of the first subject that has them}.
_ADMIT = (
    _WINDOW
    + """
local tokens, id, lease = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local minute = 60
local function wait(limit, wanted, before, current, elapsed)
  local room = limit - current - wanted
  if room >= 0 then
    if before > room then return math.max(0, minute * (1 - room / before) - elapsed) end
    return 0
  end
  if wanted > limit then return minute end
  local more = 0
  if current > 0 then more = math.max(0, minute * (1 - (limit - wanted) / current)) end
  return minute - elapsed + more
end
local state = {'', '', '', '', '', ''}
local writes = {}
for i, key in ipairs(KEYS) do
  local base = 3 + (i - 1) * 5
  local requests, rate, concurrency = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local budget, period = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5])
  local refusal, pause
  if requests > 0 then
    local s, b, c, e = window(key, 'r', minute)
    local used = b * (1 - e / minute) + c
    if used + 1 > requests + 1e-9 then refusal, pause = 'requests', wait(requests, 1, b, c, e) end
    writes[#writes + 1] = {key, 'r', s, b, c + 1}
    if i == 1 then state[1], state[2], state[3] = requests, tostring(used + (refusal and 0 or 1)), tostring(minute - e) end
  end
  if rate > 0 then
    local s, b, c, e = window(key, 't', minute)
    local used = b * (1 - e / minute) + c
    if not refusal and used + tokens > rate + 1e-9 then refusal, pause = 'tokens', wait(rate, tokens, b, c, e) end
    writes[#writes + 1] = {key, 't', s, b, c + tokens}
    if i == 1 then state[4], state[5], state[6] = rate, tostring(used + (refusal and 0 or tokens)), tostring(minute - e) end
  end
  if budget > 0 then
    local v = redis.call('HMGET', key, 'b:s', 'b:c')
    local start, used = tonumber(v[1] or '0'), tonumber(v[2] or '0')
    if now - start < 0 or now - start >= period then start, used = now, 0 end
    if not refusal and used + tokens > budget + 1e-9 then refusal, pause = 'budget', start + period - now end
    writes[#writes + 1] = {key, 'b', start, 0, used + tokens}
  end
  if concurrency > 0 then
    redis.call('ZREMRANGEBYSCORE', key .. ':now', '-inf', now)
    if not refusal and redis.call('ZCARD', key .. ':now') >= concurrency then refusal, pause = 'concurrency', 1 end
  end
  if refusal then
    return {i, refusal, tostring(pause), state[1], state[2], state[3], state[4], state[5], state[6]}
  end
end
for _, w in ipairs(writes) do put(w[1], w[2], w[3], w[4], w[5]) end
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
    local s, b, c, e = window(key, 't', 60)
    c = c + change
    if c < 0 then
      b = math.max(0, b + c)
      c = 0
    end
    put(key, 't', s, b, c)
    redis.call('EXPIRE', key, 130, 'GT')
  end
  if tonumber(ARGV[base + 3]) > 0 then
    local used = tonumber(redis.call('HGET', key, 'b:c') or '0')
    redis.call('HSET', key, 'b:c', math.max(0, used + change))
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
        subjects: list[tuple[str, str, Rules]],
        reserved: float,
        headers: tuple[tuple[str, str], ...],
        request_id: str,
    ) -> None:
        self._limiter = limiter
        self._remote = subjects
        self._id = request_id
        self.reserved = reserved
        self.headers = headers
        self.settled = False

    def settle(self, prompt_tokens: float, completion_tokens: float) -> None:
        """See Ticket."""
        if not self.settled:
            self.settled = True
            self._limiter.settle(self._remote, prompt_tokens + completion_tokens - self.reserved, self._id)


class RedisLimiter:
    """Admits requests by counts in Redis."""

    def __init__(self, url: str, lease_s: float) -> None:
        try:
            self._redis: Any = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        except ValueError as error:
            raise ConfigError(f"redis_url: {error}") from error
        self._admit = self._redis.register_script(_ADMIT)
        self._settle = self._redis.register_script(_SETTLE)
        self._lease_s = lease_s + 60
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(self, subjects: list[tuple[str, str, Rules]], tokens: float, request_id: bytes) -> RemoteTicket:
        """A ticket. Raises ApiError 429; ConnectionError when Redis does not answer."""
        self._count += 1
        # A client may use one request id twice; a lease must not.
        lease = f"{request_id.decode('latin-1')}/{self._count}"
        arguments: list[Any] = [tokens, lease, self._lease_s]
        for _, _, rules in subjects:
            arguments += [rules.requests, rules.tokens, rules.concurrency, rules.budget, rules.budget_period_s]
        try:
            answer = await self._admit(keys=[PREFIX + name for name, _, _ in subjects], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            LOG.warning("Redis did not answer, limits are this gateway's share: %s", error)
            raise ConnectionError(str(error)) from error
        place, what, wait_s, *state = (part.decode() if isinstance(part, bytes) else part for part in answer)
        headers = rate_headers(_state(state[:3]), _state(state[3:]))
        if int(place):
            _, shown, rules = subjects[int(place) - 1]
            limit = getattr(rules, what)
            raise refused(what, limit, shown, float(wait_s), headers)
        return RemoteTicket(self, subjects, tokens, headers, lease)

    def settle(self, subjects: list[tuple[str, str, Rules]], change: float, lease: str) -> None:
        """Correct the counts, in the background."""
        task = asyncio.get_running_loop().create_task(self._settle_now(subjects, change, lease))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle_now(self, subjects: list[tuple[str, str, Rules]], change: float, lease: str) -> None:
        arguments: list[Any] = [change, lease]
        for _, _, rules in subjects:
            arguments += [rules.tokens, rules.concurrency, rules.budget]
        try:
            await self._settle(keys=[PREFIX + name for name, _, _ in subjects], args=arguments)
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
