# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the way to a Kubernetes API."""

from __future__ import annotations

from ...module_utils.errors import LlmOnEksError


class ConnectionError(LlmOnEksError):
    """The Kubernetes API cannot be reached or does not let us in."""
