# SPDX-License-Identifier: Apache-2.0
"""The one exception of the image builder."""

from __future__ import annotations


class ImageError(Exception):
    """Which image could not be made, why, and what to do about it."""
