# SPDX-License-Identifier: Apache-2.0
"""What Sanic serves: everything that is not inference."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from sanic import Sanic
from sanic.exceptions import SanicException
from sanic.request import Request
from sanic.response import HTTPResponse, raw

from llm_gateway.errors import ApiError, invalid_key
from llm_gateway.gateway import Gateway
from llm_gateway.keys import Key

STARTED = int(time.time())


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    """A JSON reply."""
    return raw(msgspec.json.encode(document), status=status, content_type="application/json", headers=headers)


def refusal(error: ApiError) -> HTTPResponse:
    """An error reply in OpenAI's shape."""
    headers = dict(line.split(": ", 1) for line in error.header_lines().decode("latin-1").splitlines())
    return raw(error.body(), status=error.status, content_type="application/json", headers=headers)


def key_of(gateway: Gateway, request: Request) -> Key:
    """The caller. Raises ApiError 401."""
    from hashlib import sha256

    authorization = request.headers.get("authorization", "")
    scheme, _, token = authorization.partition(" ")
    shown = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    raw_key = shown.encode("latin-1", "replace")
    key = gateway.keys.find(sha256(raw_key).digest() if shown else None, raw_key)
    if key is None:
        raise invalid_key()
    return key


def add_routes(app: Sanic[Any, Any], gateway: Gateway) -> None:
    """All routes of one worker."""

    @app.exception(ApiError)
    async def api_error(_request: Request, error: ApiError) -> HTTPResponse:
        return refusal(error)

    @app.exception(SanicException)
    async def sanic_error(_request: Request, error: SanicException) -> HTTPResponse:
        status = error.status_code or 500
        kind = "invalid_request_error" if status < 500 else "server_error"
        return refusal(ApiError(status, str(error), code="not_found" if status == 404 else None, error_type=kind))

    @app.get("/healthz")
    async def healthz(_request: Request) -> HTTPResponse:
        return answer({"status": "ok"})

    @app.get("/readyz")
    async def readyz(_request: Request) -> HTTPResponse:
        if gateway.draining:
            return answer({"status": "draining"}, 503)
        if not gateway.discovered.is_set():
            return answer({"status": "engines not discovered yet"}, 503)
        return answer({"status": "ok"})

    @app.get("/metrics")
    async def metrics(_request: Request) -> HTTPResponse:
        return raw(gateway.metrics.expose().encode(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models(request: Request) -> HTTPResponse:
        key = key_of(gateway, request)
        return answer({"object": "list", "data": [_model(name) for name in gateway.served_names(key)]})

    @app.get("/v1/models/<name:path>")
    async def model(request: Request, name: str) -> HTTPResponse:
        from llm_gateway.errors import model_not_found

        key = key_of(gateway, request)
        if name not in gateway.served_names(key):
            raise model_not_found(name)
        return answer(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "llm-gateway"}
