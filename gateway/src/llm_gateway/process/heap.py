# SPDX-License-Identifier: Apache-2.0
"""Freed memory is kept for the next request.

The C library gives large blocks, and the end of its heap, back to the system as soon as they are free, and the next prompt of a hundred
kilobytes has the system find, clear and map each of its pages anew: a tenth of what such a request costs.
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
