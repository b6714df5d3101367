# SPDX-License-Identifier: Apache-2.0
"""Chat messages as models' chat templates take them, out of what other languages say in other orders.

Many templates know one system message, at the beginning, and want user and assistant to take turns; tool results are text. So what other
languages put elsewhere is said where it can stand: further system messages join the first while nothing else was said, and are the user's words
after that (moving them up would change the prompt's beginning, which engines keep computed);
two messages of one side become one; pictures of a tool are shown in
the user's name.
"""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]
APART = "\n\n"


class Conversation:
    """A conversation that is being written down."""

    def __init__(self) -> None:
        self._said: list[dict[str, Any]] = []
        self._pictures: list[Part] = []

    def messages(self) -> list[dict[str, Any]]:
        """All of it, in the words of chat completions."""
        self._show()
        for turn in self._said:
            # Some engines take no null where nothing else is said.
            if turn["role"] == "assistant" and turn["content"] is None and "tool_calls" not in turn:
                turn["content"] = ""
        return self._said

    @property
    def _last(self) -> dict[str, Any]:
        return self._said[-1] if self._said else {}

    def system(self, text: str) -> None:
        """What the operator says."""
        if not text:
            return
        if not self._said:
            self._said.append({"role": "system", "content": text})
        elif self._last["role"] == "system":
            self._last["content"] += APART + text
        else:
            self.user([{"type": "text", "text": text}])

    def user(self, parts: list[Part]) -> None:
        """What the user says; also pictures that came with tools' results before."""
        parts = self._pictures + parts
        self._pictures = []
        if not parts:
            return
        if self._last.get("role") == "user":
            parts = self._parts(self._said.pop()["content"]) + parts
        self._said.append({"role": "user", "content": flat(parts)})

    @staticmethod
    def _parts(content: str | list[Part]) -> list[Part]:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    def assistant(self, words: str = "", thoughts: str = "") -> dict[str, Any]:
        """What the model said; a turn that it had begun goes on."""
        self._show()
        turn = self._last
        if turn.get("role") != "assistant":
            turn = {"role": "assistant", "content": None}
            self._said.append(turn)
        if words:
            turn["content"] = turn["content"] + APART + words if turn["content"] else words
        if thoughts:
            # Engines read one name or the other: vLLM the short one of late, llama.cpp and SGLang the long one.
            turn["reasoning_content"] = turn["reasoning"] = turn.get("reasoning", "") + thoughts
        return turn

    def call(self, call_id: str, name: str, arguments: str) -> None:
        """A tool that the model called."""
        function = {"name": name, "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        self.assistant().setdefault("tool_calls", []).append(call)

    def result(self, call_id: str, parts: list[Part], prefix: str = "") -> None:
        """What a tool found."""
        texts = [part["text"] for part in parts if part["type"] == "text"]
        self._said.append({"role": "tool", "tool_call_id": call_id, "content": prefix + "\n".join(texts)})
        self._pictures += [part for part in parts if part["type"] != "text"]

    def _show(self) -> None:
        if self._pictures:
            self.user([])


def flat(parts: list[Part]) -> str | list[Part]:
    """Plain text where there is only text: some engines take nothing else."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def only_effort(effort: str) -> str:
    """How hard to think, in the three words that engines know; what else there is comes as it is."""
    return {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)
