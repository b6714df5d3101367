# SPDX-License-Identifier: Apache-2.0
"""Writes that wait for the end of the loop's turn: all of them come, in order, and few of them do not wait at all."""

from __future__ import annotations

import asyncio

from llm_gateway.http.outbox import UNTIL_NEXT_LOOK, WORTH_GATHERING, Outbox


class Transport:
    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.closed_with: list[bytes] | None = None

    def write(self, data: bytes) -> None:
        assert self.closed_with is None
        self.got.append(data)

    def is_closing(self) -> bool:
        return self.closed_with is not None

    def close(self) -> None:
        self.closed_with = list(self.got)


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_many_writes_of_one_turn_are_done_at_its_end() -> None:
    async def work() -> None:
        outbox, transports = Outbox(), [Transport() for __ in range(WORTH_GATHERING)]
        for __ in range(3):  # turn after turn, as long as there are many
            for transport in transports:
                outbox.put(transport, b"a")
            assert not any(transport.got for transport in transports)
            await turn()
            assert all(transport.got == [b"a"] for transport in transports)
            for transport in transports:
                transport.got.clear()

    asyncio.run(work())


def test_few_writes_are_done_at_once_until_the_next_look() -> None:
    async def work() -> None:
        outbox, transport = Outbox(), Transport()
        outbox.put(transport, b"0")
        await turn()
        for number in range(UNTIL_NEXT_LOOK):
            outbox.put(transport, b"%d" % number)
        assert len(transport.got) == 1 + UNTIL_NEXT_LOOK
        outbox.put(transport, b"gathered")
        assert transport.got[-1] != b"gathered"
        await turn()
        assert transport.got[-1] == b"gathered"

    asyncio.run(work())


def test_a_transport_gets_its_writes_in_order_whatever_they_wait_for() -> None:
    async def work() -> None:
        outbox, one, other = Outbox(), Transport(), Transport()
        sent: list[bytes] = []
        for number in range(1000):
            for __ in range(number % 7):
                outbox.put(other, b"x")
            sent.append(b"%d" % number)
            outbox.put(one, sent[-1])
            if number % 3 == 0:
                await asyncio.sleep(0)
        await turn()
        assert one.got == sent
        assert len(other.got) == sum(number % 7 for number in range(1000))

    asyncio.run(work())


def test_what_was_written_goes_out_before_the_close_and_nothing_after_it() -> None:
    async def work() -> None:
        outbox, transport, gone = Outbox(), Transport(), Transport()
        outbox.put(gone, b"late")
        gone.close()
        outbox.put(transport, b"last words")
        outbox.close(transport)
        assert transport.closed_with == [b"last words"]
        outbox.put(transport, b"too late")
        await turn()
        assert transport.got == [b"last words"]
        assert gone.got == []

    asyncio.run(work())


def test_what_a_write_leads_to_does_not_overtake_it() -> None:
    async def work() -> None:
        outbox, transport = Outbox(), Transport()

        class Answering(Transport):
            def write(self, data: bytes) -> None:
                super().write(data)
                outbox.put(transport, b"2")

        outbox.put(Answering(), b"question")
        outbox.put(transport, b"1")
        await turn()
        await turn()
        assert transport.got == [b"1", b"2"]

    asyncio.run(work())
