# SPDX-License-Identifier: Apache-2.0
"""What is asked: read once of the client's request, and told to engines in OpenAI's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Raw

from llm_gateway.engines.routing import ENDS, Prefix
from llm_gateway.errors import printable
from llm_gateway.protocols import Translation, multipart, openai, tables

if TYPE_CHECKING:
    from llm_gateway.callers.caller import Caller
    from llm_gateway.data_path.services import Services
    from llm_gateway.http.head import Head
    from llm_gateway.http.origin import Origin
    from llm_gateway.protocols.asked import Asked
    from llm_gateway.telemetry.span import Span

# A policy looks at this much of a prompt at most.
PREFIX_BYTES: Final = ENDS[-1]
BYTES_PER_TOKEN: Final = 4


class Question:
    """One request, and what policies and queues look at of it."""

    # What a request begins with; an instance holds what has become of it. (Assigning all of it would cost every request some microseconds.)
    model = ""  # the model that serves it
    asked_model = ""  # the name that the client used
    stream = False
    rank = 1
    cost = 0.0
    prompt_tokens = 0  # estimated
    span: Span | None = None
    translation: Translation | None = None
    asked: Asked
    content: Raw  # the prompt as the client wrote it
    form = b""  # the Content-Type of a form, with its boundary
    engine_body = b""  # in OpenAI's words, with the model's real name

    def __init__(self, services: Services, head: Head, body: bytes, caller: Caller, origin: Origin) -> None:
        self.services = services
        self.head = head
        self.body = body
        self.caller = caller
        self.origin = origin
        self.path = head.path
        self.request_id = head.request_id or services.ids.new()

    # --- see routing.Request and fair_queue.Entry

    @property
    def prefix(self) -> Prefix:
        """The prompt's beginning."""
        content = self.content
        return content if len(content) <= PREFIX_BYTES else memoryview(content)[:PREFIX_BYTES]

    @property
    def session(self) -> bytes | None:
        """The session's name."""
        return self.head.session or self.asked.user_bytes()

    @property
    def tenant(self) -> str:
        """Who shares a fair share."""
        return self.caller.tenant

    @property
    def weight(self) -> float:
        """How large that share is."""
        return self.caller.key.weight

    # --- reading

    def open(self) -> bytes:
        """Say the client's words in OpenAI's; returns the body in them. Raises ApiError."""
        opener = tables.CLIENTS.get(self.path)
        if opener is None:
            return self.body
        self.translation = translation = opener(self.path, self.body)
        if translation is None:
            return self.body
        self.path = translation.path
        return translation.body

    def reply_lines(self) -> bytes:
        """Header lines of every reply: the request's id by the client's name for it, and what of the request no engine can do."""
        translation = self.translation
        lines = b""
        if translation is not None and translation.left_out:
            said = ", ".join(dict.fromkeys(printable(name) for name in translation.left_out))
            lines = b"x-llm-gateway-left-out: %b\r\n" % said.encode("ascii", "replace")
        if translation is not None and translation.request_id_header:
            lines += b"%b: %b\r\n" % (translation.request_id_header, self.request_id)
        return lines

    def read(self, body: bytes) -> None:
        """Read what the gateway must know. Raises ApiError."""
        if self.head.form and self.path in tables.FORMS:
            self.form = self.head.form
            self.asked = asked = multipart.read(self.form, body)
        else:
            self.asked = asked = openai.read(body)
        self.stream = asked.stream is True
        self.asked_model = asked.model or self._unnamed_model()

    def _unnamed_model(self) -> str:
        """The model of a body that names none: the one in the path, or the default. Raises ApiError 400."""
        return self.head.named_model.decode("utf-8", "replace") or self.services.fleet.default_model()

    def mean(self, model: str, body: bytes) -> None:
        """The request is for this model. Raises ApiError."""
        self.model = model
        asked = self.asked
        self.engine_body = body if model == asked.model else self.with_model(body, model)
        self.content = content = openai.content(asked)
        # A file's size says nothing of tokens.
        self.prompt_tokens = 1 if self.form else (len(content) or len(body)) // BYTES_PER_TOKEN + 1
        self.cost = float(self.prompt_tokens)

    def with_model(self, body: bytes, model: str) -> bytes:
        """The body, asking for this model. Raises ApiError."""
        return multipart.with_model(self.form, body, model) if self.form else openai.with_model(body, model)

    def traceparent(self) -> bytes | None:
        """The trace that engines are told of."""
        return self.head.traceparent if self.span is None else self.span.header()
