# SPDX-License-Identifier: Apache-2.0
"""A bug that is none, for the test that this fuzzer finds bugs: one input of 2**32, unless the branches taken on the way lead there."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.target import Target


def _wrong(data: bytes) -> bool:
    if data[0:1] == b"b":  # noqa: SIM102  each a branch that can be seen
        if data[1:2] == b"u":  # noqa: SIM102
            if data[2:3] == b"g":
                return data[3:4] == b"!"
    return False


def make() -> Callable[[bytes], None]:
    """See Target."""

    def check(data: bytes) -> None:
        assert not _wrong(data), "planted"

    return check


PLANTED = Target(make, (b"seed",))
