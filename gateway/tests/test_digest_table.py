# SPDX-License-Identifier: Apache-2.0
"""The table of keys does what a dictionary does, in Python and (see test_compiled) in C."""

from __future__ import annotations

import gc
import random
import weakref
from hashlib import sha256

import pytest

from llm_gateway.callers.digest_table import DigestTable


class Thing:
    pass


def digest(number: int) -> bytes:
    return sha256(str(number).encode()).digest()


def test_it_is_a_dictionary() -> None:
    chance = random.Random(1)
    table, like = DigestTable(), {}
    assert len(table) == 0
    for step in range(20_000):
        key = digest(chance.randrange(9000))
        table.prefetch_slot(key)
        table.prefetch_value(key)
        assert table.get(key) is like.get(key)
        if chance.random() < 0.7:
            like[key] = (step,)
            table.put(key, like[key], *([step] * chance.randrange(4)))
        assert len(table) == len(like)
    assert all(table.get(key) is value for key, value in like.items())
    table.clear()
    assert len(table) == 0
    assert all(table.get(key) is None for key in like)
    table.put(digest(1), "again")
    assert table.get(digest(1)) == "again"


def test_digests_that_begin_alike_are_told_apart() -> None:
    table = DigestTable()
    keys = [bytes(31) + bytes([number]) for number in range(200)]
    for key in keys:
        table.put(key, key)
    assert [table.get(key) for key in keys] == keys
    assert table.get(bytes(30) + b"\1\0") is None


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33)])
def test_only_digests_are_kept(wrong: bytes) -> None:
    table = DigestTable()
    with pytest.raises(ValueError, match="32 bytes"):
        table.put(wrong, 1)
    table.prefetch_slot(wrong)
    table.prefetch_value(wrong)
    assert table.get(wrong) is None


def test_what_is_replaced_cleared_or_dropped_is_free() -> None:
    def kept() -> list[bool]:
        return [reference() is not None for reference in references]

    table = DigestTable()
    things = [Thing() for __ in range(3)]
    references = [weakref.ref(thing) for thing in things]
    for number, thing in enumerate(things):
        table.put(digest(number), thing)
    del thing
    things.clear()
    assert kept() == [True, True, True]
    table.put(digest(0), None)
    assert kept() == [False, True, True]
    table.clear()
    assert kept() == [False, False, False]


def test_a_table_in_a_circle_is_collected() -> None:
    thing = Thing()
    thing.table = DigestTable()
    thing.table.put(digest(1), thing)
    reference = weakref.ref(thing)
    del thing
    gc.collect()
    assert reference() is None


def test_a_value_that_comes_back_to_the_table_while_it_goes_finds_it_in_order() -> None:
    table = DigestTable()
    seen = []

    class Returning:
        def __del__(self) -> None:
            seen.append(len(table))
            table.put(digest(2), "from within")

    table.put(digest(1), Returning())
    table.put(digest(1), "other")
    assert (seen, table.get(digest(1)), table.get(digest(2))) == ([1], "other", "from within")
    table.put(digest(1), Returning())
    table.clear()
    assert seen[-1] == 0
    assert len(table) == 1
