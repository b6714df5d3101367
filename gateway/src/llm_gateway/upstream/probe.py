# SPDX-License-Identifier: Apache-2.0
"""Small questions to engines, off the data path: are you well, which models do you have."""

from __future__ import annotations

import asyncio

import msgspec

from llm_gateway.errors import EngineError
from llm_gateway.upstream.connection import EngineConnection
from llm_gateway.upstream.engine import Engine

MAX_REPLY_BYTES = 4 << 20


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
    request = f"GET {path} HTTP/1.1\r\nhost: {engine.address}\r\n{authorization}connection: close\r\n\r\n"
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


def models_in(body: bytes) -> frozenset[str]:
    """The model names of an OpenAI model list; empty for anything else."""
    try:
        document = msgspec.json.decode(body)
        return frozenset(entry["id"] for entry in document["data"] if isinstance(entry["id"], str) and entry["id"])
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError):
        return frozenset()


async def ask_models(engine: Engine, timeout_s: float) -> frozenset[str]:
    """The models that an engine says it has. Raises EngineError when it does not answer as an engine."""
    status, body = await get(engine, "/v1/models", timeout_s)
    if status != 200:
        raise EngineError("status", f"{engine.address}: GET /v1/models answered {status}")
    return models_in(body)
