# SPDX-License-Identifier: Apache-2.0
"""The questions of the conformance suite to models that give vectors of texts, or scores of documents.

Shapes: https://platform.openai.com/docs/api-reference/embeddings, https://docs.cohere.com/reference/rerank
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from .target import Reply, Target, holds

_TEXTS = ["Mix the flour and the eggs.", "The capital of France is Paris.", "Ünïcode: 你好, мир"]
# Cosine of two vectors of one text: batches of other sizes are summed in another order.
_SAME = 0.999


def _embed(target: Target, given: Any, **more: Any) -> Reply:
    return target.ask("/v1/embeddings", {"model": target.model, "input": given, **more})


def _vectors(reply: Reply) -> list[list[float]]:
    holds(reply.status == 200, f"embeddings were answered {reply.status}: {reply.json}")
    found = sorted(reply.json["data"], key=lambda one: one["index"])
    return [list(map(float, one["embedding"])) for one in found]


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def _shape(target: Target) -> None:
    reply = _embed(target, _TEXTS[0])
    (vector,) = _vectors(reply)
    holds(reply.json.get("object") == "list", f"embeddings are a {reply.json.get('object')!r}, not a 'list'")
    holds(len(vector) > 1 and any(vector), f"a vector has {len(vector)} numbers, or only zeros")


def _batch(target: Target) -> None:
    """Several texts at once give one vector each, in their order: those that each text gives alone."""
    together = _vectors(_embed(target, _TEXTS))
    holds(len(together) == len(_TEXTS), f"{len(_TEXTS)} texts gave {len(together)} vectors")
    for text, vector in zip(_TEXTS, together, strict=True):
        (alone,) = _vectors(_embed(target, text))
        near = _cosine(alone, vector)
        holds(near > _SAME, f"the vector of {text!r} alone and in a batch have a cosine of {near:.4f}")


def _differ(target: Target) -> None:
    one, other, __ = _vectors(_embed(target, _TEXTS))
    holds(_cosine(one, other) < _SAME, "two texts have the same vector")


def _base64(target: Target) -> None:
    """What the official client asks for: little-endian float32 in base64."""
    (plain,) = _vectors(_embed(target, _TEXTS[0]))
    reply = _embed(target, _TEXTS[0], encoding_format="base64")
    holds(reply.status == 200, f"encoding_format base64 was answered {reply.status}")
    given = reply.json["data"][0]["embedding"]
    holds(isinstance(given, str), "encoding_format base64 gave a list of numbers")
    packed = base64.b64decode(given)
    near = _cosine(list(struct.unpack(f"<{len(packed) // 4}f", packed)), plain)
    holds(near > _SAME, f"the vector in base64 and the plain one have a cosine of {near:.4f}")


def _usage(target: Target) -> None:
    used = _embed(target, _TEXTS[0]).json.get("usage") or {}
    holds(used.get("prompt_tokens", 0) > 3, f"usage counts {used.get('prompt_tokens')} tokens of a text of more than 3")


def _errors(target: Target) -> None:
    reply = _embed(target, {"text": 1})
    holds(400 <= reply.status < 500, f"an input that is not text was answered {reply.status}")


def _too_long(target: Target) -> None:
    reply = _embed(target, "flour " * 200_000)
    holds(400 <= reply.status < 500, f"a text far beyond the context was answered {reply.status}")


def _unknown_model(target: Target) -> None:
    reply = target.ask("/v1/embeddings", {"model": "no-such-model", "input": "x"})
    holds(reply.status == 404, f"a model that is not there was answered {reply.status}")


def _rerank(target: Target) -> None:
    """Each document has a score, and the best comes first."""
    body = {"model": target.model, "query": "What is the capital of France?", "documents": _TEXTS}
    reply = target.ask("/v1/rerank", body)
    holds(reply.status == 200, f"a rerank was answered {reply.status}: {reply.json}")
    results = reply.json["results"]
    places, scores = [one["index"] for one in results], [float(one["relevance_score"]) for one in results]
    holds(sorted(places) == list(range(len(_TEXTS))), f"{len(_TEXTS)} documents gave the places {places}")
    holds(scores == sorted(scores, reverse=True), f"the scores are not in order: {scores}")


def _rerank_errors(target: Target) -> None:
    reply = target.ask("/v1/rerank", {"model": target.model, "query": "x", "documents": 1})
    holds(400 <= reply.status < 500, f"documents that are none were answered {reply.status}")


EMBED: Mapping[str, Callable[[Target], None]] = {
    "shape": _shape,
    "batch": _batch,
    "differ": _differ,
    "base64": _base64,
    "usage": _usage,
    "errors": _errors,
    "too_long": _too_long,
    "unknown_model": _unknown_model,
}
RERANK: Mapping[str, Callable[[Target], None]] = {"rerank": _rerank, "errors": _rerank_errors}
