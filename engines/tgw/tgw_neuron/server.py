# SPDX-License-Identifier: Apache-2.0
"""What stands before upstream's HTTP application: probes, metrics, admission, and errors that upstream would hide.

An ASGI middleware: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .admission import GoneError
from .engine import Engine
from .errors import BodyTooLargeError, ForbiddenError, GenerationError, OverlayError, UnsupportedError
from .sampling import needs_scores, not_supported
from .ticket import Ticket, current_ticket

log = logging.getLogger(__package__)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]

GENERATION_ROUTES = ("/v1/completions", "/v1/chat/completions", "/v1/messages")
# They change or stop what everybody is served with.
ADMIN_ROUTES = (
    "/v1/internal/model/load",
    "/v1/internal/model/unload",
    "/v1/internal/lora/",
    "/v1/internal/stop-generation",
)
# They run the model without the queue, and want scores of all tokens.
SCORES_ROUTES = ("/v1/internal/logits",)
_RETRY_AFTER_S = 1


class Front:
    """`app` is upstream's."""

    def __init__(self, app: App, engine: Engine) -> None:
        self.app, self.engine = app, engine

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if path in ("/healthz", "/readyz", "/metrics") and method in ("GET", "HEAD"):
            await self._own(path, send)
        elif refused := self._refused(path):
            await _send_error(send, refused)
        elif method == "POST" and path in GENERATION_ROUTES and self._has_key(scope):
            await self._generate(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _own(self, path: str, send: Send) -> None:
        if path == "/metrics":
            await _send_body(send, 200, self.engine.metrics.text().encode(), "text/plain; version=0.0.4; charset=utf-8")
            return
        why = self.engine.unhealthy() if path == "/healthz" else self.engine.not_ready()
        await _send_json(send, 503 if why else 200, {"status": why or "ok"})

    def _refused(self, path: str) -> OverlayError | None:
        if path.startswith(ADMIN_ROUTES) and not self.engine.settings.allow_admin:
            return ForbiddenError(f"{path} changes the engine for everybody; TEXTGEN_ALLOW_ADMIN=true opens it")
        if path in SCORES_ROUTES and self.engine.neuron:
            return UnsupportedError(f"{path}: a Neuron model gives no scores")
        return None

    def _has_key(self, scope: Mapping[str, Any]) -> bool:
        """Whether upstream will let the request in. One that it will refuse takes no place in the queue."""
        key = self.engine.settings.api_key
        if not key:
            return True
        given = {name: value for name, value in scope["headers"] if name in (b"authorization", b"x-api-key")}
        return any(
            hmac.compare_digest(given.get(name, b""), wanted.encode())
            for name, wanted in ((b"authorization", f"Bearer {key}"), (b"x-api-key", key))
        )

    async def _generate(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        ticket = Ticket(route=scope["path"])
        answer = _Answer(send, ticket)
        try:
            body = await _read(receive, self.engine.settings.body_max_bytes)
            self._look_at(body, ticket)
            client = _Client(body, receive, ticket)
            try:
                await self._admitted(scope, client, answer, ticket)
            finally:
                client.close()
        except GoneError:
            self.engine.metrics.disconnects.add()
        except OverlayError as refusal:
            await answer.fail(refusal)
        finally:
            self._count(answer, ticket)

    def _look_at(self, body: bytes, ticket: Ticket) -> None:
        """Refuse what the model cannot do. A body that upstream cannot read is left to it: it has the words for that."""
        try:
            asked = json.loads(body)
        except ValueError:
            return
        if not isinstance(asked, dict):
            return
        ticket.stream = bool(asked.get("stream"))
        model = self.engine.neuron
        if model is None:
            return
        missing = list(not_supported(asked, host_scores=model.backend.host_scores))
        refused = missing if self.engine.settings.unsupported == "reject" else needs_scores(missing)
        if refused:
            raise UnsupportedError(
                f"this model runs on Neuron by {model.backend.name}, which has no {', '.join(refused)}"
            )

    async def _admitted(self, scope: Mapping[str, Any], client: _Client, answer: _Answer, ticket: Ticket) -> None:
        queued_at = time.monotonic()
        await self.engine.admission.enter(client.gone)
        self.engine.metrics.queue_wait.observe(time.monotonic() - queued_at)
        token = current_ticket.set(ticket)
        timer = asyncio.get_running_loop().call_later(self.engine.settings.request_timeout_s, self._too_long, ticket)
        try:
            await self.app(scope, client.receive, answer.send)
        except Exception as problem:  # the rim of a request
            # With a failure in the ticket, what comes up here is that failure in upstream's wrapping.
            if ticket.failure is None and not ticket.cancelled:
                log.exception("%s failed", ticket.route)
                ticket.failure = GenerationError(f"the engine failed: {type(problem).__name__}")
        finally:
            timer.cancel()
            current_ticket.reset(token)
            self.engine.admission.leave()
            if client.gone.is_set():
                self.engine.metrics.disconnects.add()
        await answer.finish()

    def _too_long(self, ticket: Ticket) -> None:
        limit = self.engine.settings.request_timeout_s
        ticket.failure = GenerationError(f"the answer took longer than {limit:g} s")
        ticket.cancelled = True

    def _count(self, answer: _Answer, ticket: Ticket) -> None:
        metrics = self.engine.metrics
        stream = "true" if ticket.stream else "false"
        metrics.requests.add(route=ticket.route, code=str(answer.status or 499), stream=stream)
        metrics.duration.observe(time.monotonic() - ticket.started)
        if ticket.failure is not None:
            metrics.errors.add(kind=getattr(ticket.failure, "kind", "server_error"))


class _Client:
    """The rest of the connection: upstream gets the body that was read, and hears when the client leaves."""

    def __init__(self, body: bytes, receive: Receive, ticket: Ticket) -> None:
        self.gone = asyncio.Event()
        self._body: bytes | None = body
        self._ticket = ticket
        self._watch = asyncio.ensure_future(self._until_gone(receive))

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def close(self) -> None:
        self._watch.cancel()

    async def _until_gone(self, receive: Receive) -> None:
        with contextlib.suppress(OSError):  # some servers raise what the socket says
            while (await receive())["type"] != "http.disconnect":
                pass
        # Seen by the model between two tokens, on tags too that look for it only at the end.
        self._ticket.cancelled = True
        self.gone.set()


class _Answer:
    """Upstream's answer on its way out. A whole one is held back until it is known to be one."""

    def __init__(self, send: Send, ticket: Ticket) -> None:
        self._send, self._ticket = send, ticket
        self._held: list[Message] = []
        self._begun = self._ended = self._done_seen = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._is_stream(message):
            self._begun = True
            self.status = message["status"]
            await self._send(message)
        elif not self._begun:
            self._held.append(message)
        else:
            await self._send_piece(message)

    async def finish(self) -> None:
        """Upstream is done, or has failed: say what is still to be said."""
        failure = self._ticket.failure
        if self._begun:
            await self._end_stream(failure)
        elif failure is not None:
            await self.fail(failure)
        else:
            for message in self._held:
                self.status = message.get("status", self.status)
                await self._send(message)

    async def fail(self, failure: BaseException) -> None:
        self.status = getattr(failure, "status", 500)
        await _send_error(self._send, failure)

    def _is_stream(self, message: Message) -> bool:
        return any(
            name.lower() == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in message.get("headers", ())
        )

    async def _send_piece(self, message: Message) -> None:
        body = message.get("body", b"")
        self._done_seen = self._done_seen or b"[DONE]" in body
        if message.get("more_body"):
            await self._send(message)
        elif body:
            await self._send({**message, "more_body": True})

    async def _end_stream(self, failure: BaseException | None) -> None:
        if self._ended:
            return
        self._ended = True
        last = b""
        if failure is not None:
            last = b"data: " + json.dumps(_error_body(failure)).encode() + b"\n\n"
        elif not self._done_seen and not self._ticket.cancelled and self._ticket.route != "/v1/messages":
            last = b"data: [DONE]\n\n"  # tags before v4.1 leave it out
        await self._send({"type": "http.response.body", "body": last, "more_body": False})


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLargeError(f"the request is larger than {limit} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _error_body(failure: BaseException) -> dict[str, Any]:
    kind = getattr(failure, "kind", "server_error")
    return {"error": {"message": str(failure), "type": kind, "param": None, "code": None}}


async def _send_error(send: Send, failure: BaseException) -> None:
    status = getattr(failure, "status", 500)
    retry = [(b"retry-after", str(_RETRY_AFTER_S).encode())] if status in (429, 503) else []
    await _send_json(send, status, _error_body(failure), retry)


async def _send_json(send: Send, status: int, content: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await _send_body(send, status, json.dumps(content).encode(), "application/json", headers)


async def _send_body(
    send: Send, status: int, body: bytes, kind: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    more = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": more})
    await send({"type": "http.response.body", "body": body, "more_body": False})
