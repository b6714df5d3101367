# SPDX-License-Identifier: Apache-2.0
"""What clients may say, and how it becomes what engines understand.

The data path's own language is OpenAI's: the paths in `tables.NATIVE` go to the engine as they came. Any other language is a
`Translation`, made anew for every request by an `Opener`, in one of two places:

- `tables.CLIENTS[path]` reads a client's request and says it in OpenAI's words (Anthropic's `/v1/messages`, TGI's `/generate` …);
- `tables.ENGINES[kind]` reads a request in OpenAI's words and says it in those of an engine that does not speak them (TGI).

`tables.ERRORS[path]` words errors for which there is no translation yet. Both kinds may be at work in one exchange: client → CLIENTS → OpenAI → ENGINES → engine, and all the way back. Translations are pure: bytes in,
bytes out, no I/O, no clock, no globals, so they are tested and fuzzed directly. What they are given comes from strangers: they raise
`ApiError` for a request, `UntranslatableReply` for an engine's reply, and nothing else. Keys, limits, choice, failover, usage and metrics
see only the OpenAI form and need not know that there is a translation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from llm_gateway.errors import ApiError


class UntranslatableReply(ValueError):
    """An engine's reply that makes no sense: the engine is taken as failed, and another one is asked if that is still possible."""


class Translation(Protocol):
    """One request, said in other words, and its reply, said back. Holds whatever the reply needs to know of the request.

    `path` and `body` are the request as the other side hears it. The body is a JSON object; a client's translation names its `model` as
    the client did, or "" where its language has no models (the gateway then puts in its default one). `stream` in it tells whether the
    reply comes as server-sent events. `content_type` is that of a streamed reply, `comment` what may stand between its events to keep
    a connection alive (empty: nothing may).
    """

    path: bytes
    body: bytes
    content_type: bytes
    comment: bytes

    def whole(self, body: bytes) -> bytes:
        """The whole reply (status 200, JSON), said back. Raises UntranslatableReply."""

    def piece(self, data: bytes) -> bytes:
        """The next bytes of a streamed reply, cut anywhere, said back as far as events are complete; often empty. Raises UntranslatableReply."""

    def end(self) -> bytes:
        """The streamed reply has ended: what is still to be said. Called once, also when `piece` was never called."""

    def error(self, error: ApiError) -> bytes:
        """The body of an error reply; its status and headers are the error's own."""

    def error_event(self, error: ApiError) -> bytes:
        """An error within a stream whose head is out already, and the stream's end."""


# (path, body) of the request to read. An engine's opener answers None for a path that the engine understands as it is. Raises ApiError.
Opener = Callable[[bytes, bytes], Translation | None]
