# SPDX-License-Identifier: Apache-2.0
"""One engine, asked once: a connection, the request, the reply as it comes, and its end, whichever that is.

An attempt never awaits on the hot path: the engine's connection drives it by callbacks. It knows nothing of other engines; what its end means
is the asker's to say.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from llm_gateway.data_path.approach import Approach
from llm_gateway.data_path.deadlines import Phase
from llm_gateway.data_path.relay import Relay
from llm_gateway.data_path.reply import EVENT_STREAM, Reply
from llm_gateway.data_path.usage import asking
from llm_gateway.engines.probe import answers
from llm_gateway.errors import ApiError, EngineError
from llm_gateway.protocols import Translation, UntranslatableReply, tables
from llm_gateway.telemetry.ended import Times

if TYPE_CHECKING:
    from llm_gateway.engines.connection import EngineConnection
    from llm_gateway.engines.engine import Engine

# A plain reply up to this size is sent once it is whole, so that a cut in its middle can still fail over.
BUFFERED_REPLY_BYTES: Final = 4 << 20
# What is translated must be whole; pictures and log probabilities make some megabytes.
TRANSLATED_REPLY_BYTES: Final = 64 << 20
# An engine's server answers a probe at once, however long its queue is; busy machines may take a little.
PROBE_TIMEOUT_S: Final = 5.0
# Copying a body of this size costs more than handing the kernel two pieces.
APART_BYTES: Final = 16 << 10
REFUSALS: Final = frozenset({400, 422})
# What no event stream begins with, though it says that it is one: a page or a document of a proxy. (Any other line is a field, known or not.)
_NO_EVENTS: Final = (b"<", b"{", b"[")
_NO_SENSE: Final = "the engine's stream makes no sense"

_CONNECTING: Final = Phase.CONNECTING
_WAITING: Final = Phase.WAITING
_RELAYING: Final = Phase.RELAYING


class Asker(Approach):
    """Whose request it is. `relay` outlives an attempt where another engine goes on with the stream."""

    phase: Phase
    times: Times
    reply: Reply
    attempt: Attempt | None = None
    relay: Relay | None = None

    def failed(self, error: EngineError, reply: ApiError | None = None) -> None:
        """The attempt came to nothing; `reply` is what the engine said of it."""
        raise NotImplementedError

    def refused(self, attempt: Attempt, status: int, body: bytes, retry_after: bytes) -> None:
        """The engine answered with an error."""
        raise NotImplementedError

    def erred(self, error: ApiError) -> None:
        """What began as a good reply is an error after all."""
        raise NotImplementedError

    def answered(self, body: bytes, content_type: bytes) -> None:
        """The engine's answer is whole."""
        raise NotImplementedError

    def streamed(self, relay: Relay, rest: bytes) -> None:
        """The engine's stream is whole; `rest` is what the client must still get of it."""
        raise NotImplementedError

    def timed_out(self, kind: str) -> None:
        """The engine is given up; `kind` says why."""
        raise NotImplementedError


class Attempt:
    """A connection.Receiver. `asked_usage`: the gateway asked for the tokens' count, not the client."""

    __slots__ = (
        "_connection",
        "_pieces",
        "_size",
        "_task",
        "_translation",
        "asked_usage",
        "asker",
        "content_type",
        "engine",
    )

    def __init__(self, asker: Asker, engine: Engine) -> None:
        self.asker = asker
        self.engine = engine
        self.asked_usage = False
        self.content_type = b"application/json"
        self._connection: EngineConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._translation: Translation | None = None  # into the engine's own words
        self._pieces: list[bytes] | None = None
        self._size = 0

    # --- asking

    def start(self) -> None:
        """Ask, over an idle connection if there is one."""
        connection = self.engine.take()
        if connection is None:
            self.connect()
        else:
            self._send(connection)

    def connect(self) -> None:
        """Ask (again), over a new connection."""
        self.asker.phase = _CONNECTING
        self._task = asyncio.get_running_loop().create_task(self._connect_and_send())

    async def _connect_and_send(self) -> None:
        try:
            connection = await self.engine.connect(self.asker.services.settings.connect_timeout)
        except EngineError as error:
            self._task = None
            self.asker.failed(error)
            return
        self._task = None
        self._send(connection)

    def _send(self, connection: EngineConnection) -> None:
        asker, engine = self.asker, self.engine
        path, body = asker.path, asker.engine_body
        self.asked_usage = False
        if asker.stream and engine.counts_streams:
            counted = asking(path, body)
            if counted is not None:
                self.asked_usage = True
                body = counted
        opener = tables.ENGINES.get(engine.kind)
        self._translation = None
        if opener is not None:
            try:
                self._translation = translation = opener(path, body)
            except ApiError as error:
                engine.keep(connection)
                asker.refuse(error)
                return
            if translation is not None:
                path, body = translation.path, translation.body
        if asker.relay is not None:
            asker.relay.continued(self._translation)
        asker.phase = _WAITING
        asker.reply.engine_lines = engine.name_line if asker.services.settings.engine_header else b""
        self._connection = connection
        self._pieces = None
        self._size = 0
        apart = len(body) >= APART_BYTES
        request = engine.frame(
            path, asker.request_id, asker.traceparent(), asker.origin.lines, body, apart=apart, form=asker.form
        )
        connection.send(self, request, body if apart else b"")
        asker.times.sent_at = monotonic()

    # --- the reply; see connection.Receiver

    def reply_head(self, connection: EngineConnection) -> None:
        """Status and headers are in."""
        self.content_type = connection.content_type
        if connection.lines:
            self.asker.reply.engine_lines += connection.lines

    def reply_data(self, data: bytes) -> None:
        """A piece of the body."""
        if self.asker.phase is _RELAYING:
            self._relay(data)
            return
        connection = self._connection
        if connection is None:
            return
        if self.content_type.startswith(EVENT_STREAM) and connection.status == 200:
            if data.startswith(_NO_EVENTS):
                self._garbage("the engine's stream is not an event stream")
            else:
                self._begin_relay(data)
            return
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(data)
        self._size += len(data)
        if self._size > (TRANSLATED_REPLY_BYTES if self._translated() else BUFFERED_REPLY_BYTES):
            if connection.status != 200 or self._translated():
                self._garbage("the engine's reply is endless")
                return
            pieces, self._pieces = self._pieces, None
            self._begin_relay(b"".join(pieces))

    def reply_chunks(self, chunks: bytes, body: bytes) -> None:
        """A piece of the body, and how it came: whole chunks, in nothing but their framing."""
        asker = self.asker
        relay, reply = asker.relay, asker.reply
        if relay is not None and relay.plain and reply.chunked and asker.phase is _RELAYING and relay.as_it_came(body):
            # The engine's framing is the client's.
            reply.write(chunks)
            self._heard(relay)
        else:
            self.reply_data(body)

    def whole_reply(self, connection: EngineConnection, body: bytes) -> None:
        """All of a reply at once."""
        self.reply_head(connection)
        if self.content_type.startswith(EVENT_STREAM) or (len(body) > BUFFERED_REPLY_BYTES and not self._translated()):
            self.reply_data(body)
            if self._connection is connection:
                self.reply_ended()
            return
        self._connection = None
        self.asker.times.reply_at = monotonic()
        self._size = len(body)
        self._whole(body)

    def reply_ended(self) -> None:
        """The reply is whole; the connection may serve others again."""
        connection = self._connection
        if connection is None:
            return
        asker = self.asker
        self._connection = None
        asker.times.reply_at = monotonic()
        relay = asker.relay
        if relay is None or asker.phase is not _RELAYING:
            self._gathered(connection)
            return
        try:
            rest = relay.end()
        except UntranslatableReply:
            asker.failed(EngineError("garbage", _NO_SENSE))
            return
        except ApiError as error:
            asker.erred(error)
            return
        asker.streamed(relay, rest)

    def reply_failed(self, error: EngineError) -> None:
        """The reply will never be whole."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.reused and error.kind == "reset" and not self._size:
            # The engine closed an idle connection just as it was taken: not its fault, and nothing was asked yet.
            self.engine.close_idle()
            self.connect()
            return
        self.asker.failed(error)

    def _translated(self) -> bool:
        return self.asker.translation is not None or self._translation is not None

    def _gathered(self, connection: EngineConnection) -> None:
        pieces, self._pieces = self._pieces, None
        body = b"" if pieces is None else pieces[0] if len(pieces) == 1 else b"".join(pieces)
        status = connection.status
        if 200 <= status < 300:
            self._whole(body)
            return
        if status in REFUSALS and b"stream_options" in body:
            self.engine.counts_streams = False  # it knows no usage in streams
            if self.asked_usage:
                self.connect()
                return
        self.asker.refused(self, status, body, connection.retry_after)

    def _whole(self, body: bytes) -> None:
        content_type = self.content_type
        if self._translation is not None:
            try:
                body = self._translation.whole(body)
            except UntranslatableReply:
                self.asker.failed(EngineError("garbage", _NO_SENSE))
                return
            except ApiError as error:
                self.asker.erred(error)
                return
            content_type = b""
        self.asker.answered(body, content_type)

    # --- a stream

    def _begin_relay(self, data: bytes) -> None:
        asker = self.asker
        relay = asker.relay
        if relay is None:
            relay = self._make_relay()
        else:
            asker.phase = _RELAYING  # another engine goes on with what the client has got already
        try:
            data = relay.piece(data)
        except UntranslatableReply:
            self._garbage(_NO_SENSE)
            return
        except ApiError as error:
            asker.erred(error)
            return
        asker.relay = relay
        asker.phase = _RELAYING
        times, reply = asker.times, asker.reply
        times.first_byte_at = times.last_byte_at = now = monotonic()
        self.engine.heard_at = now
        reply.piece(data, b"" if reply.head_sent else reply.begin(self.content_type))

    def _make_relay(self) -> Relay:
        asker = self.asker
        transcript = None
        if asker.stream and asker.services.settings.resume:
            from llm_gateway.data_path.resume import transcript_of

            transcript = transcript_of(asker.path, asker.engine_body)
        relay = Relay(self._translation, transcript, asker.translation, hide_usage=self.asked_usage)
        if asker.stream:
            relay.gaps = asker.services.metrics.token_gap.of(asker.model)
        return relay

    def _relay(self, data: bytes) -> None:
        asker = self.asker
        relay = asker.relay
        if relay is None:
            return
        self._heard(relay)
        try:
            data = relay.piece(data)
        except UntranslatableReply:
            self._garbage(_NO_SENSE)
            return
        except ApiError as error:
            asker.erred(error)
            return
        asker.reply.piece(data)

    def _heard(self, relay: Relay) -> None:
        now = monotonic()
        times = self.asker.times
        if relay.gaps is not None:
            relay.gaps.observe(now - times.last_byte_at)
        times.last_byte_at = now

    # --- the end

    def _garbage(self, what: str) -> None:
        self.leave()
        self.asker.failed(EngineError("garbage", what))

    def leave(self) -> None:
        """Drop the connection at once, so that the engine stops. Nothing more is told."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def pause(self) -> None:
        """The client does not keep up: let the engine wait."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The client has caught up."""
        if self._connection is not None:
            self._connection.resume()

    def probe(self, now: float) -> None:
        """It has been silent for long: ask the engine whether it is well."""
        if self._task is None:
            self.asker.times.probed_at = now
            self._task = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        """Leave an engine that is gone: it answers no probe, or has said nothing to anybody for long though it had begun several answers."""
        asker, engine = self.asker, self.engine
        since = asker.times.last_byte_at
        stall_s = asker.services.settings.stall_timeout
        gone = not await answers(engine, PROBE_TIMEOUT_S) or engine.stands_still(monotonic(), stall_s)
        self._task = None
        if gone and self._connection is not None and asker.times.last_byte_at == since:
            asker.timed_out("first_byte_timeout" if asker.phase is _WAITING else "stalled")
