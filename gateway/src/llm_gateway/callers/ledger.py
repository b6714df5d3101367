# SPDX-License-Identifier: Apache-2.0
"""The counts that limits need, of keys, models, engines and queues: one record a name, shared by all workers.

A single worker keeps records as objects. Several workers, or one with a `--state-file`, keep them in a memory map: an anonymous file, or the
state file, made before the workers are forked. A hash table in the same memory finds a record by its name; each process looks a name up once.
A record is read and written back under a file lock. The kernel releases the lock of a process that dies, so a killed worker blocks nobody.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from struct import Struct
from typing import Final

from llm_gateway.errors import ConfigError, GatewayError

MAGIC: Final = 0x6C6C6D2D67772D34  # "llm-gw-4"
HEADER: Final = 8  # numbers before the index: magic, workers, slots, records in use
DEFAULT_SLOTS: Final = 1 << 18


class LedgerFull(GatewayError):
    """More names than the memory has records for."""


class Record:
    """The numbers of one name.

    The current minute began at `start`; `requests` and `tokens` count what was admitted in it, the last at `last_at`. `requests_before`,
    `tokens_before` and `before_at` are the same for the minute before. The budget's period began at `budget_start`, and `budget_used` tokens
    were used in it. `used_requests`, `used_prompt` and `used_completion` are totals for the admin API. Times are seconds since the epoch.
    """

    __slots__ = (
        "at",
        "before_at",
        "budget_start",
        "budget_used",
        "in_flight",
        "last_at",
        "requests",
        "requests_before",
        "start",
        "tokens",
        "tokens_before",
        "used_completion",
        "used_prompt",
        "used_requests",
    )

    def __init__(self, at: int = -1) -> None:
        # Compiled, fields lie in memory in this order: what a request reads together stands together.
        self.start = 0.0
        self.requests = 0.0
        self.tokens = 0.0
        self.requests_before = 0.0
        self.tokens_before = 0.0
        self.before_at = 0.0
        self.last_at = 0.0
        self.budget_start = 0.0
        self.budget_used = 0.0
        self.in_flight = 0.0  # of a single worker; others have theirs in the shared memory
        self.used_requests = 0.0
        self.used_prompt = 0.0
        self.used_completion = 0.0
        self.at = at  # where it stands in the shared memory, in doubles


_FIELDS: Final = Struct("12d")
# After the fields: one number in flight for each worker.
IN_FLIGHT: Final = 12


class _Held:
    """A record of the shared memory: read when it is entered, written back when it is left, and nobody else changes it meanwhile."""

    __slots__ = ("_ledger", "_record")

    def __init__(self, ledger: Ledger, record: Record) -> None:
        self._ledger = ledger
        self._record = record

    def __enter__(self) -> None:
        self._ledger.lock(self._record.at)
        self._ledger.read(self._record)

    def __exit__(self, *__: object) -> None:
        self._ledger.write(self._record)
        self._ledger.unlock(self._record.at)


_ITS_OWN: Final = nullcontext()


class Ledger:
    """The records by name. `mapped` tells whether they are in shared memory, `shared` whether other workers change them too."""

    def __init__(self, workers: int = 1, *, path: str = "", slots: int = DEFAULT_SLOTS) -> None:
        self.workers = workers
        self.worker = 0
        self.shared = workers > 1
        self.mapped = self.shared or bool(path)
        self._capacity = slots // 2
        self._known: dict[str, Record] = {}
        self._width = IN_FLIGHT + workers
        self._slots = slots
        # An index entry is a hash and a position; at most half of the entries are used, so that probing stays short.
        self._records_at = HEADER + slots * 2
        self._descriptor = -1
        if self.mapped:
            self._map(path)

    def _map(self, path: str) -> None:
        size = (self._records_at + self._capacity * self._width) * 8
        self._descriptor = self._open(path, size)
        self._memory = mmap.mmap(self._descriptor, size)
        view = memoryview(self._memory)
        self.cells = view.cast("d")
        self._words = view.cast("Q")
        self._empty = memoryview(bytes(8 * self._width)).cast("d")
        stamp = [MAGIC, self.workers, self._slots]
        if self._words[:3].tolist() != stamp:
            self._words[0:3] = memoryview(b"".join(word.to_bytes(8, "little") for word in stamp)).cast("Q")
            self._words[3] = 0
            if path:
                # Written by another version, or for another number of workers: its numbers mean something else.
                self._memory[HEADER * 8 : self._records_at * 8] = bytes((self._records_at - HEADER) * 8)
        for worker in range(self.workers):
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

    # --- finding records

    def record(self, name: str) -> Record:
        """The record of this name; it is made if there was none. Raises LedgerFull."""
        found = self._known.get(name)
        if found is None:
            if self.mapped:
                found = Record(self._find(name))
            else:
                self._check_room(name, len(self._known))
                found = Record()
            self._known[name] = found
        return found

    def peek(self, name: str) -> Record | None:
        """The record of this name as it is now, if there is one."""
        found = self._known.get(name)
        if not self.mapped:
            return found
        if found is None:
            place, wanted = self._place(name)
            if self._words[place] != wanted:
                return None
            found = self._known[name] = Record(int(self._words[place + 1]))
        self.read(found)
        return found

    def _check_room(self, name: str, count: int) -> None:
        # Callers can be many (every tenant of a token is one); models and engines must find room even then.
        if count >= self._capacity or (name.startswith("key:") and count >= self._capacity * 0.9):
            raise LedgerFull(f"no room for more than {self._capacity} keys, models and engines")

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
        self.lock(0)
        try:
            at, wanted = self._place(name)
            if words[at] == wanted:
                return int(words[at + 1])
            count = words[3]
            self._check_room(name, count)
            begins = self._records_at + count * self._width
            self.cells[begins : begins + self._width] = self._empty
            words[at + 1] = begins
            words[at] = wanted
            words[3] = count + 1
            return int(begins)
        finally:
            self.unlock(0)

    # --- changing them

    def held(self, record: Record) -> AbstractContextManager[None]:
        """While the record is looked at and changed."""
        return _Held(self, record) if self.mapped else _ITS_OWN

    def lock(self, at: int) -> None:
        """Wait until no other process holds the record at this place, and hold it."""
        if self.shared:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, at)

    def unlock(self, at: int) -> None:
        """Release what `lock` holds."""
        if self.shared:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, at)

    def read(self, record: Record) -> None:
        """Take a record's numbers from the shared memory."""
        (
            record.start,
            record.requests,
            record.tokens,
            record.requests_before,
            record.tokens_before,
            record.before_at,
            record.last_at,
            record.budget_start,
            record.budget_used,
            record.used_requests,
            record.used_prompt,
            record.used_completion,
        ) = _FIELDS.unpack_from(self._memory, record.at * 8)

    def write(self, record: Record) -> None:
        """Put a record's numbers into the shared memory."""
        _FIELDS.pack_into(
            self._memory,
            record.at * 8,
            record.start,
            record.requests,
            record.tokens,
            record.requests_before,
            record.tokens_before,
            record.before_at,
            record.last_at,
            record.budget_start,
            record.budget_used,
            record.used_requests,
            record.used_prompt,
            record.used_completion,
        )

    # --- requests at once

    def in_flight(self, record: Record) -> float:
        """The sum over all workers."""
        if not self.mapped:
            return record.in_flight
        begins = record.at + IN_FLIGHT
        return sum(self.cells[begins : begins + self.workers])

    def others_in_flight(self, record: Record) -> float:
        """The sum over all workers but this one."""
        return self.in_flight(record) - self.cells[record.at + IN_FLIGHT + self.worker]

    def enter(self, record: Record, limit: float) -> bool:
        """Count one more in flight here, unless the sum over all workers has reached `limit`. True when counted."""
        self.lock(record.at)
        try:
            if self.in_flight(record) >= limit:
                return False
            self.add(record, 1.0)
            return True
        finally:
            self.unlock(record.at)

    def leave(self, record: Record) -> None:
        """Count one less in flight here."""
        self.add(record, -1.0)

    def add(self, record: Record, count: float) -> None:
        """Count so many more in flight here, whatever the sum."""
        if self.mapped:
            self.cells[record.at + IN_FLIGHT + self.worker] += count
        else:
            record.in_flight += count

    def set_mine(self, record: Record, count: float) -> None:
        """So many are in flight here: for whoever counts them itself, and tells the other workers."""
        self.cells[record.at + IN_FLIGHT + self.worker] = count

    def forget_worker(self, worker: int) -> None:
        """A worker is gone: nothing is in flight there."""
        if self.mapped:
            for number in range(self._words[3]):
                self.cells[self._records_at + number * self._width + IN_FLIGHT + worker] = 0.0
