# SPDX-License-Identifier: Apache-2.0
"""What is asked, and when: from a file, or synthetic.

Three kinds of lines are understood, each a JSON object: the gateway's own access log; the open Mooncake format (`timestamp` in ms,
`input_length`, `output_length`, `hash_ids` of 512 tokens each); and `{"at", "prompt_tokens", "output_tokens", "blocks", "session", "key"}`
with blocks of 128 tokens. Equal leading blocks mean an equal beginning of the prompt.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from llm_gateway.errors import ConfigError

BLOCK_TOKENS = 128
MOONCAKE_BLOCK_TOKENS = 512
WORKLOADS = ("conversations", "agents", "independent")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `blocks` name pieces of the prompt of BLOCK_TOKENS each, from its beginning."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    session: bytes | None = None
    key: str = "key"


_LINE: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def read_trace(path: Path) -> list[Asked]:
    """The requests of a file, by time. Raises ConfigError that names the line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"trace {path}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            asked = _asked(_LINE.decode(line), number)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"trace {path}, line {number}: this is not a request: {error}") from error
        if asked is not None:
            found.append(asked)
    if not found:
        raise ConfigError(f"trace {path}: there is no request in it")
    found.sort(key=lambda asked: asked.at_s)
    start = found[0].at_s
    return [
        Asked(one.at_s - start, one.prompt_tokens, one.output_tokens, one.blocks, one.session, one.key) for one in found
    ]


def _asked(line: dict[str, Any], number: int) -> Asked | None:
    if "hash_ids" in line:
        size = MOONCAKE_BLOCK_TOKENS // BLOCK_TOKENS
        blocks = tuple(int(each) * size + part for each in line["hash_ids"] for part in range(size))
        return Asked(
            float(line["timestamp"]) / 1e3, int(line["input_length"]), max(1, int(line["output_length"])), blocks
        )
    if "request_id" in line:
        if line["status"] != 200 or not line.get("completion_tokens"):
            return None
        # The log keeps no prompts: whether two of them began alike cannot be known.
        prompt = int(line.get("prompt_tokens") or 1)
        began = float(line["time"]) - float(line["duration_s"])
        return Asked(began, prompt, int(line["completion_tokens"]), (-number,), None, str(line["key"]))
    session = line.get("session")
    return Asked(
        float(line["at"]),
        int(line["prompt_tokens"]),
        max(1, int(line["output_tokens"])),
        tuple(int(each) for each in line.get("blocks", ())),
        None if session is None else str(session).encode(),
        str(line.get("key", "key")),
    )


def synthetic(workload: str, rate: float, duration_s: float, seed: int) -> list[Asked]:
    """A workload of about `rate` requests a second. The same arguments give the same requests.

    conversations: people chatting with one of 40 assistants, each turn sending all that was said before;
    agents: programs that call a model some twenty times with a growing history over one of 12 long tool prompts;
    independent: prompts that have nothing in common.
    """
    chance = random.Random(seed)  # noqa: S311  a simulation must be repeatable
    fresh = _fresh_blocks()
    found: list[Asked] = []
    turns = {"conversations": 6.0, "agents": 20.0, "independent": 1.0}[workload]
    at_s, number = 0.0, 0
    while at_s < duration_s:
        at_s += chance.expovariate(rate / turns)
        number += 1
        found += _session(workload, at_s, number, chance, fresh)
    return sorted((asked for asked in found if asked.at_s < duration_s), key=lambda asked: asked.at_s)


def _fresh_blocks() -> Iterator[int]:
    number = 1 << 40
    while True:
        number += 1
        yield number


def _session(workload: str, at_s: float, number: int, chance: random.Random, fresh: Iterator[int]) -> Iterable[Asked]:
    key = f"key-{int(chance.paretovariate(1.1)) % 200}"
    if workload == "independent":
        tokens = max(16, int(chance.lognormvariate(math.log(600), 0.9)))
        unique = tuple(next(fresh) for __ in range(tokens // BLOCK_TOKENS))  # pylint: disable=stop-iteration-return
        yield Asked(at_s, tokens, _answer(chance, 200), unique, b"s%d" % number, key)
        return
    if workload == "conversations":
        kinds, system, says, answers, think_s, turns = 40, (4, 16), 120, 220, 15.0, 6
    else:
        kinds, system, says, answers, think_s, turns = 12, (40, 90), 500, 120, 1.5, 20
    kind = min(int(chance.expovariate(4.0) * kinds), kinds - 1)
    own = random.Random(kind)  # noqa: S311  one assistant's prompt is always the same
    blocks = [kind * 1000 + place for place in range(own.randint(*system))]
    tokens = len(blocks) * BLOCK_TOKENS
    session = b"s%d" % number
    for __ in range(1 + int(chance.expovariate(1 / (turns - 1)))):
        tokens += max(8, int(chance.expovariate(1 / says)))
        while (len(blocks) + 1) * BLOCK_TOKENS <= tokens:
            blocks.append(next(fresh))  # pylint: disable=stop-iteration-return
        answer = _answer(chance, answers)
        yield Asked(at_s, tokens, answer, tuple(blocks), session, key)
        tokens += answer
        at_s += answer * 0.02 + chance.expovariate(1 / think_s)


def _answer(chance: random.Random, mean: float) -> int:
    return max(1, min(2000, int(chance.expovariate(1 / mean))))
