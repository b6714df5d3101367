# SPDX-License-Identifier: Apache-2.0
"""What Sanic serves: everything that is not inference."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from sanic import Sanic
from sanic.exceptions import SanicException
from sanic.request import Request
from sanic.response import BaseHTTPResponse, HTTPResponse, raw

from llm_gateway import __version__
from llm_gateway.errors import ApiError, model_not_found, printable
from llm_gateway.gateway import Gateway
from llm_gateway.web.admin import add_admin_routes
from llm_gateway.web.page import add_page
from llm_gateway.web.replies import answer, from_anthropic, key_of, readable, refusal
from llm_gateway.web.workers import Workers

STARTED = int(time.time())


def add_routes(app: Sanic[Any, Any], gateway: Gateway, workers: Workers) -> None:
    """All routes of one worker."""

    @app.exception(ApiError)
    async def api_error(request: Request, error: ApiError) -> HTTPResponse:
        return refusal(error, request)

    @app.exception(SanicException)
    async def sanic_error(request: Request, error: SanicException) -> HTTPResponse:
        status = error.status_code or 500
        kind = "invalid_request_error" if status < 500 else "server_error"
        if status == 404:
            message = f"The path {printable(request.path)} is not served here. GET /openapi.json says what is."
            return refusal(ApiError(404, message, code="not_found", error_type=kind), request)
        return refusal(ApiError(status, str(error), error_type=kind), request)

    async def readable_for_pages(request: Request, response: BaseHTTPResponse) -> None:
        origin = request.headers.get("origin")
        lines = gateway.cors.lines(origin.encode("latin-1", "replace")) if origin is not None else b""
        response.headers.update(dict(line.split(": ", 1) for line in lines.decode("latin-1").splitlines()))

    app.register_middleware(readable_for_pages, "response")

    async def alive(_request: Request) -> HTTPResponse:
        return answer({"status": "ok"})

    # The first is the gateway's own; load balancers and clients ask at the others.
    for path in ("/healthz", "/health", "/ping", "/v1", "/"):
        app.add_route(alive, path, methods=("GET", "HEAD"), name=f"alive{path.replace('/', '_')}")

    @readable(app, "/version")
    async def version(_request: Request) -> HTTPResponse:
        return answer({"version": __version__})

    @readable(app, "/readyz")
    async def readyz(_request: Request) -> HTTPResponse:
        if gateway.draining:
            return answer({"status": "draining"}, 503)
        if not gateway.discovered.is_set():
            return answer({"status": "engines not discovered yet"}, 503)
        if not await workers.ready():
            return answer({"status": "a worker is not ready"}, 503)
        return answer({"status": "ok"})

    @readable(app, "/metrics")
    async def metrics(_request: Request) -> HTTPResponse:
        return raw((await workers.exposed_metrics()).encode(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @readable(app, "/openapi.json")
    async def openapi(_request: Request) -> HTTPResponse:
        from llm_gateway.web.openapi import document

        return raw(document(), content_type="application/json")

    @readable(app, "/v1/models")
    async def models(request: Request) -> HTTPResponse:
        key = key_of(gateway, request)
        say = _anthropic_model if from_anthropic(request) else _model
        data = [say(name, gateway.fleet.model_card(name)) for name in gateway.fleet.served_names(key)]
        return answer(_anthropic_list(data) if from_anthropic(request) else {"object": "list", "data": data})

    @readable(app, "/v1/models/<name:path>")
    async def model(request: Request, name: str) -> HTTPResponse:
        key = key_of(gateway, request)
        if not gateway.fleet.may_ask(key, name):
            name = unquote(name)
        if not gateway.fleet.may_ask(key, name):
            raise model_not_found(name)
        say = _anthropic_model if from_anthropic(request) else _model
        return answer(say(name, gateway.fleet.model_card(name)))

    if gateway.settings.admin_key_file or any(key.admin for key in gateway.admission.keys.all()):
        add_admin_routes(app, gateway, workers)
        add_page(app)


# What an engine says of a model that is of use to nobody else, or is the gateway's own to say.
_ENGINES_OWN = ("id", "object", "owned_by", "root", "permission", "model")


def _model(name: str, card: dict[str, Any]) -> dict[str, Any]:
    # vLLM's clients look at the root, the model that this one was made from; an engine's own is a path in its file system.
    said = {field: value for field, value in card.items() if field not in _ENGINES_OWN}
    base = {"id": name, "object": "model", "created": STARTED, "owned_by": "llm-gateway", "root": name, "parent": None}
    return base | said


def _anthropic_model(name: str, card: dict[str, Any]) -> dict[str, Any]:
    """https://docs.anthropic.com/en/api/models"""
    created = card.get("created")
    since = created if isinstance(created, int) and 0 <= created < 1 << 40 else STARTED
    said: dict[str, Any] = {"type": "model", "id": name, "display_name": name}
    said["created_at"] = datetime.fromtimestamp(min(since, 253402300799), UTC).isoformat().replace("+00:00", "Z")
    if isinstance(card.get("max_model_len"), int):
        said["max_input_tokens"] = card["max_model_len"]
    return said


def _anthropic_list(data: list[dict[str, Any]]) -> dict[str, Any]:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}
