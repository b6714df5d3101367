# SPDX-License-Identifier: Apache-2.0
"""The gateway's own OpenAPI document, served at /openapi.json: what clients may send, and every answer that may come."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from llm_gateway import __version__
from llm_gateway.protocols import anthropic, responses, tgi

_REFERENCE = "#/components/schemas/{name}"
# What the engines' own servers may refuse, and what stands before them.
_COMMON = (400, 401, 403, 404, 405, 408, 411, 413, 417, 429, 431, 499, 500, 501, 502, 503, 504, 505)
_WORDS = {
    400: "malformed",
    401: "wrong key",
    404: "no such model",
    429: "a limit or a full queue",
    503: "no engine can answer now",
}

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_GENERATION = {
    "model": {"type": "string", "description": "A model of GET /v1/models"},
    "stream": {"type": "boolean", "default": False},
    "max_tokens": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number", "minimum": 0},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "stop": _TEXTS,
    "seed": {"type": "integer"},
    "n": {"type": "integer", "minimum": 1},
}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": {"type": "string"}, "content": {}},
}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    # Whatever else is in a request goes to the engine as it came.
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": True}


def _schemas() -> dict[str, Any]:
    __, found = msgspec.json.schema_components(
        [anthropic.Request, anthropic.CountRequest, responses.Request, tgi.Request], ref_template=_REFERENCE
    )
    error = _object(["message", "type"], message={"type": "string"}, type={"type": "string"}, param={}, code={})
    return found | {
        "Error": _object(["error"], error=error),
        "AnthropicError": _object(["type", "error"], type={"const": "error"}, error=_object(["type", "message"])),
        "TgiError": _object(["error", "error_type"], error={"type": "string"}, error_type={"type": "string"}),
        "Models": _object(["data"], object={"const": "list"}, data={"type": "array", "items": _object(["id"])}),
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _name_of(kind: type, schemas: dict[str, Any]) -> dict[str, str]:
    # Two structs of one name get their module's name before it.
    full = f"{kind.__module__}.{kind.__qualname__}".replace(".", "_")
    return _reference(full if full in schemas else kind.__name__)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answers(good: dict[str, Any], error: str = "Error", *, stream: bool = False, code: int = 200) -> dict[str, Any]:
    content = _json(good)
    if stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    found: dict[str, Any] = {str(code): {"description": "The answer", "content": content}}
    for status in _COMMON:
        word = _WORDS.get(status, "refused" if status < 500 else "no answer")
        found[str(status)] = {"description": word, "content": _json(_reference(error))}
    return found


def _post(
    summary: str,
    schema: dict[str, Any],
    error: str = "Error",
    *,
    stream: bool = False,
    good: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "security": [{"bearer": []}],
            "requestBody": {"required": True, "content": _json(schema)},
            "responses": _answers(good or {"type": "object"}, error, stream=stream),
        }
    }


def _form(summary: str, file: str) -> dict[str, Any]:
    found = _post(summary, {})
    # A model is needed, and the file; what else there is, is the engine's to say.
    schema = _object(["model", file], model=_GENERATION["model"], **{file: {"type": "string", "format": "binary"}})
    found["post"]["requestBody"]["content"] = {"multipart/form-data": {"schema": schema}}
    return found


def _get(summary: str, content: dict[str, Any], *, key: bool, also: tuple[int, ...] = ()) -> dict[str, Any]:
    replies: dict[str, Any] = {"200": {"description": "The answer", "content": content}}
    replies |= {str(status): {"description": "not so", "content": _json({"type": "object"})} for status in also}
    if key:
        replies |= {
            str(status): {"description": _WORDS.get(status, "refused"), "content": _json(_reference("Error"))}
            for status in (400, 401, 403, 404)
        }
    return {"get": {"summary": summary, "responses": replies} | ({"security": [{"bearer": []}]} if key else {})}


@cache
def document() -> bytes:
    """The document (https://spec.openapis.org/oas/v3.1.0), as JSON."""
    schemas = _schemas()
    messages = {"type": "array", "items": _MESSAGE}
    named = {"model": _GENERATION["model"]}
    texts = {"type": "array", "items": {"type": "string"}}
    model_path = _get("One model", _json(_object(["id"])), key=True)
    model_path["get"]["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    rerank = _object(["model", "query", "documents"], **named, query={"type": "string"}, documents=texts)
    score = _object(["model", "text_1", "text_2"], **named, text_1=_TEXTS, text_2=_TEXTS)
    count = _name_of(anthropic.CountRequest, schemas)
    generate = _name_of(tgi.Request, schemas)
    paths = {
        "/v1/chat/completions": _post(
            "Answer in a chat", _object(["model", "messages"], **_GENERATION, messages=messages), stream=True
        ),
        "/v1/completions": _post(
            "Go on with a text", _object(["model", "prompt"], **_GENERATION, prompt={}), stream=True
        ),
        "/v1/embeddings": _post("Vectors of texts", _object(["model", "input"], **named, input={})),
        "/v1/rerank": _post("Documents by how well they fit", rerank),
        "/rerank": _post("The same", rerank),
        "/v2/rerank": _post("The same", rerank),
        "/pooling": _post("Hidden states of texts", _object(["model"], **named, input={})),
        "/v1/pooling": _post("The same", _object(["model"], **named, input={})),
        "/classify": _post("Classes of texts", _object(["model"], **named, input={})),
        "/v1/classify": _post("The same", _object(["model"], **named, input={})),
        "/v1/moderations": _post("Whether texts should be kept out", _object(["model", "input"], **named, input={})),
        "/v1/audio/speech": _post("A text, spoken", _object(["model", "input"], **named, input={"type": "string"})),
        "/v1/images/generations": _post(
            "Pictures of a text", _object(["model", "prompt"], **named, prompt={"type": "string"})
        ),
        "/v1/audio/transcriptions": _form("Text of a recording", "file"),
        "/v1/audio/translations": _form("English text of a recording", "file"),
        "/v1/images/edits": _form("Another picture of a picture and a text", "image"),
        "/v1/images/variations": _form("Other pictures of a picture", "image"),
        "/v1/score": _post("How well texts fit each other", score),
        "/score": _post("The same", score),
        "/tokenize": _post(
            "Tokens of a text", _object(["model"], **named, prompt={"type": "string"}, messages=messages)
        ),
        "/detokenize": _post(
            "Text of tokens",
            _object(["model", "tokens"], **named, tokens={"type": "array", "items": {"type": "integer"}}),
        ),
        "/v1/responses": _post("OpenAI's Responses API", _name_of(responses.Request, schemas), stream=True),
        "/v1/messages": _post(
            "Anthropic's Messages API", _name_of(anthropic.Request, schemas), "AnthropicError", stream=True
        ),
        "/v1/messages/count_tokens": _post("Tokens of a conversation", count, "AnthropicError"),
        "/generate": _post("Text Generation Inference", generate, "TgiError"),
        "/generate_stream": _post("The same, streamed", generate, "TgiError", stream=True),
        "/v1/models": _get("What the key may use", _json(_reference("Models")), key=True),
        "/v1/models/{model}": model_path,
        "/healthz": _get("Alive", _json({"type": "object"}), key=False),
        "/readyz": _get("Ready for requests", _json({"type": "object"}), key=False, also=(503,)),
        "/metrics": _get("Prometheus' text", {"text/plain": {"schema": {"type": "string"}}}, key=False),
        "/openapi.json": _get("This document", _json({"type": "object"}), key=False),
    }
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "llm-gateway",
                "version": __version__,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        }
    )
