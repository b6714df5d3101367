# SPDX-License-Identifier: Apache-2.0
"""Engines that the settings name."""

from __future__ import annotations

from llm_gateway.callers.admission import read_secret
from llm_gateway.config import engine_url
from llm_gateway.config.settings import Settings
from llm_gateway.engines.address import tls_context
from llm_gateway.engines.registry import Endpoint


def static_endpoints(settings: Settings) -> list[Endpoint]:
    """The endpoints of `--engine`. Raises ConfigError, also for a file that cannot be read."""
    found = []
    for engine in engine_url.read_all(settings.engine):
        read_secret(engine.key_file)
        if engine.secure:
            tls_context(engine.ca_file)
        found.append(
            Endpoint(
                engine.host,
                engine.port,
                name=engine.name,
                kind=engine.kind,
                models=engine.models or tuple(name for name in (settings.model,) if name),
                weight=engine.weight,
                path=engine.path,
                secure=engine.secure,
                key_file=engine.key_file,
                ca_file=engine.ca_file,
            )
        )
    return found
