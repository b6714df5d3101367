# SPDX-License-Identifier: Apache-2.0
"""`/tokenize` and `/detokenize`, in vLLM's words, for engines that say them otherwise: llama.cpp and text-generation-webui."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from llm_gateway.errors import ApiError, malformed
from llm_gateway.protocols import Plain, Translation, UntranslatableReply, reading
from llm_gateway.protocols.reading import encode, flat_text
from llm_gateway.protocols.tgi import Tokenize


@dataclass(frozen=True)
class Dialect:
    """How one engine calls things."""

    tokenize: bytes
    detokenize: bytes
    text: str  # the text, in the request for tokens
    answer: str  # the text, in the answer to tokens
    special: str = ""  # whether special tokens are wanted


LLAMACPP = Dialect(b"/tokenize", b"/detokenize", "content", "content", "add_special")
TGW = Dialect(b"/v1/internal/encode", b"/v1/internal/decode", "text", "text")


class Detokenize(msgspec.Struct):
    """A body of `/detokenize`."""

    tokens: list[int]


_TOKENIZE = msgspec.json.Decoder(Tokenize)
_DETOKENIZE = msgspec.json.Decoder(Detokenize)
_REPLY: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class _Whole(Plain):
    """What is no stream, in OpenAI's words on the client's side."""

    __slots__ = ("_dialect", "body", "path")

    content_type = b"application/json"
    comment = b""

    def __init__(self, dialect: Dialect, path: bytes, said: dict[str, Any]) -> None:
        self._dialect = dialect
        self.path = path
        self.body = encode(said)

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        raise UntranslatableReply("tokens are no stream")

    def end(self) -> bytes:
        """See Translation."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """See Translation."""
        return error.body()

    def error_event(self, error: ApiError) -> bytes:
        """See Translation."""
        return b"data: %b\n\n" % error.body()


class EngineTokenize(_Whole):
    """Text to tokens."""

    __slots__ = ()

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        tokens = reading.reply(body, _REPLY).get("tokens")
        if not isinstance(tokens, list):
            raise UntranslatableReply("the engine's reply has no tokens")
        return encode({"count": len(tokens), "tokens": tokens})


class EngineDetokenize(_Whole):
    """Tokens to text."""

    __slots__ = ()

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        text = reading.reply(body, _REPLY).get(self._dialect.answer)
        if not isinstance(text, str):
            raise UntranslatableReply("the engine's reply has no text")
        return encode({"prompt": text})


def _open(dialect: Dialect, path: bytes, body: bytes) -> Translation | None:
    if path == b"/tokenize":
        asked = reading.request(body, _TOKENIZE)
        if asked.prompt is None and not asked.messages:
            raise malformed("Give a prompt or messages.", param="prompt")
        text = asked.prompt if asked.prompt is not None else flat_text(asked.messages or [])
        special = {dialect.special: asked.add_special_tokens is not False} if dialect.special else {}
        return EngineTokenize(dialect, dialect.tokenize, {dialect.text: text} | special)
    if path == b"/detokenize":
        tokens = reading.request(body, _DETOKENIZE).tokens
        return EngineDetokenize(dialect, dialect.detokenize, {"tokens": tokens})
    return None


def open_llamacpp(path: bytes, body: bytes) -> Translation | None:
    """See protocols.Opener."""
    return _open(LLAMACPP, path, body)


def open_tgw(path: bytes, body: bytes) -> Translation | None:
    """See protocols.Opener."""
    return _open(TGW, path, body)
