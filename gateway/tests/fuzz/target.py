# SPDX-License-Identifier: Apache-2.0
"""What a target is, and how its inputs are taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

CUTS = 3


@dataclass(frozen=True)
class Target:
    """`make` is called once, what it gives for every input: that raises where the code under test is wrong.

    `seeds` are inputs to begin with, `words` what mutations put in."""

    make: Callable[[], Callable[[bytes], None]]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def seed(payload: bytes, choice: int = 0, cuts: bytes = b"\x20\x60\xb0") -> bytes:
    """An input of a target that takes its inputs apart with `parts`."""
    return bytes([choice]) + cuts + payload


def parts(data: bytes) -> tuple[int, bytes, list[bytes]]:
    """(a number to choose by, the payload, the payload in pieces): the first byte chooses, the next three say where to cut."""
    choice = data[0] if data else 0
    payload = data[1 + CUTS :]
    return choice, payload, list(pieces_of(payload, data[1 : 1 + CUTS]))


def pieces_of(payload: bytes, cuts: bytes) -> Iterable[bytes]:
    """The payload, cut where the bytes of `cuts` say, in 256ths of it."""
    start = 0
    for end in [*sorted(len(payload) * cut // 256 for cut in cuts), len(payload)]:
        if end > start:
            yield payload[start:end]
            start = end
