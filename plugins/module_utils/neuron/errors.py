# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with artifacts, with a sentence to act on."""

from __future__ import annotations

from ..errors import LlmOnEksError


class NeuronError(LlmOnEksError):
    """Base of the errors here."""


class InputError(NeuronError):
    """Inputs that do not suffice for a key."""


class MismatchError(NeuronError):
    """Artifacts exist, but for other inputs."""


class CompileError(NeuronError):
    """A compilation that failed; `kind` is the kind of failure."""

    def __init__(self, sentence: str, kind: str, tail: str = "") -> None:
        super().__init__(sentence)
        self.kind, self.tail = kind, tail
