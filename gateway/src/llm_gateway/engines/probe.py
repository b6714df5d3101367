# SPDX-License-Identifier: Apache-2.0
"""Probes: whether an engine answers, which models it has, how busy it says it is. Off the data path."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from llm_gateway.engines.connection import EngineConnection
from llm_gateway.engines.engine import Engine, Health
from llm_gateway.errors import UNREADABLE, EngineError

MAX_REPLY_BYTES = 4 << 20
# An engine that needs no probe is probed all the same, once in so many rounds, as long as that is no more than this many engines a round.
TURN_ROUNDS = 6
MOST_IN_TURN = 20


class ProbeRounds:
    """Which engines are probed, in rounds `interval_s` apart.

    Each round probes all engines that need it (`needs_probe`). The others are well as far as requests tell, but the models they serve may have
    changed: each round probes a few of them as well, so that all have their turn."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._turn = 0

    def due(self, engines: list[Engine], now: float) -> list[Engine]:
        """The engines of the next round, each once."""
        count = min(-(-len(engines) // TURN_ROUNDS), MOST_IN_TURN)
        start = self._turn % max(1, len(engines))
        self._turn = start + count
        found = (engines + engines)[start : start + count]
        found += [engine for engine in engines if needs_probe(engine, now - self._interval_s)]
        return list(dict.fromkeys(found))


def needs_probe(engine: Engine, since: float) -> bool:
    """Whether only a probe can tell how an engine is: its models are unknown, it has failed, or it is ready and has answered nothing since then."""
    if not engine.models or engine.health is not Health.CLOSED:
        return True
    return engine.serving and not engine.drained and engine.heard_at < since


class _Collected:
    """A Receiver that keeps the whole reply."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.size = 0
        self.connection: EngineConnection | None = None
        self.result: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def reply_head(self, connection: EngineConnection) -> None:
        self.status = connection.status

    def reply_data(self, data: bytes) -> None:
        self.pieces.append(data)
        self.size += len(data)
        if self.size > MAX_REPLY_BYTES:
            if self.connection is not None:
                self.connection.abort()
            self.reply_failed(EngineError("garbage", "the engine's reply is endless"))

    def reply_chunks(self, chunks: bytes, body: bytes) -> None:
        self.reply_data(body)

    def whole_reply(self, connection: EngineConnection, body: bytes) -> None:
        self.status = connection.status
        self.pieces.append(body)
        self.reply_ended()

    def reply_ended(self) -> None:
        if not self.result.done():
            self.result.set_result((self.status, b"".join(self.pieces)))

    def reply_failed(self, error: EngineError) -> None:
        if not self.result.done():
            self.result.set_exception(error)


async def get(engine: Engine, path: str, timeout_s: float) -> tuple[int, bytes]:
    """Status and body of a GET, over a connection of its own. Raises EngineError."""
    connection = await engine.connect(timeout_s)
    collected = _Collected()
    collected.connection = connection
    authorization = f"authorization: Bearer {engine.token}\r\n" if engine.token else ""
    target = engine.where.target(path.encode()).decode()
    request = f"GET {target} HTTP/1.1\r\nhost: {engine.where.authority}\r\n{authorization}connection: close\r\n\r\n"
    connection.send(collected, request.encode("latin-1"))
    try:
        async with asyncio.timeout(timeout_s):
            return await collected.result
    except TimeoutError as error:
        raise EngineError(
            "first_byte_timeout", f"{engine.address}: no answer to GET {path} in {timeout_s:g} s"
        ) from error
    finally:
        connection.abort()


Cards = dict[str, dict[str, Any]]


def models_in(body: bytes) -> Cards:
    """The models, by name, of an OpenAI model list, of TGI's `/info` or of text-generation-webui's model info, each with what is said of it; empty
    for anything else."""
    try:
        document = msgspec.json.decode(body)
        for field in ("model_id", "model_name"):
            if isinstance(document.get(field), str) and document[field] not in ("", "None"):
                return {document[field]: {}}
        return {entry["id"]: entry for entry in document["data"] if isinstance(entry["id"], str) and entry["id"]}
    except (*UNREADABLE, KeyError, TypeError, AttributeError):
        return {}


# Paths at which engines of a kind tell their models; the next one is asked when an engine does not know the first.
_MODEL_PATHS = {
    "tgi": ("/v1/models", "/info"),
    "tgw": ("/v1/internal/model/info", "/v1/models"),
}
_OTHERWISE = ("/v1/models", "/info")


async def answers(engine: Engine, timeout_s: float) -> bool:
    """Whether an engine answers at all. One that knows no list of models does; a server error in time is as bad as silence."""
    try:
        status, __ = await get(engine, "/v1/models", timeout_s)
    except EngineError:
        return False
    return status < 500 or status == 501


async def ask_models(engine: Engine, timeout_s: float) -> Cards:
    """The models that an engine says it has, and what it says of them. Raises EngineError when it does not answer as an engine."""
    for path in _MODEL_PATHS.get(engine.kind, _OTHERWISE):
        status, body = await get(engine, path, timeout_s)
        if status == 200:
            models = models_in(body)
            if models:
                return models
        elif status not in (404, 405, 501):
            break
    raise EngineError("status", f"{engine.address}: says nothing of its models (status {status})")


# Who engines say that a model of theirs belongs to.
_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp"}
# What engines of a kind answer, and nobody else: a path, and fields of the document there.
_SIGNS = (
    ("tgi", "/info", ("model_id", "max_total_tokens")),
    ("llamacpp", "/props", ("default_generation_settings",)),
    ("tgw", "/v1/internal/model/info", ("model_name", "lora_names")),
)


async def ask_kind(engine: Engine, cards: Cards, timeout_s: float) -> str:
    """The kind of an engine that nobody has named, by what it answers; empty: none that is known. Raises EngineError when it does not answer."""
    for card in cards.values():
        if card.get("owned_by") in _OWNERS:
            return _OWNERS[card["owned_by"]]
    for kind, path, fields in _SIGNS:
        status, body = await get(engine, path, timeout_s)
        if status == 200 and has_fields(body, fields):
            return kind
    return ""


def has_fields(body: bytes, fields: tuple[str, ...]) -> bool:
    """Whether this is an object with all these fields."""
    try:
        document = msgspec.json.decode(body)
    except UNREADABLE:
        return False
    return isinstance(document, dict) and all(field in document for field in fields)


# The metrics of a queue, and of a KV cache's use (0 to 1), as engines name them.
_QUEUES = (b"vllm:num_requests_waiting", b"tgi_queue_size", b"llamacpp:requests_deferred")
_KV_USES = (b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc", b"llamacpp:kv_cache_usage_ratio")


def load_in(text: bytes) -> tuple[int, float]:
    """Queue length and KV cache use in an engine's metrics; 0 for what it does not say."""
    queue = kv_use = 0.0
    for line in text.splitlines():
        name = line.partition(b" ")[0].partition(b"{")[0]
        if name in _QUEUES or name in _KV_USES:
            try:
                value = float(line.rsplit(b" ", 1)[1])
            except (ValueError, IndexError):
                continue
            if name in _QUEUES:
                queue += max(0.0, value)
            else:
                kv_use = max(kv_use, min(1.0, value))
    return int(min(queue, 1e9)), kv_use


async def ask_load(engine: Engine, timeout_s: float = 2.0) -> None:
    """Note an engine's queue and KV use; nothing where it has no metrics."""
    try:
        status, body = await get(engine, "/metrics", timeout_s)
    except EngineError:
        return
    if status == 200:
        engine.queue_depth, engine.kv_use = load_in(body)
