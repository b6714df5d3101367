# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while a model is fetched, with a sentence to act on."""

from __future__ import annotations

from ..errors import LlmOnEksError


class SyncError(LlmOnEksError):
    """A model cannot be fetched."""


class UnknownSourceError(SyncError):
    """A source or a revision that has no valid form."""


class AccessError(SyncError):
    """The server requires a token, or refuses the given one."""


class MissingError(SyncError):
    """There is no such repository, revision or file."""


class ServerError(SyncError):
    """The server could not be reached, or kept failing."""


class ContentError(SyncError):
    """The content differs from what was announced; nothing was published."""


class SpaceError(SyncError):
    """The volume is too small."""
