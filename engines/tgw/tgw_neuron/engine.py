# SPDX-License-Identifier: Apache-2.0
"""The state of this process: what is loaded, whether it serves, and what it counts."""

from __future__ import annotations

import logging
import time
from typing import Any

from .adapter import NeuronModel
from .admission import Admission
from .metrics import EngineMetrics, Gauge
from .settings import Settings

log = logging.getLogger(__package__)


class Engine:
    """`model`: what upstream has loaded, whatever its loader; None before."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, EngineMetrics()
        self.admission = Admission(settings.queue_max, settings.queue_timeout_s)
        self.model: Any = None
        self.name, self.loader, self.load_seconds, self.failed = "", "", 0.0, ""
        self.metrics.gauges = [
            Gauge("textgen_requests_in_flight", "Requests that generate.", lambda: [({}, self.admission.in_flight)]),
            Gauge(
                "textgen_requests_queued", "Requests that wait for their turn.", lambda: [({}, self.admission.queued)]
            ),
            Gauge("textgen_model_load_seconds", "What loading took.", lambda: [({}, self.load_seconds)]),
            Gauge(
                "textgen_model_info", "What is loaded.", lambda: [(self.info(), 1)] if self.model is not None else []
            ),
        ]

    @property
    def neuron(self) -> NeuronModel | None:
        return self.model if isinstance(self.model, NeuronModel) else None

    def loaded(self, name: str, loader: str, model: Any, started: float) -> None:
        """A model is there; one of ours has to answer a real token first."""
        if isinstance(model, NeuronModel):
            model.answer_once()
        self.model, self.name, self.loader, self.failed = model, name, loader, ""
        self.load_seconds = time.monotonic() - started
        log.info("model %s loaded by %s in %.1f s", name, loader, self.load_seconds)

    def unloaded(self) -> None:
        self.model = None

    def info(self) -> dict[str, str]:
        backend = self.neuron.backend.name if self.neuron else ""
        return {"model": self.name, "loader": self.loader, "backend": backend}

    def unhealthy(self) -> str:
        """Why this process should be started again; empty when it should not."""
        silent = self.neuron.silent_s() if self.neuron else 0.0
        limit = self.settings.hang_s
        return f"no token for {silent:.0f} s" if limit and silent > limit else ""

    def not_ready(self) -> str:
        """Why nobody should be sent here; empty when all is well."""
        if self.admission.draining:
            return "stopping"
        if self.model is None:
            return self.failed or "no model is loaded"
        return self.unhealthy()
