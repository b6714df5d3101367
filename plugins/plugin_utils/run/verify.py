# SPDX-License-Identifier: Apache-2.0
"""Asks a model through the front door, and checks the answer against the shape of OpenAI's API.

Shape: https://platform.openai.com/docs/api-reference/completions/object
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3

from ...module_utils.errors import LlmOnEksError
from ...module_utils.proxies import pool, proxy_for
from ..kubernetes.client import Client

PROMPT = "The capital of France is"
# The gateway hears of an engine some moments after its pod is ready; in a mesh it also has to reach it.
PATIENCE_S = 30.0


class VerifyError(LlmOnEksError):
    """The front door did not answer as the API promises."""


@dataclass(frozen=True)
class Answer:
    """What a model said; `seconds` is the whole request's time."""

    model: str
    prompt: str
    text: str
    completion_tokens: int
    seconds: float


def first_key(client: Client, namespace: str, name: str) -> str:
    """The gateway's first key, from its Secret. Raises VerifyError."""
    resource = client.resource("v1", "Secret")
    found = client.get(resource, name, namespace) if resource else None
    if not found or "api_key" not in (found.get("data") or {}):
        raise VerifyError(f"verify: Secret {namespace}/{name} holds no api_key; run site.yml, which makes it")
    return base64.b64decode(found["data"]["api_key"]).decode()


def ask(
    front_door: str,
    api_key: str,
    model: str,
    task: str = "generate",
    *,
    timeout_s: float = 120,
    shared_with: Collection[str] = (),
) -> Answer:
    """One greedy completion of `PROMPT`, its vector, or its scores, as the model's task is. `shared_with`: models that may answer for it.

    Raises VerifyError on anything but a well-formed, non-empty answer.
    """
    path, body, read = _QUESTIONS[task]
    started = time.monotonic()
    status, payload = _request(front_door, "POST", path, api_key, {"model": model, **body}, timeout_s)
    seconds = time.monotonic() - started
    where = f"{front_door}{path}, model {model}"
    if status != 200:
        raise VerifyError(
            f"verify: {where} answered {status}: {_message(payload)}. See `kubectl -n llm-gateway logs deploy/llm-gateway`."
        )
    return Answer(model, PROMPT, *read(where, {model, *shared_with}, payload), seconds=round(seconds, 2))


def list_models(front_door: str, api_key: str, *, timeout_s: float = 30) -> list[str]:
    """The model names that `/v1/models` lists."""
    status, payload = _request(front_door, "GET", "/v1/models", api_key, None, timeout_s)
    if status != 200 or not isinstance(payload, dict) or payload.get("object") != "list":
        raise VerifyError(f"verify: {front_door}/v1/models answered {status}: {_message(payload)}.")
    return [str(item["id"]) for item in payload["data"]]


def listed_with(wanted: Collection[str], front_door: str, api_key: str, *, patience_s: float = PATIENCE_S) -> list[str]:
    """As list_models, asked again until all `wanted` are listed or patience ends."""
    end = time.monotonic() + patience_s
    while True:
        listed = list_models(front_door, api_key)
        if set(wanted) <= set(listed) or time.monotonic() >= end:
            return listed
        time.sleep(0.5)


def _read_completion(where: str, models: Collection[str], payload: Any) -> tuple[str, int]:
    try:
        if payload["object"] != "text_completion" or payload["model"] not in models:
            raise VerifyError(
                f"verify: {where} answered as {payload['object']} of {payload['model']}, "
                f"not as a text_completion of {' or '.join(sorted(models))}."
            )
        choice = payload["choices"][0]
        text, reason = choice["text"], choice["finish_reason"]
        tokens = payload["usage"]["completion_tokens"]
    except (KeyError, IndexError, TypeError) as error:
        raise VerifyError(f"verify: {where} answered without {error}: {str(payload)[:200]}") from None
    if not isinstance(text, str) or not text.strip() or reason not in ("stop", "length") or tokens < 1:
        raise VerifyError(
            f"verify: {where} answered an empty or unfinished text: {text!r}, finish_reason {reason!r}, {tokens} tokens."
        )
    return text, int(tokens)


def _read_vector(where: str, _models: Collection[str], payload: Any) -> tuple[str, int]:
    try:
        vector, tokens = payload["data"][0]["embedding"], payload["usage"]["prompt_tokens"]
    except (KeyError, IndexError, TypeError) as error:
        raise VerifyError(f"verify: {where} answered without {error}: {str(payload)[:200]}") from None
    if not isinstance(vector, list) or not any(vector):
        raise VerifyError(f"verify: {where} answered no vector: {str(vector)[:200]}")
    return f"a vector of {len(vector)} numbers", int(tokens)


def _read_scores(where: str, _models: Collection[str], payload: Any) -> tuple[str, int]:
    try:
        scores = [float(one["relevance_score"]) for one in payload["results"]]
    except (KeyError, TypeError, ValueError) as error:
        raise VerifyError(f"verify: {where} answered without {error}: {str(payload)[:200]}") from None
    if not scores:
        raise VerifyError(f"verify: {where} answered no scores.")
    return f"scores {', '.join(f'{score:.3f}' for score in scores)}", 0


# task -> path, what is asked, and how the answer is read
_QUESTIONS: dict[str, tuple[str, dict[str, Any], Callable[[str, Collection[str], Any], tuple[str, int]]]] = {
    "generate": ("/v1/completions", {"prompt": PROMPT, "max_tokens": 16, "temperature": 0}, _read_completion),
    "embed": ("/v1/embeddings", {"input": PROMPT}, _read_vector),
    "rerank": ("/v1/rerank", {"query": PROMPT, "documents": ["Paris.", "Mix the flour."]}, _read_scores),
}


def _request(front_door: str, method: str, path: str, api_key: str, body: Any, timeout_s: float) -> tuple[int, Any]:
    address = urlsplit(front_door)._replace(path=path).geturl()
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    try:
        with pool(proxy_for(address), timeout=timeout_s, retries=False) as connections:
            response = connections.request(
                method, address, body=None if body is None else json.dumps(body), headers=headers
            )
        data = response.data
    except urllib3.exceptions.HTTPError as error:
        raise VerifyError(
            f"verify: {method} {front_door}{path} got no answer: {_reason(error)}. Is the gateway running?"
        ) from None
    try:
        return response.status, json.loads(data)
    except ValueError:
        return response.status, data.decode(errors="replace")


def _message(payload: Any) -> str:
    if isinstance(payload, dict) and isinstance(payload.get("error"), dict):
        return str(payload["error"].get("message"))
    return str(payload)[:200]


def _reason(error: Exception) -> str:
    """The error's message without the connection object that urllib3 puts before it."""
    text = str(error) or type(error).__name__
    return text.split(": ", 1)[-1] if "object at 0x" in text else text
