# SPDX-License-Identifier: Apache-2.0
"""The fields of OpenAI's requests and replies that the gateway itself reads."""

from __future__ import annotations

from typing import Annotated

import msgspec

# What can be a number of tokens or answers. Below 0 means "without end" to some engines; beyond 2**53 a float is another number.
Wanted = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Asked(msgspec.Struct):
    """What an inference request says about itself. Prompts stay undecoded."""

    model: str
    stream: bool | None = None
    max_tokens: Wanted | None = None
    max_completion_tokens: Wanted | None = None
    n: Wanted | None = None
    user: msgspec.Raw = msgspec.Raw(b"")
    messages: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")

    def user_bytes(self) -> bytes | None:
        """The `user` field, for affinity: any text that tells one user from another."""
        return bytes(self.user) if self.user and len(self.user) <= 256 else None


class Usage(msgspec.Struct):
    """Token counts as engines report them."""

    prompt_tokens: Count = 0
    completion_tokens: Count | None = 0
