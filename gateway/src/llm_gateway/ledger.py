# SPDX-License-Identifier: Apache-2.0
"""Numbers that all worker processes share: one record of doubles per key, model or engine, in memory they all map.

The memory is an anonymous file (or the file of `--state-file`, so that budgets outlive a restart), made before the workers are forked; a
single worker without that file has it for itself.
A record is found through a hash table in the same memory, once per process and name; after that it is an offset. Changes that must be
exact take a file lock on the record: the kernel gives it back when its holder dies, so a killed worker can never block the others. A
single worker needs no lock.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from typing import Final

from llm_gateway.errors import ConfigError, GatewayError

# What stands where in a record. A window: start of the current minute (s since the epoch), count of the one before, count of this one, time
# of the last count in the one before, and in this one.
REQUESTS: Final = 0
TOKENS: Final = 5
BUDGET: Final = 10  # start of the period, tokens used in it
USED_REQUESTS: Final = 12
USED_PROMPT: Final = 13
USED_COMPLETION: Final = 14
IN_FLIGHT: Final = 15  # from here on: one number for each worker; with one, a record is two cache lines

MAGIC: Final = 0x6C6C6D2D67772D33  # "llm-gw-3"
HEADER: Final = 8  # numbers before the index: magic, workers, slots, records in use
DEFAULT_SLOTS: Final = 1 << 18


class LedgerFull(GatewayError):
    """More names than the memory has records for."""


class _RecordLock:
    __slots__ = ("_descriptor", "_record")

    def __init__(self, descriptor: int, record: int) -> None:
        self._descriptor = descriptor
        self._record = record

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, self._record)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._record)


_NO_LOCK: Final = nullcontext()


class Ledger:
    """The shared records. `cells` is all of them as doubles; `record(name)` says where one begins."""

    def __init__(self, workers: int = 1, *, path: str = "", slots: int = DEFAULT_SLOTS) -> None:
        self.workers = workers
        self.worker = 0
        self.shared = workers > 1
        self.width = IN_FLIGHT + workers
        self._slots = slots
        # An index entry is a hash and a position; at most half of the entries are used, so that probing stays short.
        self._records_at = HEADER + slots * 2
        self._capacity = slots // 2
        size = (self._records_at + self._capacity * self.width) * 8
        if path or self.shared:
            self._descriptor = self._open(path, size)
            self._memory = mmap.mmap(self._descriptor, size)
        else:
            # Private memory can be in huge pages.
            self._descriptor = -1
            self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        view = memoryview(self._memory)
        self.cells = view.cast("d")
        self._words = view.cast("Q")
        self._known: dict[str, int] = {}
        self._empty = memoryview(bytes(8 * self.width)).cast("d")
        stamp = [MAGIC, workers, slots]
        if self._words[:3].tolist() != stamp:
            self._words[0:3] = memoryview(b"".join(word.to_bytes(8, "little") for word in stamp)).cast("Q")
            self._words[3] = 0
            if path:
                # Written by another version, or for another number of workers: its numbers mean something else.
                self._memory[HEADER * 8 : self._records_at * 8] = bytes((self._records_at - HEADER) * 8)
        for worker in range(workers):
            self.forget_worker(worker)

    @staticmethod
    def _open(path: str, size: int) -> int:
        if not path:
            descriptor = os.memfd_create("llm-gateway")
        else:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ConfigError(f"state file {path}: cannot be opened: {error.strerror}") from error
        os.ftruncate(descriptor, size)
        return descriptor

    def record(self, name: str) -> int:
        """Where the record of this name begins; it is made if there was none. Raises LedgerFull."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._find(name)
        return found

    def _place(self, name: str) -> tuple[int, int]:
        """Where the index has, or would have, this name; and its hash."""
        wanted = int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "little") or 1
        place = wanted % self._slots
        while True:
            at = HEADER + place * 2
            if self._words[at] in (0, wanted):
                return at, wanted
            place = (place + 1) % self._slots

    def _find(self, name: str) -> int:
        words = self._words
        with self.lock(0):
            at, wanted = self._place(name)
            if words[at] == wanted:
                return int(words[at + 1])
            count = words[3]
            # Callers can be many (every tenant of a token is one); models and engines must find room even then.
            if count >= self._capacity or (name.startswith("key:") and count >= self._capacity * 0.9):
                raise LedgerFull(f"no room for more than {self._capacity} keys, models and engines")
            begins = self._records_at + count * self.width
            self.cells[begins : begins + self.width] = self._empty
            words[at + 1] = begins
            words[at] = wanted
            words[3] = count + 1
            return int(begins)

    def peek(self, name: str) -> int | None:
        """Where the record of this name begins, if there is one."""
        found = self._known.get(name)
        if found is None:
            place, wanted = self._place(name)
            if self._words[place] != wanted:
                return None
            found = self._known[name] = int(self._words[place + 1])
        return found

    def lock(self, record: int) -> AbstractContextManager[None]:
        """Nobody else changes this record meanwhile."""
        return _RecordLock(self._descriptor, record) if self.shared else _NO_LOCK

    def in_flight(self, record: int) -> float:
        """The sum over all workers."""
        if not self.shared:
            return float(self.cells[record + IN_FLIGHT])
        begins = record + IN_FLIGHT
        return sum(self.cells[begins : begins + self.workers])

    def mine(self, record: int) -> int:
        """Where this worker's own number in flight is."""
        return record + IN_FLIGHT + self.worker

    def others_in_flight(self, record: int) -> float:
        """The sum over all workers but this one."""
        return self.in_flight(record) - self.cells[self.mine(record)]

    def enter(self, record: int, limit: float) -> bool:
        """Count one more in flight here, unless the sum over all workers has reached `limit`. True when counted."""
        cells = self.cells
        mine = self.mine(record)
        if not self.shared:
            if cells[mine] >= limit:
                return False
            cells[mine] += 1
            return True
        with self.lock(record):
            if self.in_flight(record) >= limit:
                return False
            cells[mine] += 1
            return True

    def leave(self, record: int) -> None:
        """Count one less in flight here."""
        self.cells[self.mine(record)] -= 1

    def forget_worker(self, worker: int) -> None:
        """A worker is gone: nothing is in flight there."""
        for number in range(self._words[3]):
            self.cells[self._records_at + number * self.width + IN_FLIGHT + worker] = 0.0
