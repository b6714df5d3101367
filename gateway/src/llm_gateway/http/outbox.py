# SPDX-License-Identifier: Apache-2.0
"""Writes to sockets, gathered over one turn of the event loop and done at its end.

A write wakes the process that reads at the other end. Waking it is expensive, and it happens once for each reply when replies are written one by
one. When many replies are written together, the reader stays awake for all of them. So a turn with many writes does them at its end. A turn
with few does them at once: nothing would be gained by waiting.
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
        """Write what is gathered. To be called before anything else is done with a transport."""
        transports, self._transports = self._transports, []
        pieces, self._pieces = self._pieces, []
        # First a loop that only reads each transport (README, "Memory in no cache").
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
        # Not if a write has led to new ones that are gathered now: later writes would overtake them.
        if few and not self._pieces:
            self._at_once = UNTIL_NEXT_LOOK
