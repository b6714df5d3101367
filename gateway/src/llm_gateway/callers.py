# SPDX-License-Identifier: Apache-2.0
"""What one worker keeps of one key from request to request."""

from __future__ import annotations

from llm_gateway.limits import Subject

# No record yet; or none to be had, as the ledger is full.
UNKNOWN, NONE = -2, -1


class Caller:
    """A key's limits, and what it has used since that was last written down.

    `record` is where it is written in the ledger, `label` under which name the metrics count it; `epoch` tells whether its limits still hold.
    """

    __slots__ = ("completion_tokens", "epoch", "label", "name", "prompt_tokens", "record", "requests", "subjects")

    def __init__(self, name: str, subjects: list[Subject], epoch: object) -> None:
        self.name = name
        self.epoch = epoch
        self.label: tuple[str, ...] = (name,)
        self.subjects = subjects
        self.record = UNKNOWN
        self.requests = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
