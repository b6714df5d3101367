# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API server as far as EndpointSlices go; it can lose, repeat and reorder events, break watches, and forget versions."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from urllib.parse import parse_qs, urlsplit


def make_slice(name: str, version: int, addresses: list[dict[str, Any]], **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": str(version), "labels": {"llm.on-eks/engine": "vllm", **labels}},
        "endpoints": addresses,
        "ports": [{"name": "metrics", "port": 1}, {"name": "http", "port": 8000}],
    }


def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "targetRef": {"name": f"pod-{address}"}}


class FakeApiServer:
    """Keeps the truth in `slices`; `chaos` is the chance that an event goes wrong."""

    def __init__(self, chaos: float = 0.0, seed: int = 1, page: int = 500) -> None:
        self.slices: dict[str, dict[str, Any]] = {}
        self.version = 1
        self.chaos = chaos
        self.lists = 0
        self.watches = 0
        self.gone = False
        self.port = 0
        self.page = page
        self.unavailable = False
        self._chance = random.Random(seed)
        self._watchers: set[asyncio.Queue[bytes | None]] = set()
        self._held: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- changes

    def put(self, name: str, addresses: list[dict[str, Any]], **labels: str) -> None:
        self.version += 1
        kind = "MODIFIED" if name in self.slices else "ADDED"
        self.slices[name] = make_slice(name, self.version, addresses, **labels)
        self._tell(kind, self.slices[name])

    def delete(self, name: str) -> None:
        self.version += 1
        item = self.slices.pop(name)
        self._tell("DELETED", {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}})

    def _tell(self, kind: str, item: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
        if self._chance.random() < self.chaos:
            wrong = self._chance.choice(("lose", "repeat", "hold", "break", "nonsense"))
            if wrong == "lose":
                return
            if wrong == "hold":
                self._held.append(line)
                return
            if wrong == "break":
                self.break_watches()
                return
            if wrong == "nonsense":
                line = b'{"type": "MODIFIED", "object": 7}\n'
            else:
                line += line
        elif self._held and self._chance.random() < 0.5:
            line += self._held.pop(0)
        for watcher in self._watchers:
            watcher.put_nowait(line)

    def break_watches(self) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(None)

    # --- HTTP

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            url = urlsplit(head.split(" ")[1])
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if self.unavailable:
                writer.write(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")
            elif query.get("watch"):
                await self._watch(query, writer)
            else:
                self._list(query, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if self.chaos and self._chance.random() < 0.2 else writer.close()

    def _list(self, query: dict[str, str], writer: asyncio.StreamWriter) -> None:
        start = int(query.get("continue", "0"))
        if not start:
            self.lists += 1
        names = sorted(self.slices)
        metadata = {"resourceVersion": str(self.version)}
        if start + self.page < len(names):
            metadata["continue"] = str(start + self.page)
        items = [self.slices[name] for name in names[start : start + self.page]]
        body = json.dumps({"kind": "EndpointSliceList", "metadata": metadata, "items": items}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async def _watch(self, query: dict[str, str], writer: asyncio.StreamWriter) -> None:
        self.watches += 1
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

        def line(data: bytes) -> None:
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))

        if self.gone:
            self.gone = False
            line(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n')
            writer.write(b"0\r\n\r\n")
            return
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            async with asyncio.timeout(float(query["timeoutSeconds"])):
                while True:
                    data = await queue.get()
                    if data is None:
                        return
                    line(data)
                    await writer.drain()
        except TimeoutError:
            bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}}
            line(json.dumps(bookmark).encode() + b"\n")
            writer.write(b"0\r\n\r\n")
        finally:
            self._watchers.discard(queue)
