# SPDX-License-Identifier: Apache-2.0
"""What the client of an exchange gets: one whole reply, or a stream of events. All bytes towards a client are made here."""

from __future__ import annotations

from typing import Any, Final, Protocol

from llm_gateway.errors import ApiError, reason_phrase
from llm_gateway.http.outbox import Outbox
from llm_gateway.protocols import Translation, tables

EVENT_STREAM: Final = b"text/event-stream"
_JSON_LINE: Final = b"content-type: application/json\r\n"


class Client(Protocol):
    """The client's side of an exchange."""

    transport: Any
    http11: bool
    keep_alive: bool
    writing_paused: bool

    def exchange_over(self) -> None:
        """The reply is out."""

    def abort(self) -> None:
        """Break the connection: the only honest end of a reply that cannot be finished."""


class Reply:
    """The reply of one exchange. `translation` words it for clients that do not speak OpenAI's API; `limit_lines` are rate-limit
    headers, `engine_lines` say which engine answered and what it said in its head, `more_lines` are other header lines of any reply."""

    __slots__ = (
        "_outbox",
        "_transport",
        "chunked",
        "client",
        "engine_lines",
        "events",
        "head_sent",
        "limit_lines",
        "more_lines",
        "request_id",
        "translation",
    )

    def __init__(self, client: Client, outbox: Outbox, request_id: bytes) -> None:
        self.client = client
        self._transport = client.transport
        self._outbox = outbox
        self.request_id = request_id
        self.translation: Translation | None = None
        self.limit_lines = b""
        self.more_lines = b""
        self.engine_lines = b""
        self.head_sent = False
        self.chunked = False
        self.events = False  # it is a stream of events

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self._outbox.put(self._transport, data)

    # --- a whole reply

    def whole(self, body: bytes, content_type: bytes = b"application/json") -> None:
        """A good answer."""
        if self.head_sent:
            # Comments have made it a stream already.
            if self.translation is None:
                body = b"data: %b\n\ndata: [DONE]\n\n" % body.strip()
            self.event(body, last=True)
            return
        self.write(
            b"".join(
                (
                    b"HTTP/1.1 200 OK\r\ncontent-type: ",
                    content_type,
                    b"\r\n",
                    self.limit_lines,
                    self.engine_lines,
                    self.more_lines,
                    b"" if self.client.keep_alive else b"connection: close\r\n",
                    b"x-request-id: ",
                    self.request_id,
                    b"\r\ncontent-length: %d\r\n\r\n" % len(body),
                    body,
                )
            )
        )

    def refuse(self, error: ApiError, path: bytes) -> None:
        """An error: as a reply, or as a stream's last event. `path` is the client's."""
        if self.head_sent:
            self.event(self._error_event(error, done=True), last=True)
            return
        translation = self.translation
        body = tables.error_body(path, error) if translation is None else translation.error(error)
        self.write(
            b"HTTP/1.1 %d %b\r\n%b%b%b%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (
                error.status,
                reason_phrase(error.status).encode(),
                _JSON_LINE,
                error.header_lines(),
                b"" if error.headers else self.limit_lines,
                self.engine_lines,
                self.more_lines,
                b"" if self.client.keep_alive else b"connection: close\r\n",
                self.request_id,
                len(body),
                body,
            )
        )

    # --- a stream

    def begin(self, content_type: bytes) -> bytes:
        """The head of a stream, to be written before all else. `content_type` is the engine's; a translation has its own."""
        client = self.client
        self.head_sent = True
        self.events = content_type.startswith(EVENT_STREAM)
        if client.http11:
            self.chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            client.keep_alive = False
            framing = b""
        return (
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-store\r\nx-accel-buffering: no\r\nx-request-id: %b\r\n%b%b%b%b%b\r\n"
            % (
                content_type if self.translation is None else self.translation.content_type,
                self.request_id,
                self.limit_lines,
                self.engine_lines,
                self.more_lines,
                framing,
                b"" if client.keep_alive else b"connection: close\r\n",
            )
        )

    def piece(self, data: bytes, head: bytes = b"") -> None:
        """The next bytes of the stream, with its `head` where it has not been written yet."""
        if not data:
            if head:
                self.write(head)
        elif self.chunked:
            self.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        else:
            self.write(head + data)

    def event(self, event: bytes, *, last: bool = False) -> None:
        """One of our own events; `last`: the stream ends with it."""
        end = b"0\r\n\r\n" if last else b""
        if self.chunked:
            self.write(b"%x\r\n%b\r\n%b" % (len(event), event, end) if event else end)
        else:
            self.write(event)

    def end(self, rest: bytes) -> None:
        """The stream is whole with these bytes."""
        if self.chunked:
            self.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest) if rest else b"0\r\n\r\n")
        elif rest:
            self.write(rest)

    def broken(self, *, mid_event: bool) -> None:
        """The stream cannot be finished: say so in it. The connection must break after it.

        `mid_event`: the client has a part of an event, which is ended first, so that ours is read by itself."""
        error = ApiError(502, "The engine's stream broke off.", code="engine_error", error_type="server_error")
        event = self._error_event(error, done=False)
        self.event(b"\n\n" + event if mid_event else event)

    def comment(self) -> bool:
        """A comment, so that the client and what stands before it see that we live. False where the protocol has none."""
        translation = self.translation
        comment = b": keep-alive\n\n" if translation is None else translation.comment
        if not comment:
            return False
        if not self.head_sent:
            self.write(self.begin(b"text/event-stream; charset=utf-8"))
        self.event(comment)
        return True

    def knock(self, *, comment: bool) -> bool:
        """Send something that changes nothing: an interim reply (RFC 9110 section 15.2; of them, all clients know 100), or a `comment`, where one
        may stand. False for HTTP/1.0, which has neither, before its reply has begun."""
        if not self.head_sent and self.client.http11:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return True
        if comment:
            self.comment()
        return self.head_sent

    def _error_event(self, error: ApiError, *, done: bool) -> bytes:
        if self.translation is not None:
            return self.translation.error_event(error)
        return b"data: %b\n\n%b" % (error.body(), b"data: [DONE]\n\n" if done else b"")
