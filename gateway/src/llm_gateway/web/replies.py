# SPDX-License-Identifier: Apache-2.0
"""What handlers that Sanic serves have in common: replies, errors, and who is asking."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
from sanic import Sanic
from sanic.request import Request
from sanic.response import HTTPResponse, raw

from llm_gateway.config.key_documents import Key
from llm_gateway.errors import ApiError, invalid_key
from llm_gateway.gateway import Gateway
from llm_gateway.http.head import keys_shown


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    """A JSON reply."""
    return raw(msgspec.json.encode(document), status=status, content_type="application/json", headers=headers)


def from_anthropic(request: Request) -> bool:
    """Whether a client of Anthropic's asks: they all send this header."""
    return "anthropic-version" in request.headers


def refusal(error: ApiError, request: Request) -> HTTPResponse:
    """An error reply in the shape that the client knows."""
    headers = dict(line.split(": ", 1) for line in error.header_lines().decode("latin-1").splitlines())
    body = error.anthropic_body() if from_anthropic(request) else error.body()
    return raw(body, status=error.status, content_type="application/json", headers=headers)


def readable(app: Sanic[Any, Any], path: str) -> Callable[..., Any]:
    """Decorator of a handler that answers GET, and HEAD as RFC 9110 section 9.1 says."""
    return app.route(path, methods=("GET", "HEAD"))


def key_of(gateway: Gateway, request: Request) -> Key:
    """The caller. Raises ApiError 401."""
    # Sanic decodes headers as UTF-8 and keeps what is none as surrogates: so they become the bytes again that were sent.
    fields = {
        name.encode(): request.headers[name].encode("utf-8", "surrogateescape")
        for name in ("authorization", "x-api-key", "api-key")
        if name in request.headers
    }
    keys = gateway.admission.keys
    shown = keys_shown(fields)
    found = [keys.find(sha256(each).digest(), each) for each in shown] if shown else [keys.find(None)]
    for key in found:
        if key is not None:
            return key
    raise invalid_key()
