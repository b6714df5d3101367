# SPDX-License-Identifier: Apache-2.0
"""An engine's bytes on their way through a whole exchange: the client gets HTTP, and a whole reply only if the engine gave one."""

from __future__ import annotations

import json
from collections.abc import Callable

import httptools
from gateway_support.chat import stream, whole

from fuzz.clients import EVENTS, post
from fuzz.memory import Answered, House, Transport
from fuzz.replies import JSON, NEXT, OK
from fuzz.replies import SEEDS as REPLIES
from fuzz.replies import STREAM as STREAM_HEAD
from fuzz.replies import WORDS as REPLY_WORDS
from fuzz.streams import SEEDS as TEXTS
from fuzz.streams import WORDS as TEXT_WORDS
from fuzz.target import Target, parts, seed
from llm_gateway.data_path.usage import hidden

CHAT = {"model": "tiny", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
PLAIN = {"model": "tiny", "prompt": "x", "stop": ["a", "bc"]}
REQUESTS: tuple[tuple[bytes, dict[str, object]], ...] = (
    (b"/v1/completions", PLAIN),
    (b"/v1/completions", PLAIN | {"stream": True}),
    (b"/v1/chat/completions", CHAT | {"stream": True}),
    (b"/v1/messages", CHAT),
    (b"/v1/messages", CHAT | {"stream": True}),
    (b"/v1/responses", {"model": "tiny", "input": "x", "stream": True}),
    (b"/generate_stream", {"inputs": "x"}),
    (b"/tokenize", {"model": "tiny", "prompt": "x"}),
)
KINDS = ("", "tgi", "llamacpp")
# Most seeds are texts in a frame; fuzzing finds out what else a frame can be.
SEEDS = (
    *(
        seed(OK + b"content-length: %d\r\n\r\n" % len(text) + text, number, b"\x80\x80\x80")
        for number, text in enumerate((JSON[-2:], *(text[4:] for text in TEXTS), whole({"content": "x"})))
    ),
    *(
        seed(STREAM_HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text), number)
        for number, text in enumerate((*EVENTS, stream({"content": "x"}), *(text[4:] for text in TEXTS[:2])), 1)
    ),
    *(given for given in REPLIES if NEXT not in given),
    seed(STREAM_HEAD + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS), 2 + 128),
    seed(STREAM_HEAD + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS) + b"0\r\n\r\n", 1),
)


class _Reply:
    """llhttp's callbacks: the first final reply."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.status = 0
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200 and not self.status:
            self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self.body += body

    def on_message_complete(self) -> None:
        self.complete = self.status > 0


def make() -> Callable[[bytes], None]:
    """See Target."""
    reply: list[bytes] = []

    def answer(transport: Transport, _path: bytes, _body: bytes) -> None:
        for piece in reply:
            house.loop.call_soon(transport.receive, piece)
        house.loop.call_soon(_close, transport)

    def _close(transport: Transport) -> None:
        transport.hang_up()

    houses = {
        (kind, resume): House(
            answer,
            engine=(f"http://127.0.0.1:8?kind={kind}&model=tiny", f"http://127.0.0.1:9?kind={kind}&model=tiny"),
            resume=resume,
            breaker_failures=1 << 30,
            limit_tokens_per_minute=10**15,
        )
        for kind, resume in ((KINDS[0], False), (KINDS[0], True), *((kind, False) for kind in KINDS[1:]))
    }
    ways = list(houses)

    async def serve(house: House, request: bytes) -> tuple[Answered, bool]:
        transport, connection = await house.send([request], turns=0)
        answered = Answered(transport.written)
        aborted = transport.closing
        await house.leave(transport, connection)
        for dispatcher in house.gateway.fleet.dispatchers.values():
            dispatcher.retry_tokens = 100.0
        house.gateway.recorder.flush()
        return answered, aborted

    house: House

    def check(data: bytes) -> None:
        nonlocal house
        choice, payload, pieces = parts(data)
        kind, resume = way = ways[(choice >> 3) % len(ways)]
        path, asked = REQUESTS[choice % len(REQUESTS)]
        house = houses[way]
        reply[:] = pieces
        answered, closed = house.run(serve(house, post(json.dumps(asked).encode(), path)))
        assert len(answered.statuses) == 1, "not one reply"
        (status,) = answered.statuses
        assert status in (200, 400, 404, 413, 429, 501, 502, 503), status
        if not answered.complete:
            assert status == 200 and closed, "a reply that is not whole looks as if it might go on"
            return
        if status != 200:
            json.loads(answered.bodies[0])
        elif kind == "" and not resume and path in (b"/v1/completions", b"/v1/chat/completions", b"/tokenize"):
            given = _Reply(payload)
            assert 200 <= given.status < 300, given.status
            # Of a stream, without the usage that the gateway asked for.
            said = (given.body, hidden(given.body)) if asked.get("stream") else (given.body,)
            assert answered.bodies[0] in said, "the client gets something else than the engine said"

    return check


RELAY = Target(make, SEEDS, tuple(dict.fromkeys((*REPLY_WORDS, *TEXT_WORDS))))
