# SPDX-License-Identifier: Apache-2.0
"""Memory in huge pages.

With many keys and models, a request reads a little of hundreds of megabytes. With pages of 4 kB nearly every read misses the TLB; with pages of
2 MB few do. Most Linux systems use huge pages only where a program asks for them (transparent_hugepage=madvise). This module asks for blocks
that are in use nearly as a whole, so that memory hardly grows.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

HUGE = 2 << 20
PAGE = 4096
# Of a block of 512 pages, so many must be there already.
DENSE = 384
# https://man7.org/linux/man-pages/man2/madvise.2.html: since Linux 6.1; waits, without this process' other threads, for what it does.
MADV_COLLAPSE = 25
# The last byte of an entry of /proc/PID/pagemap: present (bit 63), and mapped by this process alone (bit 56).
PRESENT_AND_OWN = b"\x81"


class Unavailable(Exception):
    """This system does not make huge pages on demand."""


def collapse() -> int:
    """Have dense blocks of this process' own memory made huge pages; how many of them are. Raises Unavailable."""
    if os.sysconf("SC_PAGE_SIZE") != PAGE:
        raise Unavailable("pages are not of 4 kB")
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    made = refused = 0
    try:
        pages = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"/proc/self/pagemap: {error.strerror}") from error
    try:
        for block in list(_blocks()):
            entries = os.pread(pages, HUGE // PAGE * 8, block // PAGE * 8)
            if entries[7::8].count(PRESENT_AND_OWN) < DENSE:
                continue
            # One that is huge already costs a microsecond.
            if madvise(block, HUGE, MADV_COLLAPSE) == 0:
                made += 1
            elif ctypes.get_errno() == errno.EINVAL:
                refused += 1
            # Else there is no block of free memory now, or this one has just gone.
    finally:
        os.close(pages)
    if refused and not made:
        raise Unavailable("madvise refuses MADV_COLLAPSE")
    return made


def _blocks() -> Iterator[int]:
    """Where blocks of private anonymous memory begin that could be a huge page each."""
    with Path("/proc/self/maps").open(encoding="ascii", errors="replace") as maps:
        for line in maps:
            span, rights, __, __, inode, *name = line.split()
            if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
                start, end = (int(address, 16) for address in span.split("-"))
                yield from range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE)
