# SPDX-License-Identifier: Apache-2.0
"""What upstream's Transformers path takes for a model: generate(), a device, and nothing that would call for logits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from .backends import Backend
from .errors import GenerationError, OverlayError, RequestError
from .metrics import EngineMetrics
from .sampling import needs_scores, not_supported, sampling_of
from .ticket import Ticket

log = logging.getLogger(__package__)


class NeuronModel:
    """One generation at a time. `ticket` is the request that the next generate() belongs to."""

    def __init__(self, backend: Backend, metrics: EngineMetrics) -> None:
        import torch

        self._torch = torch
        self.backend, self._metrics = backend, metrics
        # Token ids stay on the host: upstream's encode() then moves them nowhere.
        self.device = torch.device("cpu")
        # Upstream's chat reads it for `usage`; without it, it says 0.
        self.last_prompt_token_count = 0
        self.ticket = Ticket()
        # A thread that upstream has given up runs on to its next token: generation_lock does not cover it.
        self._lock = threading.Lock()
        self._progress_at: float | None = None
        self._warned: set[str] = set()

    @property
    def n_positions(self) -> int:
        return self.backend.n_positions

    def silent_s(self) -> float:
        """Seconds since the last sign of life of the generation under way; 0 when there is none."""
        since = self._progress_at
        return time.monotonic() - since if since is not None else 0.0

    def generate(
        self,
        inputs: Any = None,
        *,
        stopping_criteria: Iterable[Any] | None = None,
        logits_processor: Any = None,
        inputs_embeds: Any = None,
        **given: Any,
    ) -> Any:
        """Upstream's parameters in, ids [1, prompt + new] out. What fails is kept in the ticket: upstream swallows it."""
        ticket = self.ticket
        sequence = _Sequence(self._torch, inputs, stopping_criteria or (), ticket, self._metrics, self._alive)
        try:
            if inputs_embeds is not None:
                raise RequestError("a Neuron model takes text, not embeddings")
            self._note_ignored(given)
            sampling = sampling_of(given, inputs.shape[-1], self.n_positions)
            self.last_prompt_token_count = ticket.prompt_tokens = int(inputs.shape[-1])
            with self._lock:
                sequence.make_room(sampling.max_new_tokens)
                self._alive()
                try:
                    self.backend.generate(inputs, sampling, sequence.push, logits_processor)
                finally:
                    self._progress_at = None
        except Exception as problem:  # a backend fails in its own ways; the request is told which
            if problem is not sequence.interrupted:
                ticket.failure = problem if isinstance(problem, OverlayError) else GenerationError(_sentence(problem))
            raise
        return sequence.ids

    def answer_once(self) -> None:
        """One real token, before anybody is sent here. Raises what the backend raises."""
        first = self._torch.empty((1, 1), dtype=self._torch.long)
        first[0, 0] = 0
        ticket = self.ticket = Ticket(route="self-test")
        self.generate(inputs=first, max_new_tokens=1, do_sample=False, temperature=0)
        if not ticket.generated_tokens:
            raise GenerationError("the model generated no token in its self-test")

    def close(self) -> None:
        with self._lock:
            self.backend.close()

    def _alive(self) -> None:
        self._progress_at = time.monotonic()

    def _note_ignored(self, given: dict[str, Any]) -> None:
        for name in not_supported(given, host_scores=self.backend.host_scores):
            if name not in self._warned and not needs_scores([name]):
                self._warned.add(name)
                log.warning("backend %s does not know %s; it is ignored", self.backend.name, name)


class _Sequence:
    """Prompt and answer in one tensor that is made once; upstream's criteria see it grow."""

    def __init__(
        self, torch: Any, prompt: Any, criteria: Iterable[Any], ticket: Ticket, metrics: EngineMetrics, alive: Any
    ) -> None:
        self._torch, self._prompt, self._criteria = torch, prompt, list(criteria)
        self._ticket, self._metrics, self._alive = ticket, metrics, alive
        self._buffer, self._length, self._last_at = prompt, int(prompt.shape[-1]), 0.0
        # What a criterion raised: upstream's way of stopping, not a failure.
        self.interrupted: BaseException | None = None

    def make_room(self, tokens: int) -> None:
        self._buffer = self._torch.empty((1, self._length + tokens), dtype=self._torch.long)
        self._buffer[:, : self._length] = self._prompt
        self._metrics.prompt_tokens.add(self._length)

    @property
    def ids(self) -> Any:
        return self._buffer[:, : self._length]

    def push(self, token: int) -> bool:
        """Take a new token; True: stop."""
        self._buffer[0, self._length] = token
        self._length += 1
        self._alive()
        self._count()
        stop = self._ticket.cancelled
        try:
            for criterion in self._criteria:
                told = criterion(self.ids, None)
                stop = bool(told.any() if hasattr(told, "any") else told) or stop
        except BaseException as raised:  # told apart, when it comes back, from a failure of the backend
            self.interrupted = raised
            raise
        return stop

    def _count(self) -> None:
        now, ticket = time.monotonic(), self._ticket
        if ticket.first_token_s is None:
            ticket.first_token_s = now - ticket.started
            self._metrics.first_token.observe(ticket.first_token_s)
        else:
            self._metrics.between_tokens.observe(now - self._last_at)
        self._last_at = now
        ticket.generated_tokens += 1
        self._metrics.generated_tokens.add()


def _sentence(problem: BaseException) -> str:
    return f"the model failed: {type(problem).__name__}: {problem}"
