# SPDX-License-Identifier: Apache-2.0
"""Memory that is in use as a whole is in huge pages; other memory does not grow for it."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import pytest
from gateway_support.house import House
from gateway_support.process import Process

from llm_gateway.process.huge_pages import HUGE, PAGE, Unavailable, collapse

pytestmark = pytest.mark.programs

BLOCKS = 4


def mapping() -> tuple[mmap.mmap, int]:
    """Private memory, and where in it a block begins that may be one huge page."""
    memory = mmap.mmap(-1, BLOCKS * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return memory, -address % HUGE


def resident(memory: mmap.mmap, start: int) -> int:
    """How many pages of the block at `start` there are."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + start
    descriptor = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        entries = os.pread(descriptor, HUGE // PAGE * 8, address // PAGE * 8)
    finally:
        os.close(descriptor)
    return sum(byte >> 7 for byte in entries[7::8])


def huge_kb() -> int:
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("AnonHugePages"))


def test_what_is_in_use_is_in_huge_pages_and_what_is_not_stays_small() -> None:
    try:
        collapse()
    except Unavailable as why:
        pytest.skip(str(why))
    dense, begin = mapping()
    sparse, place = mapping()
    for at in range(0, len(dense), PAGE):
        dense[at] = 1
    for at in range(0, 100 * PAGE, PAGE):
        sparse[place + at] = 1
    before_kb = huge_kb()
    assert collapse() >= BLOCKS - 1
    assert huge_kb() - before_kb >= (BLOCKS - 1) * HUGE // 1024
    assert resident(dense, begin) == HUGE // PAGE
    assert resident(sparse, place) == 100
    assert dense[begin] == dense[begin + HUGE - PAGE] == 1


def test_pages_that_another_process_shares_are_left_alone() -> None:
    try:
        collapse()
    except Unavailable as why:
        pytest.skip(str(why))
    memory, begin = mapping()
    for at in range(0, len(memory), PAGE):
        memory[at] = 1
    go, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(done[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    try:
        os.read(done[0], 1)
        before_kb = huge_kb()
        collapse()
        assert huge_kb() - before_kb < HUGE // 1024 * (BLOCKS - 1)
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)
    collapse()
    assert huge_kb() - before_kb >= HUGE // 1024 * (BLOCKS - 1)
    assert memory[begin] == 1


def test_no_thread_stays_behind(house: House) -> None:
    engine = house.engine()
    with Process(house.folder, "--engine", engine.url) as front:
        assert front.chat().status == 200
        tasks = Path(f"/proc/{front.popen.pid}/task")
        until = time.monotonic() + 5
        while len(list(tasks.iterdir())) > 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(list(tasks.iterdir())) == 1
