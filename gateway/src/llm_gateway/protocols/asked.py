# SPDX-License-Identifier: Apache-2.0
"""The fields of OpenAI's requests and replies that the gateway itself reads."""

from __future__ import annotations

import msgspec


class Asked(msgspec.Struct):
    """What an inference request says about itself. Prompts stay undecoded."""

    model: str
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    user: msgspec.Raw = msgspec.Raw(b"")
    messages: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")

    def content(self) -> memoryview:
        """The prompt as the client wrote it."""
        return memoryview(self.messages or self.prompt or self.input)

    def user_bytes(self) -> bytes | None:
        """The `user` field, for affinity: any text that tells one user from another."""
        return bytes(self.user) if self.user and len(self.user) <= 256 else None


class Usage(msgspec.Struct):
    """Token counts as engines report them."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
