# SPDX-License-Identifier: Apache-2.0
"""The admin API: what is going on, keys, engines, reload, and why a request would go where. All of it under /admin, all of it with an admin key."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sanic import Sanic
from sanic.request import Request
from sanic.response import HTTPResponse

from llm_gateway import __version__
from llm_gateway.callers.keys import read_key_document
from llm_gateway.config.key_documents import KeyDocument, KeyLimits
from llm_gateway.engines.dispatch import Dispatcher
from llm_gateway.engines.engine import Engine, Health, state_of
from llm_gateway.engines.routing import peek
from llm_gateway.errors import UNREADABLE, ApiError, ConfigError, forbidden, malformed, model_not_found, printable
from llm_gateway.gateway import Gateway
from llm_gateway.telemetry.metrics import Metrics
from llm_gateway.web.replies import answer, key_of, readable
from llm_gateway.web.workers import Workers

MAX_KEYS_SHOWN = 1000
KEY_BYTES = 32
# Settings whose values are never shown, though none of them should be a secret (a URL may carry a password).
_SECRET = ("redis_url",)


BodyT = TypeVar("BodyT")


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /admin/keys takes; the fields are those of a key file."""

    name: str
    models: list[str] | None = None
    classes: list[str] | None = None
    tenant: str | None = None
    weight: float = 1.0
    expires: float | str | None = None
    limits: KeyLimits = KeyLimits()


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /admin/keys/NAME/rotate takes: seconds that the old key stays good."""

    overlap: float = 86400.0


def engine_view(engine: Engine, dispatcher: Dispatcher) -> dict[str, Any]:
    """One engine, as the status shows it."""
    engine.look()
    return {
        "name": engine.name,
        "address": engine.address,
        "kind": engine.kind,
        "state": state_of(engine),
        "in_flight": engine.in_flight,
        "ceiling": dispatcher.ceiling,
        "served": engine.served,
        "failures": engine.failures,
        "share": round(engine.share, 3),
        "queue_depth": engine.queue_depth,
        "kv_use": round(engine.kv_use, 4),
    }


async def status(gateway: Gateway, workers: Workers) -> dict[str, Any]:
    """Everything that an operator looks at, over all worker processes. Histograms are cumulative: bounds in seconds, counts per bucket."""
    metrics = Metrics()
    gateway.recorder.flush()
    metrics.absorb(gateway.metrics.snapshot())
    for other in await workers.others_counts():
        metrics.absorb(other)
    ledger = gateway.ledger
    models = []
    for name, dispatcher in sorted(gateway.fleet.dispatchers.items()):
        requests: dict[str, float] = {}
        for (model, code, _reason), count in metrics.requests.values.items():
            if model == name:
                requests[code] = requests.get(code, 0) + count
        engines = [engine_view(engine, dispatcher) for engine in dispatcher.pool.engines]
        models.append(
            {
                "name": name,
                "policy": dispatcher.policy_name,
                "queue_depth": 0 if dispatcher.record is None else int(ledger.in_flight(dispatcher.record)),
                "queue_size": dispatcher.queue_size,
                "in_flight": sum(engine["in_flight"] for engine in engines),
                "requests": requests,
                "tokens": {
                    direction: metrics.tokens.values.get((name, direction), 0) for direction in ("prompt", "completion")
                },
                "engines": engines,
                "histograms": {
                    key: {"bounds": found.bounds, "counts": found.counts, "sum": found.total}
                    for key, family in (
                        ("time_to_first_token", metrics.first_token),
                        ("inter_token", metrics.token_gap),
                        ("request", metrics.duration),
                        ("queue", metrics.queue_wait),
                        ("overhead", metrics.overhead),
                    )
                    if (found := family.by_value.get(name)) is not None
                },
            }
        )
    aliases = {
        name: config.alias or config.split
        for name, config in gateway.fleet.catalogue.models.items()
        if config.alias is not None or config.split
    }
    return {
        "version": __version__,
        "time": time.time(),
        "workers": ledger.workers,
        "draining": gateway.draining,
        "config_error": gateway.reload_error,
        "connections": len(gateway.connections),
        "models": models,
        "aliases": aliases,
        "keys": key_uses(gateway),
    }


def key_uses(gateway: Gateway) -> list[dict[str, Any]]:
    """What each key has used since the counts began; the busiest first."""
    ledger = gateway.ledger
    found: list[dict[str, Any]] = []
    for name in gateway.admission.keys.names():
        record = ledger.peek("key:" + name)
        if record is not None:
            found.append(
                {
                    "name": name,
                    "requests": int(record.used_requests),
                    "prompt_tokens": int(record.used_prompt),
                    "completion_tokens": int(record.used_completion),
                    "in_flight": int(ledger.in_flight(record)),
                }
            )
    found.sort(key=lambda use: int(use["requests"]), reverse=True)
    return found[:MAX_KEYS_SHOWN]


class _Prompt:
    """A request as policies see it."""

    def __init__(self, prefix: bytes, session: bytes | None) -> None:
        self.prefix = prefix
        self.session = session


def explain(gateway: Gateway, model: str, prompt: str, session: str | None) -> dict[str, Any]:
    """Which engine a request would get now, and why; nothing is changed by asking. Raises ApiError 404."""
    meant = gateway.fleet.resolve(model)
    dispatcher = gateway.fleet.dispatchers.get(meant)
    if dispatcher is None:
        raise model_not_found(model)
    text = msgspec.json.encode(prompt) if prompt else b""
    seen = []
    room = []
    for engine in dispatcher.pool.engines:
        view = engine_view(engine, dispatcher)
        if not engine.serving:
            why = "not ready, or terminating, says discovery"
        elif engine.drained:
            why = "drained by an operator"
        elif engine not in dispatcher.ready:
            why = f"its breaker is open after {engine.failures} failures"
        elif engine.health is Health.TRIAL and engine.in_flight:
            why = "it is on trial with one request"
        elif dispatcher.ceiling and engine.in_flight >= dispatcher.ceiling:
            why = f"it has its {dispatcher.ceiling} requests"
        else:
            why = ""
            room.append(engine)
        view["excluded"] = why
        seen.append(view)
    chosen = ""
    if room:
        chosen = room[peek(dispatcher.policy, room, _Prompt(text, session.encode() if session else None))].name
        reason = f"the policy {dispatcher.policy_name} picks it among {len(room)} with room"
    elif dispatcher.ready:
        reason = "no engine has room: the request would wait in the queue"
    elif dispatcher.hold_timeout_s:
        reason = f"no engine is ready: the request would be held for {dispatcher.hold_timeout_s:g} s"
    else:
        reason = "no engine is ready: the request would be refused with 503"
    return {
        "asked": model,
        "model": meant,
        "fallbacks": gateway.fleet.catalogue.config(meant).fallbacks,
        "policy": dispatcher.policy_name,
        "engine": chosen,
        "reason": reason,
        "waiting": len(dispatcher.waiting),
        "engines": seen,
    }


def new_key() -> str:
    """A key that nobody guesses."""
    return "sk-" + secrets.token_urlsafe(KEY_BYTES)


class KeyFolder:
    """The folder of keys that the admin API makes, one file a key, read like any keys folder. Raises ApiError."""

    def __init__(self, folder: str) -> None:
        if not folder:
            raise ApiError(
                409, "Keys cannot be made here: start the gateway with --admin-keys-dir.", code="no_keys_dir"
            )
        self._folder = Path(folder)

    def _path(self, name: str) -> Path:
        path = self._folder / name
        try:
            # Only its checks: the name, above all, must not lead out of the folder.
            read_key_document(name, "sha256:" + "0" * 64)
        except ConfigError as error:
            raise malformed(str(error), param="name") from error
        return path

    def write(self, name: str, document: KeyDocument) -> None:
        """Make or change a key; whole, or not at all."""
        path = self._path(name)
        content = msgspec.json.encode(document)
        try:
            read_key_document(name, content.decode())
        except ConfigError as error:
            raise malformed(str(error)) from error
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._folder / f".{name}.new"
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            fresh.replace(path)
        except OSError as error:
            raise ApiError(
                507, f"The key cannot be written: {error.strerror}.", code="keys_dir_broken", error_type="server_error"
            ) from error

    def read(self, name: str) -> KeyDocument:
        """The key's file; its hashes, not the key itself, which nobody has."""
        try:
            content = self._path(name).read_bytes()
            if not content.lstrip().startswith(b"{"):
                return KeyDocument(sha256=content.decode().strip().removeprefix("sha256:"))
            return msgspec.json.decode(content, type=KeyDocument)
        except FileNotFoundError as error:
            raise ApiError(
                404, f"There is no key '{printable(name)}' in --admin-keys-dir.", code="no_such_key"
            ) from error
        except (OSError, ValueError) as error:
            raise ApiError(409, f"The key '{printable(name)}' cannot be read.", code="keys_dir_broken") from error

    def remove(self, name: str) -> None:
        """Revoke a key."""
        self.read(name)
        self._path(name).unlink(missing_ok=True)


def add_admin_routes(app: Sanic[Any, Any], gateway: Gateway, workers: Workers) -> None:
    """All admin routes of one worker."""

    def admit(request: Request) -> None:
        if not key_of(gateway, request).admin:
            raise forbidden("This needs an admin key.", code="admin_key_required")

    def body(request: Request, kind: type[BodyT]) -> BodyT:
        try:
            return msgspec.json.decode(request.body or b"{}", type=kind)
        except UNREADABLE as error:
            raise malformed(f"The body cannot be understood: {error}") from error

    @readable(app, "/admin/status")
    async def show_status(request: Request) -> HTTPResponse:
        admit(request)
        return answer(await status(gateway, workers))

    @readable(app, "/admin/settings")
    async def show_settings(request: Request) -> HTTPResponse:
        admit(request)
        settings = gateway.settings
        return answer(
            {
                field.name: "(hidden)"
                if field.name in _SECRET and getattr(settings, field.name)
                else getattr(settings, field.name)
                for field in fields(settings)
            }
        )

    @readable(app, "/admin/explain")
    async def show_explanation(request: Request) -> HTTPResponse:
        admit(request)
        model = request.args.get("model") or gateway.fleet.default_model()
        return answer(explain(gateway, model, request.args.get("prompt") or "", request.args.get("session")))

    @app.post("/admin/reload")
    async def reload(request: Request) -> HTTPResponse:
        admit(request)
        await workers.tell("reload")
        if gateway.reload_error:
            raise ApiError(409, f"Refused, the old configuration stays: {gateway.reload_error}", code="config_refused")
        return answer({"keys": len(gateway.admission.keys)})

    @readable(app, "/admin/keys")
    async def show_keys(request: Request) -> HTTPResponse:
        admit(request)
        return answer({"data": [key_view(key) for key in gateway.admission.keys.all()]})

    @app.post("/admin/keys")
    async def make_key(request: Request) -> HTTPResponse:
        admit(request)
        wanted = body(request, NewKey)
        if wanted.name in gateway.admission.keys.names():
            raise ApiError(409, f"There is a key '{printable(wanted.name)}' already.", code="key_exists")
        plain = new_key()
        KeyFolder(gateway.settings.admin_keys_dir).write(
            wanted.name,
            KeyDocument(
                sha256=sha256(plain.encode()).hexdigest(),
                models=wanted.models,
                classes=wanted.classes,
                tenant=wanted.tenant,
                weight=wanted.weight,
                expires=wanted.expires,
                limits=wanted.limits,
            ),
        )
        await workers.tell("reload")
        return answer({"name": wanted.name, "key": plain}, 201)

    @app.post("/admin/keys/<name:str>/rotate")
    async def rotate_key(request: Request, name: str) -> HTTPResponse:
        admit(request)
        overlap_s = body(request, Rotation).overlap
        folder = KeyFolder(gateway.settings.admin_keys_dir)
        old = folder.read(name)
        plain = new_key()
        document = msgspec.structs.replace(
            old,
            sha256=sha256(plain.encode()).hexdigest(),
            previous=[old.sha256],
            previous_until=time.time() + max(0.0, overlap_s),
        )
        folder.write(name, document)
        await workers.tell("reload")
        return answer({"name": name, "key": plain, "previous_until": document.previous_until})

    @app.delete("/admin/keys/<name:str>")
    async def remove_key(request: Request, name: str) -> HTTPResponse:
        admit(request)
        KeyFolder(gateway.settings.admin_keys_dir).remove(name)
        await workers.tell("reload")
        return answer({"name": name, "deleted": True})

    @app.post("/admin/engines/<name:str>/<what:(drain|undrain)>")
    async def drain_engine(request: Request, name: str, what: str) -> HTTPResponse:
        admit(request)
        if not any(engine.name == name for engine in gateway.fleet.registry.engines.values()):
            raise ApiError(404, f"There is no engine '{printable(name)}'.", code="no_such_engine")
        await workers.tell(f"{what} {name}")
        return answer({"name": name, "drained": what == "drain"})


def key_view(key: Any) -> dict[str, Any]:
    """A key without anything that could be used."""
    return {
        "name": key.name,
        "tenant": key.tenant,
        "models": None if key.models is None else sorted(key.models),
        "classes": None if key.classes is None else sorted(key.classes),
        "weight": key.weight,
        "expires": key.expires_at,
        "admin": key.admin,
        "limits": key.limits,
    }
