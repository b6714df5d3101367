# SPDX-License-Identifier: Apache-2.0
"""One engine: its address, what it serves, how busy and how healthy it is, and its connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast

from llm_gateway.callers.ledger import Ledger
from llm_gateway.engines.address import Address
from llm_gateway.engines.connection import EngineConnection, Upstream
from llm_gateway.engines.routing import seed_of
from llm_gateway.errors import EngineError, printable
from llm_gateway.http.outbox import Outbox

MAX_COOLDOWN_S: Final = 60.0


class Health(Enum):
    """The breaker: closed takes requests, open takes none, trial takes one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


@lru_cache(maxsize=16)
def _frame_tail(token: str) -> bytes:
    """What stands between a request's host and its id; one object for all engines."""
    authorization = f"authorization: Bearer {token}\r\n" if token else ""
    return (f"\r\ncontent-type: application/json\r\naccept-encoding: identity\r\n{authorization}x-request-id: ").encode(
        "latin-1"
    )


def _name_line(name: str) -> bytes:
    return b"x-llm-gateway-engine: %b\r\n" % printable(name, 256).encode("ascii", "replace")


class Engine(Upstream):
    """An engine process that answers HTTP at one address. `own_key`: it is shown a key of its own, as somebody else's engine is; such a one is not
    told who asks."""

    __slots__ = (
        "address",
        "cards",
        "cooldown_s",
        "counts_streams",
        "created_at",
        "drained",
        "failures",
        "frame_start",
        "frame_tail",
        "health",
        "heard_at",
        "in_flight",
        "kind",
        "kind_asked",
        "kv_use",
        "learned",
        "learned_kind",
        "ledger",
        "mine",
        "models",
        "name",
        "name_line",
        "open_until",
        "own_key",
        "queue_depth",
        "record",
        "seed",
        "served",
        "serving",
        "share",
        "stood_at",
        "token",
        "weight",
        "where",
    )

    def __init__(
        self,
        host: str,
        port: int,
        *,
        name: str = "",
        kind: str = "",
        token: str = "",
        weight: float = 1.0,
        path: str = "",
        tls: ssl.SSLContext | None = None,
        own_key: bool = False,
        ledger: Ledger | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        super().__init__(outbox)
        # Compiled, fields lie in memory in this order: first what routing reads, then what each request writes.
        self.in_flight = 0  # over all processes, as far as this one knows
        self.health = Health.CLOSED
        self.share = weight
        self.ledger = ledger if ledger is not None and ledger.shared else None
        self.mine = 0
        self.where = where = Address(host, port, path, tls)
        self.address = where.text
        self.frame_start = f" HTTP/1.1\r\nhost: {where.authority}".encode("latin-1")
        self.frame_tail = _frame_tail(token)
        self.own_key = own_key
        self.kind = kind
        self.name = name or where.text
        self.name_line = _name_line(self.name)
        self.served = 0
        self.heard_at = 0.0
        self.stood_at = 0.0  # it was last found to stand still
        self.failures = 0
        self.serving = True
        self.drained = False
        self.token = token
        self.learned_kind = ""  # as it was found by asking
        self.kind_asked = False
        self.models: frozenset[str] = frozenset()
        self.learned: frozenset[str] = frozenset()
        self.cards: Mapping[str, dict[str, Any]] = {}  # what it says of its models
        self.weight = weight
        self.seed = seed_of(self.name)
        self.kv_use = 0.0
        self.record = None if self.ledger is None else self.ledger.record("engine:" + where.text)
        self.cooldown_s = 0.0
        self.open_until = 0.0
        self.created_at = 0.0
        self.counts_streams = True  # it takes `stream_options`, as far as is known
        self.queue_depth = 0

    def __repr__(self) -> str:
        return f"Engine({self.name}, in_flight={self.in_flight}, {self.health.value})"

    def frame(
        self,
        path: bytes,
        request_id: bytes,
        traceparent: bytes | None,
        lines: bytes,
        body: bytes,
        *,
        apart: bool = False,
        form: bytes = b"",
    ) -> bytes:
        """A whole POST request; of one that is sent with its body `apart`, what comes before that. `lines`: more header lines, each
        beginning with CRLF; `form`: its Content-Type, where it is no JSON."""
        where = self.where
        return b"".join(
            (
                b"POST ",
                where.target(path) if where.based else path,
                self.frame_start,
                self.frame_tail.replace(b"application/json", form, 1) if form else self.frame_tail,
                request_id,
                b"" if traceparent is None else b"\r\ntraceparent: " + traceparent,
                b"" if self.own_key else lines,
                b"\r\ncontent-length: %d\r\n\r\n" % len(body),
                b"" if apart else body,
            )
        )

    def call(self, name: str) -> None:
        """Give it this name."""
        if name != self.name:
            self.name = name
            self.name_line = _name_line(name)

    def show(self, token: str) -> None:
        """Show it this key from now on."""
        if token != self.token:
            self.token = token
            self.frame_tail = _frame_tail(token)

    # load

    def enter(self) -> None:
        """One more request."""
        self.mine += 1
        self.in_flight += 1
        if self.ledger is not None and self.record is not None:
            self.ledger.set_mine(self.record, self.mine)

    def enter_below(self, ceiling: int) -> bool:
        """One more request, unless all processes together have `ceiling` of them there. True when counted."""
        if self.ledger is None or self.record is None or self.ledger.enter(self.record, ceiling):
            self.mine += 1
            self.in_flight += 1
            return True
        self.look()
        return False

    def leave(self) -> None:
        """One request less."""
        self.mine -= 1
        self.in_flight -= 1
        if self.ledger is not None and self.record is not None:
            self.ledger.set_mine(self.record, self.mine)

    def look(self) -> None:
        """See what the other processes have there."""
        if self.ledger is not None and self.record is not None:
            self.in_flight = self.mine + int(self.ledger.others_in_flight(self.record))

    def stands_still(self, now: float, silence_s: float) -> bool:
        """Whether several requests are there, and none of them has got anything for `silence_s` (0: off) since the last of them got something.

        When that was so once, it is until something is heard: the last of them must not wait for ever because the others have left."""
        still = 0 < silence_s < now - self.heard_at and self.heard_at > 0
        if still and self.mine > 1:
            self.stood_at = now
        return still and self.stood_at > self.heard_at

    def warm_up(self, now: float, slow_start_s: float) -> None:
        """Work out the share of an engine that is new: a tenth at first, all of its weight after `slow_start_s`."""
        age = now - self.created_at
        self.share = self.weight if age >= slow_start_s else self.weight * max(0.1, age / slow_start_s)

    # connections

    async def connect(self, timeout_s: float) -> EngineConnection:
        """A new connection. Raises EngineError (`refused`, `unreachable`, `connect_timeout`, `tls`)."""
        loop = asyncio.get_running_loop()
        where = self.where
        try:
            async with asyncio.timeout(timeout_s):
                __, connection = await loop.create_connection(
                    cast(Any, lambda: EngineConnection(self)), where.host, where.port, ssl=where.tls
                )
        except TimeoutError as error:
            raise EngineError("connect_timeout", f"{where.text}: no connection in {timeout_s:g} s") from error
        except ConnectionRefusedError as error:
            raise EngineError("refused", f"{where.text}: connection refused") from error
        except ssl.SSLError as error:
            raise EngineError("tls", f"{where.text}: {error}") from error
        except OSError as error:
            raise EngineError("unreachable", f"{where.text}: {error.strerror or error}") from error
        return cast(EngineConnection, connection)

    # the breaker

    def succeeded(self) -> bool:
        """An answer came. True when this closed the breaker."""
        self.failures = 0
        if self.health is Health.CLOSED:
            return False
        self.health = Health.CLOSED
        self.cooldown_s = 0.0
        return True

    def failed(self, now: float, threshold: int, cooldown_s: float) -> bool:
        """No good answer came. True when this opened the breaker."""
        self.failures += 1
        if self.health is Health.OPEN:
            return False
        if self.health is Health.CLOSED and self.failures < threshold:
            return False
        self.health = Health.OPEN
        self.cooldown_s = min(MAX_COOLDOWN_S, self.cooldown_s * 2 or cooldown_s)
        self.open_until = now + self.cooldown_s
        self.kind_asked = False  # who comes back may be another
        return True

    def half_open(self, now: float) -> bool:
        """Let one trial request through once the cooldown is over. True when this changed something."""
        if self.health is not Health.OPEN or now < self.open_until:
            return False
        self.health = Health.TRIAL
        return True

    def has_room(self, ceiling: int) -> bool:
        """Whether one more request may go there. `ceiling` 0: none."""
        if self.health is not Health.CLOSED:
            return self.health is Health.TRIAL and self.in_flight == 0
        return ceiling == 0 or self.in_flight < ceiling


def state_of(engine: Engine) -> str:
    """One word: ready, ejected (its breaker is open), drained (by an operator), or not_ready (says discovery)."""
    if engine.drained:
        return "drained"
    if not engine.serving:
        return "not_ready"
    return "ejected" if engine.health is Health.OPEN else "ready"
