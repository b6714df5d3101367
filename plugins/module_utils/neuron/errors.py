# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with artifacts, with a sentence to act on."""

from __future__ import annotations

from ..errors import LlmOnEksError


class NeuronError(LlmOnEksError):
    """Base of the errors here."""


class InputError(NeuronError):
    """Inputs that no key can be made of."""


class MismatchError(NeuronError):
    """There are artifacts, and they are for something else."""


class CompileError(NeuronError):
    """A compilation that failed; `kind` is what its end means."""

    def __init__(self, sentence: str, kind: str, tail: str = "") -> None:
        super().__init__(sentence)
        self.kind, self.tail = kind, tail
