# SPDX-License-Identifier: Apache-2.0
"""The same questions to every engine, directly or through the gateway: what clients of OpenAI's API may rely on.

Those to models that write text are here, those to models that give vectors and scores in pooling.py.

Each question returns a sentence that says what failed. `KNOWN` lists what an engine is known to lack: such a question
is skipped, and the report says why. Shapes: https://platform.openai.com/docs/api-reference/completions, …/chat
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from . import pooling
from .target import ABANDONED_TOKENS, PROMPT, NotHeldError, Reply, Target, holds, said

# Letters of two to four bytes, one of two code points, and one that joins.
UNICODE = "Ünïcode: 你好, мир, 👩‍🚀, e\u0301"
_FREE_WITHIN_S = 2.0
_TIMED_TOKENS = 32

# engine -> question -> why it is not asked
KNOWN: Mapping[str, Mapping[str, str]] = {
    "tgw": {
        "logprobs": "a Neuron model gives no scores, and refuses the request",
        "unknown_model": "it answers for whatever is loaded",
        "too_long": "with another loader than Neuron it cuts the prompt",
    },
    "llamacpp": {"unknown_model": "it answers for whatever is loaded"},
    "tgi": {"unknown_model": "it answers for whatever is loaded"},
}


@dataclass(frozen=True)
class Result:
    """`outcome`: held, broken or known; `sentence` says what is broken, or why it was not asked."""

    question: str
    outcome: str
    sentence: str = ""
    seconds: float = field(default=0.0, compare=False)


def examine(target: Target, known: Mapping[str, str] | None = None) -> list[Result]:
    """Ask every question, in order. A failed question does not stop the others.

    `known`: what this target is known to lack, in addition to `KNOWN` for its engine.
    """
    return list(_results(target, {**KNOWN.get(target.engine, {}), **(known or {})}))


def _results(target: Target, known: Mapping[str, str]) -> Iterator[Result]:
    for name, question in QUESTIONS_OF[target.task].items():
        if name in known and not (target.gateway and name == "unknown_model"):
            yield Result(name, "known", known[name])
            continue
        began = time.monotonic()
        try:
            question(target)
        except NotHeldError as problem:
            yield Result(name, "broken", str(problem), time.monotonic() - began)
        except (OSError, HTTPException, LookupError, TypeError, ValueError, AttributeError) as problem:
            sentence = f"the answer has another form: {type(problem).__name__}: {problem}"
            yield Result(name, "broken", sentence, time.monotonic() - began)
        else:
            yield Result(name, "held", "", time.monotonic() - began)


def _greedy(target: Target) -> None:
    """The same text twice; and the expected text, where one is known."""
    first, again = target.complete(), target.complete()
    holds(first.status == 200, f"a completion was answered {first.status}: {first.json}")
    holds(first.text == again.text, f"temperature 0 gave {first.text!r}, then {again.text!r}")
    if target.golden:
        told = _common(first.text, target.golden)
        holds(told, f"greedy text is {first.text!r}, and other engines say {target.golden!r}")


def _shape(target: Target) -> None:
    reply = target.complete()
    for key in ("id", "object", "created", "model", "choices"):
        holds(key in reply.json, f"a completion has no {key!r}: {sorted(reply.json)}")
    holds(str(reply.json["object"]).startswith("text_completion"), f"a completion is a {reply.json['object']!r}")
    holds(reply.finish in ("stop", "length"), f"finish_reason is {reply.finish!r}")


def _usage(target: Target) -> None:
    used = target.complete(max_tokens=5).json.get("usage") or {}
    holds(
        used.get("prompt_tokens", 0) > 3, f"usage counts {used.get('prompt_tokens')} tokens of a prompt of more than 3"
    )
    holds(0 < used.get("completion_tokens", 0) <= 6, f"usage counts {used.get('completion_tokens')} tokens of 5")
    total = used.get("prompt_tokens", 0) + used.get("completion_tokens", 0)
    holds(used.get("total_tokens") == total, f"usage has {used.get('total_tokens')} in all, and {total} by its parts")


def _max_tokens(target: Target) -> None:
    short, long = target.complete(max_tokens=2), target.complete(max_tokens=12)
    holds(long.text.startswith(short.text.rstrip()), f"2 tokens are {short.text!r}, and 12 are {long.text!r}")
    holds(len(short.text) < len(long.text), f"2 tokens are as long as 12: {short.text!r}")


def _stop(target: Target) -> None:
    """The stop string ends the answer, and is no part of it, whole and in pieces."""
    whole = target.complete().text
    words = whole.split()
    holds(len(words) > 1, f"the model says too little to try it: {whole!r}")
    for stream in (False, True):
        reply = target.complete(stop=[words[1]], stream=stream)
        wanted = whole[: whole.index(words[1])]
        how = "in pieces" if stream else "whole"
        holds(reply.text == wanted, f"with stop {words[1]!r} the answer {how} is {reply.text!r}, not {wanted!r}")


def _stream(target: Target) -> None:
    """Pieces join to the whole, and the stream says that it is over."""
    whole, pieces = target.complete(), target.complete(stream=True)
    holds(
        pieces.status == 200 and bool(pieces.events),
        f"a stream was answered {pieces.status} with {len(pieces.events)} events",
    )
    holds(pieces.text == whole.text, f"in pieces it is {pieces.text!r}, whole {whole.text!r}")
    holds(pieces.done, "the stream does not end with [DONE]")
    holds(sum(bool(_texts(event)) for event in pieces.events) > 1, "the stream came in one piece")


def _stream_usage(target: Target) -> None:
    reply = target.complete(stream=True, stream_options={"include_usage": True})
    counted = [event["usage"] for event in reply.events if event.get("usage")]
    holds(bool(counted), "stream_options.include_usage brings no usage")
    holds(counted[-1].get("completion_tokens", 0) > 0, f"a stream's usage is {counted[-1]}")


def _chat(target: Target) -> None:
    whole, pieces = target.chat("How do I make a cake?"), target.chat("How do I make a cake?", stream=True)
    holds(whole.status == 200, f"a chat was answered {whole.status}: {whole.json}")
    message = whole.json["choices"][0].get("message") or {}
    holds(message.get("role") == "assistant", f"a chat's message is from {message.get('role')!r}")
    holds(pieces.text == whole.text, f"a chat in pieces is {pieces.text!r}, whole {whole.text!r}")


def _seed(target: Target) -> None:
    texts = [target.complete(temperature=1.2, seed=seed, max_tokens=24).text for seed in (11, 11)]
    holds(texts[0] == texts[1], f"one seed gave {texts[0]!r} and {texts[1]!r}")


def _logprobs(target: Target) -> None:
    reply = target.complete(logprobs=1, max_tokens=3)
    found = (reply.json["choices"][0].get("logprobs") or {}) if reply.status == 200 else {}
    holds(bool(found), f"logprobs were asked for, and {reply.status} came with none")


def _unicode(target: Target) -> None:
    reply = target.chat(UNICODE, stream=True)
    holds(reply.status == 200, f"a chat in several scripts was answered {reply.status}")
    whole = target.chat(UNICODE)
    holds(_common(reply.text, whole.text), f"in pieces it is {reply.text!r}, whole {whole.text!r}")


def _errors(target: Target) -> None:
    """An invalid request gets a 4xx answer with a sentence, not a server error."""
    for body in (
        {"model": target.model, "prompt": PROMPT, "max_tokens": "many"},
        {"model": target.model, "messages": "hi"},
    ):
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        reply = target.ask(path, body)
        holds(400 <= reply.status < 500, f"{body} was answered {reply.status}")


def _too_long(target: Target) -> None:
    reply = target.complete(prompt="flour " * 200_000)
    holds(400 <= reply.status < 500, f"a prompt far beyond the context was answered {reply.status}")


def _unknown_model(target: Target) -> None:
    reply = target.ask("/v1/completions", {"model": "no-such-model", "prompt": PROMPT, "max_tokens": 1})
    holds(reply.status == 404, f"a model that is not there was answered {reply.status}")


def _cancel(target: Target) -> None:
    """A client that disconnects frees its slot: who comes next waits no longer than for half of one abandoned answer."""
    whole, took = _timed(target, max_tokens=_TIMED_TOKENS)
    told = max(1, (whole.json.get("usage") or {}).get("completion_tokens") or _TIMED_TOKENS)
    allowed = max(_FREE_WITHIN_S, ABANDONED_TOKENS / 2 * took / told)
    for __ in range(8):
        target.abandon()
    reply, took = _timed(target, max_tokens=1)
    holds(reply.status == 200, f"after 8 clients left, a request was answered {reply.status}")
    holds(took < allowed, f"after 8 clients left, a request of one token took {took:.1f} s, not {allowed:.1f} at most")


def _timed(target: Target, **more: Any) -> tuple[Reply, float]:
    began = time.monotonic()
    reply = target.complete(**more)
    return reply, time.monotonic() - began


QUESTIONS: Mapping[str, Callable[[Target], None]] = {
    "greedy": _greedy,
    "shape": _shape,
    "usage": _usage,
    "max_tokens": _max_tokens,
    "stop": _stop,
    "stream": _stream,
    "stream_usage": _stream_usage,
    "chat": _chat,
    "seed": _seed,
    "logprobs": _logprobs,
    "unicode": _unicode,
    "errors": _errors,
    "too_long": _too_long,
    "unknown_model": _unknown_model,
    "cancel": _cancel,
}
QUESTIONS_OF: Mapping[str, Mapping[str, Callable[[Target], None]]] = {
    "generate": QUESTIONS,
    "embed": pooling.EMBED,
    "rerank": pooling.RERANK,
}


def table(results: list[Result]) -> str:
    """What was asked and what became of it, as lines of text: question, outcome, seconds and the reason."""
    words = {"known": "not asked", "broken": "BROKEN"}
    rows = [
        (one.question, words.get(one.outcome, one.outcome), f"{one.seconds:.2f}" if one.seconds else "", one.sentence)
        for one in results
    ]
    rows.insert(0, ("question", "outcome", "seconds", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(
        f"  {name:<{widths[0]}}  {outcome:<{widths[1]}}  {seconds:>7}  {why}".rstrip()
        for name, outcome, seconds, why in rows
    )


def _common(one: str, other: str) -> bool:
    """Whether one text begins with the other: engines cut an incomplete last character in different ways."""
    first, second = (text.rstrip("\ufffd").strip() for text in (one, other))
    return first.startswith(second) or second.startswith(first)


def _texts(event: Mapping[str, Any]) -> str:
    return "".join(said(choice) for choice in event.get("choices") or ())
