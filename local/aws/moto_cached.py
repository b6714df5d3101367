# SPDX-License-Identifier: Apache-2.0
"""What moto works out anew at every request, though it never changes: a tenth of the emulator's time."""

from __future__ import annotations

import functools

from moto import backends
from moto.core import responses


@functools.cache
def remember() -> None:
    """Have moto list its folders, and the methods of its classes, once."""
    modules = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)
