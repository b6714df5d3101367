# SPDX-License-Identifier: Apache-2.0
"""The order of waiting requests: classes by strict priority, and within a class each tenant its share. No I/O.

Within a class the tenant with the smallest virtual counter is served, and pays for it: the counter grows by the request's cost in tokens
divided by the tenant's weight, and by what the answer cost beyond the estimate when it ends. A tenant that was away begins at the smallest
counter of those who wait, so nobody saves up a right to a burst (virtual token counter, https://arxiv.org/abs/2401.00588). A request that
has waited half of its time moves up a class, so that strict priority starves nobody for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

# Counters of tenants that nobody remembers are dropped beyond this many.
REMEMBERED_TENANTS: Final = 100_000


class Entry(Protocol):
    """A request that can wait. `rank` 0 is the most urgent class; `cost` is its estimate in tokens."""

    rank: int
    cost: float

    @property
    def tenant(self) -> str:
        """Who shares with whom."""

    @property
    def weight(self) -> float:
        """The tenant's share against others'."""


EntryT = TypeVar("EntryT", bound=Entry)


class FairQueue(Generic[EntryT]):
    """Waiting requests in the order in which they should be served."""

    def __init__(self) -> None:
        # rank → tenant → its requests in order of arrival
        self._ranks: dict[int, dict[str, deque[EntryT]]] = {}
        self._spent: dict[str, float] = {}
        self._count = 0
        self._head: EntryT | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[EntryT]:
        for rank in sorted(self._ranks):
            for line in self._ranks[rank].values():
                yield from line

    def push(self, entry: EntryT) -> None:
        """Add a request at the end of its tenant's line."""
        lines = self._ranks.setdefault(entry.rank, {})
        line = lines.get(entry.tenant)
        if line is None:
            waiting = [self._spent.get(tenant, 0.0) for others in self._ranks.values() for tenant in others]
            if waiting:
                floor = min(waiting)
                if self._spent.get(entry.tenant, 0.0) < floor:
                    self._spent[entry.tenant] = floor
            line = lines[entry.tenant] = deque()
        line.append(entry)
        self._count += 1
        self._head = None

    def peek(self) -> EntryT | None:
        """The request that is next; None when none waits."""
        if self._head is None and self._count:
            lines = self._ranks[min(self._ranks)]
            spent = self._spent
            self._head = lines[min(lines, key=lambda tenant: spent.get(tenant, 0.0))][0]
        return self._head

    def pop(self) -> EntryT:
        """Remove the next request; its tenant is charged the estimate."""
        entry = self.peek()
        if entry is None:
            raise IndexError("nobody waits")
        self.remove(entry)
        self.charge(entry, entry.cost)
        return entry

    def remove(self, entry: EntryT) -> bool:
        """Remove a request. True when it was there."""
        lines = self._ranks.get(entry.rank)
        line = lines.get(entry.tenant) if lines is not None else None
        if lines is None or line is None or entry not in line:
            return False
        line.remove(entry)
        if not line:
            del lines[entry.tenant]
            if not lines:
                del self._ranks[entry.rank]
        self._count -= 1
        self._head = None
        return True

    def promote(self, entry: EntryT) -> None:
        """Move up a class."""
        if entry.rank > 0 and self.remove(entry):
            entry.rank -= 1
            self.push(entry)

    def charge(self, entry: EntryT, tokens: float) -> None:
        """Count what a tenant got (or, negative, did not get after all)."""
        if len(self._spent) > REMEMBERED_TENANTS:
            self._spent.clear()
        self._spent[entry.tenant] = max(0.0, self._spent.get(entry.tenant, 0.0) + tokens / entry.weight)
        self._head = None
