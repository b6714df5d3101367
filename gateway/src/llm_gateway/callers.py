# SPDX-License-Identifier: Apache-2.0
"""What one worker keeps of one key from request to request."""

from __future__ import annotations

from llm_gateway.limits import Rules, Subject


class Caller(Subject):
    """A key's limits, and what it has used since that was last written down.

    `label` is under which name the metrics count it, once `known` there; `epoch` tells whether its limits still hold.
    """

    __slots__ = ("completion_tokens", "epoch", "known", "label", "limited", "prompt_tokens", "requests")

    def __init__(self, name: str, rules: Rules, epoch: object) -> None:
        super().__init__(f"key:{name}", f"the key '{name}'", rules)
        self.epoch = epoch
        self.limited = rules.any
        self.requests = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.label: tuple[str, ...] = (name,)
        self.known = False
