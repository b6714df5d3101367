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
from llm_gateway.protocols import Plain, Translation, UntranslatableReply, chat, openai, reading
from llm_gateway.protocols.fields import Fate, Fields, passed_on
from llm_gateway.protocols.reading import cannot, encode, number, record, records, text
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
    truncate: int | None = None
    typical_p: float | None = None


_NO_TOKENS = "single tokens are not known here."
# What becomes of each parameter; others go to the engine as they came.
PARAMETERS: Fields = {
    "adapter_id": (Fate.SAID, "`model`"),
    "best_of": (Fate.SAID, "1, or refused by name"),
    "details": (Fate.HERE, "without single tokens"),
    "do_sample": (Fate.SAID, "`temperature` 0 where nothing is sampled"),
    "frequency_penalty": (Fate.PASSED, ""),
    "grammar": (Fate.SAID, "`response_format`, for JSON"),
    "max_new_tokens": (Fate.SAID, "`max_tokens`"),
    "repetition_penalty": (Fate.PASSED, ""),
    "return_full_text": (Fate.HERE, "the prompt stands before the answer"),
    "seed": (Fate.PASSED, ""),
    "stop": (Fate.PASSED, ""),
    "temperature": (Fate.PASSED, ""),
    "top_k": (Fate.PASSED, ""),
    "top_p": (Fate.PASSED, ""),
    "truncate": (Fate.SAID, "`truncate_prompt_tokens`"),
    "typical_p": (Fate.PASSED, ""),
    "decoder_input_details": (Fate.REFUSED, _NO_TOKENS),
    "top_n_tokens": (Fate.REFUSED, _NO_TOKENS),
    "watermark": (Fate.REFUSED, "engines of other kinds have no watermark."),
}


class Request(msgspec.Struct):
    """A body of `/generate`."""

    inputs: str
    parameters: Parameters | None = None


class _Given(msgspec.Struct):
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


_REQUEST = msgspec.json.Decoder(Request)
_GIVEN = msgspec.json.Decoder(_Given)


def open_generate(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    body = reading.readable(body)
    asked = reading.request(body, _REQUEST)
    given = bytes(_GIVEN.decode(body).parameters)
    passed = passed_on(given, PARAMETERS) if given != b"null" else {}
    return Generate(asked, passed, stream=path.endswith(b"_stream"))


def completion_request(asked: Request, passed: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    """TGI's request in OpenAI's words. Raises ApiError 400."""
    given = asked.parameters or Parameters()
    if given.best_of is not None and given.best_of > 1:
        raise cannot("parameters.best_of: only 1 is possible here.", "parameters.best_of")
    tokens = DEFAULT_NEW_TOKENS if given.max_new_tokens is None else given.max_new_tokens
    if tokens < 1:
        raise malformed("parameters.max_new_tokens: at least 1.", param="parameters.max_new_tokens")
    said: dict[str, Any] = {**passed, "model": given.adapter_id or "", "prompt": asked.inputs, "max_tokens": tokens}
    if stream:
        said["stream"] = True
        said["stream_options"] = {"include_usage": True}
    if given.truncate is not None:
        said["truncate_prompt_tokens"] = given.truncate
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


def _finish(finish: chat.Finish, stops: list[str]) -> str:
    if finish.reason == "length":
        return "length"
    return "stop_sequence" if finish.sequence in stops else "eos_token"


def error_body(error: ApiError) -> bytes:
    """An error in TGI's words."""
    kind = "overloaded" if error.status in (429, 503) else "validation" if error.status < 500 else "generation"
    return encode({"error": error.message, "error_type": kind})


class Generate(Plain):
    """One request to `/generate` or `/generate_stream`."""

    __slots__ = ("_asked", "_index", "_stream", "_text", "body")

    path = b"/v1/completions"
    content_type = b"text/event-stream"
    comment = b": keep-alive\n\n"

    def __init__(self, asked: Request, passed: dict[str, Any], *, stream: bool) -> None:
        self._asked = asked
        self.body = encode(completion_request(asked, passed, stream=stream))
        self._stream = chat.ChatStream()
        self._text: list[str] = []
        self._index = 0

    def _details(self, finish: chat.Finish, usage: chat.Usage, counted: int) -> dict[str, Any]:
        parameters = self._asked.parameters or Parameters()
        return {
            "finish_reason": _finish(finish, parameters.stop or []),
            "generated_tokens": usage.completion or counted,
            "seed": parameters.seed,
            "input_length": usage.prompt,
        }

    def _full(self, text: str) -> str:
        parameters = self._asked.parameters
        return self._asked.inputs + text if parameters is not None and parameters.return_full_text else text

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = chat.read(body)
        said: dict[str, Any] = {"generated_text": self._full(found.message.words)}
        if self._asked.parameters is not None and self._asked.parameters.details:
            said["details"] = self._details(found.finish, found.usage, 0) | {"prefill": [], "tokens": []}
        return encode(said)

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        return b"".join([self._words(message.words) for message in self._stream.feed(data)])

    def _words(self, words: str) -> bytes:
        self._text.append(words)
        return self._event(words, special=False) if words else b""

    def _event(self, text: str, *, special: bool, last: dict[str, Any] | None = None) -> bytes:
        self._index += 1
        token = {"id": 0, "text": text, "logprob": 0.0, "special": special}
        said = {"index": self._index, "token": token, "generated_text": None, "details": None} | (last or {})
        return b"data:%b\n\n" % encode(said)

    def end(self) -> bytes:
        """See Translation."""
        stream = self._stream
        rest = b"".join([self._words(message.words) for message in stream.end()])
        details = self._details(stream.finish, stream.usage, self._index)
        last = {"generated_text": self._full("".join(self._text)), "details": details}
        return rest + self._event("", special=True, last=last)

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


_WANTED = msgspec.json.Decoder(Completion)
_TOKENIZE = msgspec.json.Decoder(Tokenize)
_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_NAMES: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
# What changes no answer of one engine.
_HINTS = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "priority"})
_KNOWN = frozenset(Completion.__struct_fields__) | _HINTS
# How TGI says what is wrong within a stream.
_STATUSES = {"validation": 422, "overloaded": 429}
_REASONS = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}


def open_engine(path: bytes, body: bytes) -> Translation | None:
    """See protocols.Opener."""
    if path == b"/v1/completions":
        asked = reading.request(body, _WANTED)
        several = (asked.n or 1) > 1 or (asked.best_of or 1) > 1
        special = asked.echo or asked.logprobs is not None or asked.suffix or asked.response_format is not None
        # What `/generate` does not know is left to TGI's own `/v1/completions`.
        unknown = any(name not in _KNOWN and bytes(value) != b"null" for name, value in _NAMES.decode(body).items())
        if isinstance(asked.prompt, str) and not several and not special and not unknown:
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


def _reason(details: dict[str, Any]) -> str:
    return _REASONS.get(text(details.get("finish_reason")), "stop")


class _EngineErrors(Plain):
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
        self._finished: dict[str, Any] = {}

    def _usage(self, details: dict[str, Any]) -> dict[str, int]:
        told = number(details.get("input_length")) or len(records(details.get("prefill")))
        prompt = told or -(-len(self._prompt.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
        generated = number(details.get("generated_tokens")) or 0
        return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}

    def _said(self, choices: list[dict[str, Any]], usage: dict[str, int] | None) -> bytes:
        head = {"id": self._id, "object": "text_completion", "created": 0, "model": self._asked.model}
        return encode(head | {"choices": choices} | ({"usage": usage} if usage is not None else {}))

    def _choice(self, text: str, reason: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = reading.loose(body)
        said = found.get("generated_text")
        if not isinstance(said, str):
            raise UntranslatableReply("the engine's reply has no text")
        details = record(found.get("details"))
        # TGI's text ends with the stop sequence, OpenAI's before it.
        for stop in self._stops:
            said = said.removesuffix(stop)
        return self._said([self._choice(said, _reason(details))], self._usage(details))

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        out = []
        for each in self._events.feed(data):
            found = reading.loose(each)
            if found.get("error"):
                status = _STATUSES.get(text(found.get("error_type")), 500)
                raise openai.from_engine(status, encode({"error": {"message": text(found["error"])}}))
            self._finished = record(found.get("details")) or self._finished
            token = record(found.get("token"))
            if text(token.get("text")) and not token.get("special"):
                shown = self._release(text(token["text"]))
                if shown:
                    out.append(event(self._said([self._choice(shown, None)], None)))
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
        if not details:
            raise UntranslatableReply("the engine's stream ended before its answer did")
        rest = "" if self._held in self._stops else self._held
        out = [event(self._said([self._choice(rest, _reason(details))], None))]
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
        found = reading.reply(body, _ANYTHING)
        tokens = found if isinstance(found, list) else record(found).get("tokenize_response")
        if not isinstance(tokens, list):
            raise UntranslatableReply("the engine's reply has no tokens")
        return encode({"count": len(tokens), "tokens": [number(record(token).get("id")) or 0 for token in tokens]})

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        raise UntranslatableReply("tokens are no stream")

    def end(self) -> bytes:
        """See Translation."""
        return b""
