# SPDX-License-Identifier: Apache-2.0
"""A model at an address, as clients of OpenAI's API ask it: what the questions of the conformance suite are asked with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

PROMPT = "This is a cake recipe:\n\n1. Mix the flour and the"
ABANDONED_TOKENS = 400


class NotHeldError(Exception):
    """The engine's answer broke a rule; the message is the sentence for the report."""


@dataclass(frozen=True)
class Reply:
    """`events`: of a stream; `done`: it ended with [DONE]."""

    status: int
    json: Any = None
    events: tuple[Any, ...] = ()
    done: bool = False

    @property
    def text(self) -> str:
        parts = self.events or (self.json,)
        return "".join(said(choice) for part in parts for choice in part.get("choices") or ())

    @property
    def finish(self) -> str:
        parts = self.events or (self.json,)
        found = [choice.get("finish_reason") for part in parts for choice in part.get("choices") or ()]
        return str(next((one for one in reversed(found) if one), ""))


@dataclass(frozen=True)
class Target:
    """The address and model to ask.

    `engine`: the engine's name in the catalogue; `gateway`: whether requests go through the gateway.
    """

    url: str
    model: str
    engine: str = ""
    key: str = ""
    gateway: bool = False
    timeout_s: float = 120.0
    # generate, embed or rerank.
    task: str = "generate"
    # What greedy text the model gives for PROMPT, where that is known.
    golden: str = ""

    def ask(self, path: str, body: Mapping[str, Any]) -> Reply:
        """The whole answer. NotHeldError when the connection breaks."""
        connection = self._connection()
        try:
            connection.request("POST", path, json.dumps(body), self._headers())
            response = connection.getresponse()
            return _read(response.status, response.getheader("Content-Type", ""), response.read())
        except (OSError, HTTPException) as problem:
            raise NotHeldError(f"{self.url}{path} broke off: {type(problem).__name__}: {problem}") from problem
        finally:
            connection.close()

    def complete(self, **more: Any) -> Reply:
        return self.ask(
            "/v1/completions", {"model": self.model, "prompt": PROMPT, "max_tokens": 16, "temperature": 0, **more}
        )

    def chat(self, content: str, **more: Any) -> Reply:
        messages = [{"role": "user", "content": content}]
        body = {"model": self.model, "messages": messages, "max_tokens": 16, "temperature": 0, **more}
        return self.ask("/v1/chat/completions", body)

    def abandon(self, **more: Any) -> None:
        """Begin a stream, take its first bytes and leave."""
        connection = self._connection()
        body = {
            "model": self.model,
            "prompt": PROMPT,
            "max_tokens": ABANDONED_TOKENS,
            "temperature": 1,
            "stream": True,
            **more,
        }
        connection.request("POST", "/v1/completions", json.dumps(body), self._headers())
        connection.getresponse().read1(1)
        connection.close()

    def _headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Content-Type": "application/json", **key}

    def _connection(self) -> HTTPConnection:
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=self.timeout_s)


def holds(true: bool, sentence: str) -> None:
    """NotHeldError with the sentence, unless it is true."""
    if not true:
        raise NotHeldError(sentence)


def said(choice: Mapping[str, Any]) -> str:
    """The text of one choice: of a completion, a chat, or a piece of either."""
    part = choice.get("message") or choice.get("delta")
    return str((part.get("content") or "") if part is not None else choice.get("text") or "")


def _read(status: int, kind: str, body: bytes) -> Reply:
    if kind.startswith("text/event-stream"):
        lines = [line[5:].strip() for line in body.decode(errors="replace").splitlines() if line.startswith("data:")]
        events = tuple(json.loads(line) for line in lines if line != "[DONE]")
        return Reply(status, None, events, bool(lines) and lines[-1] == "[DONE]")
    try:
        return Reply(status, json.loads(body))
    except ValueError:
        return Reply(status, {"text": body[:200].decode(errors="replace")})
