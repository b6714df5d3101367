# SPDX-License-Identifier: Apache-2.0
"""Engines that the settings name."""

from __future__ import annotations

from llm_gateway.registry import Endpoint
from llm_gateway.settings import Settings, engine_address


def static_endpoints(settings: Settings) -> list[Endpoint]:
    """The endpoints of `--engine`. Raises ConfigError."""
    return [Endpoint(host, port, model=settings.model) for host, port in map(engine_address, settings.engine)]
