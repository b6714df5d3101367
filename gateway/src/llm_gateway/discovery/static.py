# SPDX-License-Identifier: Apache-2.0
"""Engines that the settings name."""

from __future__ import annotations

from llm_gateway.config.settings import Settings, engine_address, engine_options
from llm_gateway.engines.registry import Endpoint


def static_endpoints(settings: Settings) -> list[Endpoint]:
    """The endpoints of `--engine`. Raises ConfigError."""
    found = []
    for url in settings.engine:
        host, port = engine_address(url)
        options = engine_options(url)
        found.append(
            Endpoint(
                host,
                port,
                name=options.get("name", ""),
                kind=options.get("kind", ""),
                model=options.get("model", settings.model),
                weight=float(options.get("weight", "1")),
            )
        )
    return found
