# SPDX-License-Identifier: Apache-2.0
"""An engine that answers like one, or misbehaves in a way that a test chooses."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class FakeEngine:
    """An asyncio HTTP server. `mode` decides how inference requests are answered; it may change at any time.

    Modes: ok, status:N, close, hang, hang_after_head, cut (drops in the middle), garbage, garbage_stream, not_json, slow.
    """

    def __init__(self, model: str = "tiny", mode: str = "ok", tokens: int = 5, gap_s: float = 0.0) -> None:
        self.model = model
        self.mode = mode
        self.tokens = tokens
        self.gap_s = gap_s
        self.port = 0
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.heads: list[str] = []
        self.aborted = 0
        self.active = 0
        self.most_active = 0
        self.seen = asyncio.Event()
        self.gone = asyncio.Event()
        self.release = asyncio.Event()
        self.health = 200
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=64 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                text = head.decode("latin-1")
                method, path, __ = text.split(" ", 2)
                length = 0
                for line in text.split("\r\n")[1:]:
                    name, __, value = line.partition(":")
                    if name.lower() == "content-length":
                        length = int(value)
                body = await reader.readexactly(length)
                if not await self._answer(method, path, text, body, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, method, path, head, body, reader, writer) -> bool:
        if method == "GET":
            if path == "/v1/models":
                document = {"object": "list", "data": [{"id": self.model, "object": "model"}]}
                writer.write(self._json(self.health, document))
            else:
                writer.write(self._json(self.health, {}))
            return True
        self.requests.append(json.loads(body))
        self.paths.append(path)
        self.heads.append(head)
        self.seen.set()
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        watch = asyncio.create_task(self._watch(reader, writer))
        work = asyncio.create_task(self._work(path, json.loads(body), writer))
        try:
            done, __ = await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
            if work in done and not isinstance(work.exception(), ConnectionError):
                return work.result()
            self.aborted += 1
            self.gone.set()
            return False
        finally:
            self.active -= 1
            for task in (watch, work):
                task.cancel()
            await asyncio.gather(watch, work, return_exceptions=True)

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Returns when the gateway drops the connection."""
        while not reader.at_eof() and not reader.exception() and not writer.is_closing():
            await asyncio.sleep(0.002)

    @staticmethod
    def _json(status: int, document: Any, extra: str = "") -> bytes:
        body = json.dumps(document).encode()
        return (
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )

    async def _work(self, path: str, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        mode = self.mode
        stream = asked.get("stream") is True
        if mode.startswith("status:"):
            status = int(mode[7:])
            writer.write(self._json(status, {"error": {"message": f"engine says {status}"}}))
            return True
        if mode == "close":
            return False
        if mode == "hang":
            await self.release.wait()
            if self.mode == "hang":
                return False
        if mode == "garbage":
            writer.write(b"\x16\x03\x01 this is not HTTP at all\r\n\r\n")
            await writer.drain()
            return False
        if mode == "not_json":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n<html>no<")
            return True
        if stream:
            return await self._stream(path, asked, writer, mode)
        tokens = int(float(asked.get("max_tokens") or self.tokens))  # as pydantic reads a number
        if self.gap_s:
            await asyncio.sleep(self.gap_s * tokens)
        if mode == "cut":
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"id":')
            await writer.drain()
            return False
        writer.write(self._json(200, self.reply(path, asked, tokens)))
        return True

    def reply(self, path: str, asked: dict[str, Any], tokens: int) -> dict[str, Any]:
        text = " ".join(f"w{n}" for n in range(tokens))
        usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if "chat" in path:
            choice["message"] = {"role": "assistant", "content": text}
            kind = "chat.completion"
        else:
            choice["text"] = text
            kind = "text_completion"
        return {"id": "x-1", "object": kind, "created": 1, "model": asked["model"], "choices": [choice], "usage": usage}

    async def _stream(self, path: str, asked: dict[str, Any], writer: asyncio.StreamWriter, mode: str) -> bool:
        def chunk(data: bytes) -> bytes:
            return b"%x\r\n%b\r\n" % (len(data), data)

        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await writer.drain()
        if mode == "hang_after_head":
            await self.release.wait()
            return False
        if mode == "cut_after_head":
            return False
        if mode == "garbage_stream":
            writer.write(chunk(b"<html>this is no event stream</html>"))
            await writer.drain()
            await self.release.wait()
            return False
        tokens = int(float(asked.get("max_tokens") or self.tokens))  # as pydantic reads a number
        for number in range(tokens):
            if mode == "cut" and number == 2:
                return False
            if mode == "stall" and number == 2:
                await self.release.wait()
                return False
            delta = {"delta": {"content": f"w{number} "}} if "chat" in path else {"text": f"w{number} "}
            event = {
                "id": "x-1",
                "object": "chunk",
                "created": 1,
                "model": asked["model"],
                "choices": [{"index": 0, "finish_reason": None, **delta}],
            }
            writer.write(chunk(b"data: " + json.dumps(event).encode() + b"\n\n"))
            await writer.drain()
            await asyncio.sleep(self.gap_s)
        usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
        last = {"delta": {}} if "chat" in path else {"text": ""}
        event = {
            "id": "x-1",
            "object": "chunk",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", **last}],
        }
        writer.write(chunk(b"data: " + json.dumps(event).encode() + b"\n\n"))
        if asked.get("stream_options", {}).get("include_usage"):
            event = {
                "id": "x-1",
                "object": "chunk",
                "created": 1,
                "model": asked["model"],
                "choices": [],
                "usage": usage,
            }
            writer.write(chunk(b"data: " + json.dumps(event).encode() + b"\n\n"))
        writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
        return True
