# SPDX-License-Identifier: Apache-2.0
"""What clients may say, and how it becomes what engines understand.

The data path's own language is OpenAI's: the paths in `tables.NATIVE` go to the engine as they came. Any other language is a
`Translation`, made anew for every request by an `Opener`, in one of two places:

- `tables.CLIENTS[path]` reads a client's request and says it in OpenAI's words (Anthropic's `/v1/messages`, TGI's `/generate` …);
- `tables.ENGINES[kind]` reads a request in OpenAI's words and says it in those of an engine that does not speak them (TGI).

`tables.ERRORS[path]` words errors for which there is no translation yet. Both kinds may be at work in one exchange:
client → CLIENTS → OpenAI → ENGINES → engine, and all the way back. Translations are pure: bytes in, bytes out, no I/O, no
clock, no globals, so they are tested and fuzzed directly. What they are given comes from strangers: they raise `ApiError`
for a request that cannot be done and for an error that an engine reports within its reply, `UntranslatableReply` for a reply
that makes no sense, and nothing else. Keys, limits, choice, failover, usage and metrics see only the OpenAI form and need not know that there is a translation.

Nothing that a client says is dropped in silence: a field is said in other words, passed on as it came, done here, or refused by name
(`fields.py`, which docs and tests read too).
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

    request_id_header: bytes
    """The name under which the client looks for the request's id, besides x-request-id; or nothing."""
    left_out: tuple[str, ...]
    """What the request named and no engine can do, though the rest of it can be answered; told to the client in a header."""

    def whole(self, body: bytes) -> bytes:
        """The whole reply (status 200, JSON), said back. Raises UntranslatableReply; ApiError for an error that came as a reply."""

    def piece(self, data: bytes) -> bytes:
        """The next bytes of a streamed reply, cut anywhere, said back as far as events are complete; often empty. Raises as `whole`."""

    def end(self) -> bytes:
        """The streamed reply has ended: what is still to be said. Called once, also when `piece` was never called. Raises as `whole`."""

    def again(self, status: int, body: bytes) -> bytes | None:
        """An engine refused the request: the request in words that it may take, or None. Called until it says None, at most a few times."""

    def instead(self, status: int) -> bytes | None:
        """An engine refused the request: the whole reply as it can be given without an engine, or None."""

    def error(self, error: ApiError) -> bytes:
        """The body of an error reply; its status and headers are the error's own."""

    def error_event(self, error: ApiError) -> bytes:
        """An error within a stream whose head is out already, and the stream's end."""


class Plain:
    """A translation without second thoughts."""

    __slots__ = ()
    request_id_header = b""
    left_out: tuple[str, ...] = ()

    def again(self, status: int, body: bytes) -> bytes | None:
        """See Translation."""
        return None

    def instead(self, status: int) -> bytes | None:
        """See Translation."""
        return None


# (path, body) of the request to read. An engine's opener answers None for a path that the engine understands as it is. Raises ApiError.
Opener = Callable[[bytes, bytes], Translation | None]
