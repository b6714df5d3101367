# SPDX-License-Identifier: Apache-2.0
"""Questions between worker processes: metrics to add up, commands to carry out. Unix sockets in a folder that only they can read."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOG = logging.getLogger("llm_gateway")
ANSWER_TIMEOUT_S = 2.0
MAX_QUESTION_BYTES = 64 << 10


@dataclass(frozen=True)
class Family:
    """Where this worker stands: the folder of the sockets, its number, how many there are, and the supervisor's process id."""

    folder: Path
    number: int
    count: int
    parent: int

    def snapshot_file(self, number: int | None = None) -> Path:
        """Where a worker (this one, unless another is named) keeps its counts, for the one that comes after it."""
        return self.folder / f"metrics-{self.number if number is None else number}"

    def orphaned(self) -> bool:
        """Whether the supervisor is gone."""
        return os.getppid() != self.parent

    def _socket(self, number: int) -> str:
        return str(self.folder / f"worker-{number}.sock")

    async def listen(self, answer: Callable[[str], bytes]) -> asyncio.AbstractServer:
        """Answer the siblings' questions."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    question = (await reader.readline()).decode().strip()
                    writer.write(answer(question))
                    await writer.drain()
            except (OSError, TimeoutError, ValueError) as error:
                LOG.warning("a sibling's question was not answered: %r", error)
            finally:
                writer.close()

        path = Path(self._socket(self.number))
        path.unlink(missing_ok=True)
        return await asyncio.start_unix_server(serve, str(path), limit=MAX_QUESTION_BYTES)

    async def ask(self, question: str) -> dict[int, bytes | None]:
        """What all others answer, by their numbers; None from one that does not answer in time."""
        others = [number for number in range(self.count) if number != self.number]
        answers = await asyncio.gather(*(self._ask(number, question) for number in others))
        return dict(zip(others, answers, strict=True))

    async def _ask(self, number: int, question: str) -> bytes | None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._socket(number))
                try:
                    writer.write(question.encode() + b"\n")
                    return await reader.read(-1)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return None
