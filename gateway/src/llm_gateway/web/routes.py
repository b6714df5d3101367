# SPDX-License-Identifier: Apache-2.0
"""What Sanic serves: everything that is not inference."""

from __future__ import annotations

import time
from typing import Any

from sanic import Sanic
from sanic.exceptions import SanicException
from sanic.request import Request
from sanic.response import HTTPResponse, raw

from llm_gateway.errors import ApiError
from llm_gateway.gateway import Gateway
from llm_gateway.web.admin import add_admin_routes
from llm_gateway.web.page import add_page
from llm_gateway.web.replies import answer, key_of, refusal

STARTED = int(time.time())


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
        if not await gateway.others_ready():
            return answer({"status": "a worker is not ready"}, 503)
        return answer({"status": "ok"})

    @app.get("/metrics")
    async def metrics(_request: Request) -> HTTPResponse:
        return raw((await gateway.exposed_metrics()).encode(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    async def openapi(_request: Request) -> HTTPResponse:
        from llm_gateway.web.openapi import document

        return raw(document(), content_type="application/json")

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

    if gateway.settings.admin_key_file or any(key.admin for key in gateway.keys.all()):
        add_admin_routes(app, gateway)
        add_page(app)


def _model(name: str) -> dict[str, Any]:
    # vLLM's clients look at the root, the model that this one was made from.
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "llm-gateway", "root": name, "parent": None}
