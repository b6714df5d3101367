# SPDX-License-Identifier: Apache-2.0
"""What a busy worker writes, gathered over one turn of the event loop and written at its end.

Every write wakes whoever reads at the other end. One that is woken for each reply by itself goes to sleep again before the next one comes, and
waking it is among the dearest things that a write does; one that finds many replies at once stays awake. So where a turn of the loop has
many writes, they wait for its end; where it has few, waiting would only cost a look at the sockets more.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

# Fewer writes in one turn of the loop are not worth gathering.
WORTH_GATHERING: Final = 4
# So many writes are done at once before the next turn's are gathered, to see how many they are.
UNTIL_NEXT_LOOK: Final = 64


class Outbox:
    """The writes of one worker, to transports of any kind. Those to one transport keep their order."""

    __slots__ = ("_at_once", "_pieces", "_transports")

    def __init__(self) -> None:
        self._transports: list[Any] = []
        self._pieces: list[bytes] = []
        self._at_once = 0

    def put(self, transport: Any, data: bytes) -> None:
        """Write `data`, now or at the end of the loop's turn."""
        if self._at_once > 0:
            self._at_once -= 1
            transport.write(data)
            return
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self._end_of_turn)
        self._transports.append(transport)
        self._pieces.append(data)

    def flush(self) -> None:
        """Write what is waiting: something else is about to be done with one of the transports."""
        transports, self._transports = self._transports, []
        pieces, self._pieces = self._pieces, []
        # Asked of all first: those of many engines are in none of the processor's caches, and so it fetches them at once.
        closing = [transport.is_closing() for transport in transports]
        for number, transport in enumerate(transports):
            if not closing[number]:
                transport.write(pieces[number])

    def close(self, transport: Any) -> None:
        """Close after what was written before."""
        self.flush()
        transport.close()

    def _end_of_turn(self) -> None:
        few = len(self._pieces) < WORTH_GATHERING
        self.flush()
        # Not while anything waits that a write above may have led to: it would be overtaken.
        if few and not self._pieces:
            self._at_once = UNTIL_NEXT_LOOK
