# SPDX-License-Identifier: Apache-2.0
"""The one exception family of the collection."""

from __future__ import annotations


class LlmOnEksError(Exception):
    """What failed, on which object, why, and what to do about it, as one sentence a user can act on."""
