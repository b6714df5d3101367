# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between a chart's name and its documents."""

from __future__ import annotations

import re

from ...module_utils.errors import LlmOnEksError


class ChartError(LlmOnEksError):
    """A chart could not be had, or could not be rendered."""


def redacted(address: str) -> str:
    """An address without the user and password in it, fit to be shown."""
    return re.sub(r"//[^/@\s]+@", "//", address)
