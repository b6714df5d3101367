# SPDX-License-Identifier: Apache-2.0
"""Keeps freed memory for the next request.

By default the C library returns large blocks to the system as soon as they are free. The next large prompt then needs new pages, which the system
has to find and clear: a tenth of the cost of a request of 100 kB.
"""

from __future__ import annotations

import ctypes

# https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# Larger blocks are rare, and go back at once.
MMAP_BYTES = 4 << 20
# So much that is free may stay.
TRIM_BYTES = 16 << 20


def keep_freed() -> bool:
    """Have the C library keep what is freed. False where it is another one than GNU's, which are left as they are."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES))
