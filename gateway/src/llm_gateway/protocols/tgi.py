# SPDX-License-Identifier: Apache-2.0
"""Text Generation Inference (https://huggingface.github.io/text-generation-inference/): its clients before any engine, and as an engine.

Clients: `/generate` and `/generate_stream` become completions. Token ids and log probabilities of single tokens are not known here, so
`details.tokens` stays empty and a stream's tokens have the id 0; the last event carries the text, as TGI's does.

Engines: plain completions become `/generate`, which every TGI has, on Neuron too; chats go as they are. TGI tells no prompt length in a
plain reply: `usage.prompt_tokens` is then estimated (4 bytes a token).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from llm_gateway.errors import ApiError, malformed
from llm_gateway.protocols import Translation, UntranslatableReply, reading
from llm_gateway.protocols.chat import Usage
from llm_gateway.protocols.reading import cannot, encode
from llm_gateway.protocols.sse import DONE, EventReader, event

DEFAULT_NEW_TOKENS = 100
OPENAI_DEFAULT_TOKENS = 16
BYTES_PER_TOKEN = 4


# --- clients that speak TGI


class Grammar(msgspec.Struct):
    """What the text must look like."""

    type: str
    value: Any = None


class Parameters(msgspec.Struct):
    """TGI's generation parameters, as far as engines have their like."""

    adapter_id: str | None = None
    best_of: int | None = None
    details: bool | None = None
    do_sample: bool | None = None
    frequency_penalty: float | None = None
    grammar: Grammar | None = None
    max_new_tokens: int | None = None
    repetition_penalty: float | None = None
    return_full_text: bool | None = None
    seed: int | None = None
    stop: list[str] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None


class Request(msgspec.Struct):
    """A body of `/generate`."""

    inputs: str
    parameters: Parameters | None = None


class _CompletionChoice(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    index: int = 0


class _Completion(msgspec.Struct):
    choices: list[_CompletionChoice] = []
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_REQUEST = msgspec.json.Decoder(Request)
_COMPLETION = msgspec.json.Decoder(_Completion)


def open_generate(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    return Generate(reading.request(body, _REQUEST), stream=path.endswith(b"_stream"))


def completion_request(asked: Request, *, stream: bool) -> dict[str, Any]:
    """TGI's request in OpenAI's words. Raises ApiError 400."""
    given = asked.parameters or Parameters()
    if given.best_of is not None and given.best_of > 1:
        raise cannot("parameters.best_of: only 1 is possible here.", "parameters.best_of")
    tokens = DEFAULT_NEW_TOKENS if given.max_new_tokens is None else given.max_new_tokens
    if tokens < 1:
        raise malformed("parameters.max_new_tokens: at least 1.", param="parameters.max_new_tokens")
    said: dict[str, Any] = {"model": given.adapter_id or "", "prompt": asked.inputs, "max_tokens": tokens}
    if stream:
        said["stream"] = True
        said["stream_options"] = {"include_usage": True}
    names = ("frequency_penalty", "repetition_penalty", "seed", "stop", "temperature", "top_k", "top_p", "typical_p")
    said |= {name: value for name in names if (value := getattr(given, name)) is not None}
    sampling = given.do_sample or any(name in said for name in ("temperature", "top_k", "top_p", "typical_p"))
    if not sampling:
        said["temperature"] = 0
    grammar = given.grammar
    if grammar is not None:
        if grammar.type not in ("json", "json_schema"):
            raise cannot(f"parameters.grammar: '{grammar.type}' is not possible here.", "parameters.grammar")
        schema = {"name": "grammar", "schema": grammar.value}
        said["response_format"] = {"type": "json_schema", "json_schema": schema}
    return said


def _finish(choice: _CompletionChoice, stops: list[str]) -> str:
    if choice.finish_reason == "length":
        return "length"
    return "stop_sequence" if isinstance(choice.stop_reason, str) and choice.stop_reason in stops else "eos_token"


def error_body(error: ApiError) -> bytes:
    """An error in TGI's words."""
    kind = "overloaded" if error.status in (429, 503) else "validation" if error.status < 500 else "generation"
    return encode({"error": error.message, "error_type": kind})


class Generate:
    """One request to `/generate` or `/generate_stream`."""

    __slots__ = ("_asked", "_choice", "_events", "_index", "_text", "_usage", "body")

    path = b"/v1/completions"
    content_type = b"text/event-stream"
    comment = b": keep-alive\n\n"

    def __init__(self, asked: Request, *, stream: bool) -> None:
        self._asked = asked
        self.body = encode(completion_request(asked, stream=stream))
        self._events = EventReader()
        self._text: list[str] = []
        self._choice = _CompletionChoice()
        self._usage = Usage()
        self._index = 0

    def _details(self, choice: _CompletionChoice, usage: Usage, counted: int) -> dict[str, Any]:
        parameters = self._asked.parameters or Parameters()
        return {
            "finish_reason": _finish(choice, parameters.stop or []),
            "generated_tokens": usage.completion_tokens or counted,
            "seed": parameters.seed,
            "input_length": usage.prompt_tokens,
        }

    def _full(self, text: str) -> str:
        parameters = self._asked.parameters
        return self._asked.inputs + text if parameters is not None and parameters.return_full_text else text

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = reading.reply(body, _COMPLETION)
        if not found.choices:
            raise UntranslatableReply("the engine's reply has no text")
        choice = found.choices[0]
        said: dict[str, Any] = {"generated_text": self._full(choice.text or "")}
        if self._asked.parameters is not None and self._asked.parameters.details:
            details = self._details(choice, found.usage or Usage(), 0)
            said["details"] = details | {"prefill": [], "tokens": []}
        return encode(said)

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        out = []
        for each in self._events.feed(data):
            if each.strip() == DONE:
                continue
            chunk = reading.reply(each, _COMPLETION)
            if len(chunk.error) and bytes(chunk.error) != b"null":
                raise UntranslatableReply("the engine reports an error in its stream")
            if chunk.usage is not None:
                self._usage = chunk.usage
            for choice in chunk.choices:
                if choice.index != 0:
                    continue
                if choice.finish_reason:
                    self._choice = choice
                if choice.text:
                    self._text.append(choice.text)
                    out.append(self._event(choice.text, special=False))
        return b"".join(out)

    def _event(self, text: str, *, special: bool, last: dict[str, Any] | None = None) -> bytes:
        self._index += 1
        token = {"id": 0, "text": text, "logprob": 0.0, "special": special}
        said = {"index": self._index, "token": token, "generated_text": None, "details": None} | (last or {})
        return b"data:%b\n\n" % encode(said)

    def end(self) -> bytes:
        """See Translation."""
        details = self._details(self._choice, self._usage, self._index)
        last = {"generated_text": self._full("".join(self._text)), "details": details}
        return self._event("", special=True, last=last)

    def error(self, error: ApiError) -> bytes:
        """See Translation."""
        return error_body(error)

    def error_event(self, error: ApiError) -> bytes:
        """See Translation."""
        return b"data:%b\n\n" % self.error(error)


# --- TGI as an engine


class Completion(msgspec.Struct):
    """A body of `/v1/completions`, as far as `/generate` can do it."""

    model: str = ""
    prompt: Any = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    suffix: str | None = None
    response_format: Any = None


class Tokenize(msgspec.Struct):
    """A body of `/tokenize`: a prompt or a conversation."""

    model: str = ""
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[Any] | None = None
    add_special_tokens: bool | None = None


class _Token(msgspec.Struct):
    id: int = 0
    text: str = ""
    special: bool = False


class _Details(msgspec.Struct):
    finish_reason: str = ""
    generated_tokens: int = 0
    input_length: int | None = None
    prefill: list[Any] | None = None


class _Generated(msgspec.Struct):
    generated_text: str | None = None
    details: _Details | None = None
    token: _Token | None = None
    error: str | None = None


class _ChatTokens(msgspec.Struct):
    tokenize_response: list[_Token]


_WANTED = msgspec.json.Decoder(Completion)
_TOKENIZE = msgspec.json.Decoder(Tokenize)
_GENERATED = msgspec.json.Decoder(_Generated)
_TOKENS: msgspec.json.Decoder[list[_Token] | _ChatTokens] = msgspec.json.Decoder(list[_Token] | _ChatTokens)
_REASONS = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}


def open_engine(path: bytes, body: bytes) -> Translation | None:
    """See protocols.Opener."""
    if path == b"/v1/completions":
        asked = reading.request(body, _WANTED)
        several = (asked.n or 1) > 1 or (asked.best_of or 1) > 1
        special = asked.echo or asked.logprobs is not None or asked.suffix or asked.response_format is not None
        if isinstance(asked.prompt, str) and not several and not special:
            return EngineCompletion(asked, asked.prompt, sha256(body).hexdigest()[:24])
    elif path == b"/tokenize":
        return EngineTokenize(reading.request(body, _TOKENIZE))
    return None


def generate_request(asked: Completion, prompt: str) -> dict[str, Any]:
    """OpenAI's completion request in TGI's words."""
    parameters: dict[str, Any] = {"max_new_tokens": asked.max_tokens or OPENAI_DEFAULT_TOKENS, "details": True}
    temperature = 1.0 if asked.temperature is None else asked.temperature
    # TGI refuses what means "off" elsewhere: a temperature of 0, a top_p of 1, a top_k below 1.
    parameters["do_sample"] = temperature > 0
    if temperature > 0:
        if temperature != 1.0:
            parameters["temperature"] = temperature
        if asked.top_p is not None and 0 < asked.top_p < 1:
            parameters["top_p"] = asked.top_p
        if asked.top_k is not None and asked.top_k > 0:
            parameters["top_k"] = asked.top_k
    for name in ("seed", "frequency_penalty", "repetition_penalty"):
        value = getattr(asked, name)
        if value is not None:
            parameters[name] = value
    if asked.stop:
        parameters["stop"] = [asked.stop] if isinstance(asked.stop, str) else asked.stop
    return {"inputs": prompt, "parameters": parameters} | ({"stream": True} if asked.stream else {})


class _EngineErrors:
    """The client's side is OpenAI's already: errors stay as they are."""

    __slots__ = ()

    def error(self, error: ApiError) -> bytes:
        """See Translation."""
        return error.body()

    def error_event(self, error: ApiError) -> bytes:
        """See Translation."""
        return event(error.body()) + event(DONE)


class EngineCompletion(_EngineErrors):
    """One completion that a TGI engine generates."""

    __slots__ = ("_asked", "_events", "_finished", "_held", "_id", "_prompt", "_stops", "body", "path")

    content_type = b"text/event-stream; charset=utf-8"
    comment = b": keep-alive\n\n"

    def __init__(self, asked: Completion, prompt: str, number: str) -> None:
        self.path = b"/generate_stream" if asked.stream else b"/generate"
        self.body = encode(generate_request(asked, prompt))
        self._asked = asked
        self._prompt = prompt
        self._id = f"cmpl-{number}"
        self._stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
        self._events = EventReader()
        self._held = ""
        self._finished: _Details | None = None

    def _usage(self, details: _Details) -> dict[str, int]:
        prompt = details.input_length or len(details.prefill or ()) or -(-len(self._prompt.encode()) // BYTES_PER_TOKEN)
        generated = details.generated_tokens
        return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}

    def _said(self, choices: list[dict[str, Any]], usage: dict[str, int] | None) -> bytes:
        head = {"id": self._id, "object": "text_completion", "created": 0, "model": self._asked.model}
        return encode(head | {"choices": choices} | ({"usage": usage} if usage is not None else {}))

    def _choice(self, text: str, reason: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = reading.reply(body, _GENERATED)
        if found.generated_text is None:
            raise UntranslatableReply("the engine's reply has no text")
        details = found.details or _Details()
        text = found.generated_text
        # TGI's text ends with the stop sequence, OpenAI's before it.
        for stop in self._stops:
            text = text.removesuffix(stop)
        return self._said([self._choice(text, _REASONS.get(details.finish_reason, "stop"))], self._usage(details))

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        out = []
        for each in self._events.feed(data):
            found = reading.reply(each, _GENERATED)
            if found.error is not None:
                raise UntranslatableReply(f"the engine reports an error in its stream: {found.error[:100]}")
            if found.details is not None:
                self._finished = found.details
            if found.token is not None and not found.token.special and found.token.text:
                text = self._release(found.token.text)
                if text:
                    out.append(event(self._said([self._choice(text, None)], None)))
        return b"".join(out)

    def _release(self, text: str) -> str:
        """What may be shown: all but an end that could be the beginning of a stop sequence."""
        text = self._held + text
        keep = 0
        for stop in self._stops:
            for size in range(min(len(stop), len(text)), keep, -1):
                if text.endswith(stop[:size]):
                    keep = size
                    break
        self._held = text[len(text) - keep :] if keep else ""
        return text[: len(text) - keep] if keep else text

    def end(self) -> bytes:
        """See Translation."""
        details = self._finished
        if details is None:
            raise UntranslatableReply("the engine's stream has no end")
        rest = "" if self._held in self._stops else self._held
        out = [event(self._said([self._choice(rest, _REASONS.get(details.finish_reason, "stop"))], None))]
        if (self._asked.stream_options or {}).get("include_usage"):
            out.append(event(self._said([], self._usage(details))))
        return b"".join([*out, event(DONE)])


class EngineTokenize(_EngineErrors):
    """One text that a TGI engine's tokenizer takes apart."""

    __slots__ = ("body", "path")

    content_type = b"application/json"
    comment = b""

    def __init__(self, asked: Tokenize) -> None:
        if asked.prompt is not None:
            self.path = b"/tokenize"
            self.body = encode({"inputs": asked.prompt, "add_special_tokens": asked.add_special_tokens is not False})
        elif asked.messages:
            self.path = b"/chat_tokenize"
            said: dict[str, Any] = {"model": asked.model, "messages": asked.messages}
            self.body = encode(said | ({"tools": asked.tools} if asked.tools else {}))
        else:
            raise malformed("Give a prompt or messages.", param="prompt")

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = reading.reply(body, _TOKENS)
        tokens = found if isinstance(found, list) else found.tokenize_response
        return encode({"count": len(tokens), "tokens": [token.id for token in tokens]})

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        raise UntranslatableReply("tokens are no stream")

    def end(self) -> bytes:
        """See Translation."""
        return b""
