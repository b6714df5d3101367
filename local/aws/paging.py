# SPDX-License-Identifier: Apache-2.0
"""Pages, as botocore's paginator definitions describe them. Our operations and moto's use the same way."""

from __future__ import annotations

import copy
import functools
import uuid
from typing import Any

import botocore.session
from botocore.exceptions import DataNotFoundError

from .errors import Refusal

_KEPT = 2000


@functools.cache
def _loader() -> Any:
    return botocore.session.get_session().get_component("data_loader")


@functools.cache
def paginator(service: str, operation: str) -> dict[str, Any] | None:
    """The paginator of an operation that has one list and one plain token; None otherwise."""
    try:
        known = _loader().load_service_model(service, "paginators-1")
    except DataNotFoundError:  # the service is unknown, or has no listings
        return None
    found = known["pagination"].get(operation)
    if not found or not all(isinstance(found.get(key), str) for key in ("input_token", "output_token")):
        return None
    keys = found["result_key"] if isinstance(found["result_key"], list) else [found["result_key"]]
    if any(not word.replace("_", "").isalnum() for word in (keys[0].replace(".", ""), found["output_token"])):
        return None
    return {**found, "result_key": keys[0]}


class Pages:
    """Cuts results into pages and returns the rest for its token."""

    def __init__(self) -> None:
        self.cap = 0
        self._rest: dict[str, tuple[str, dict[str, Any]]] = {}

    def token(self, service: str, operation: str, params: dict[str, Any]) -> str:
        """The page token of a call, if it asks for another page."""
        found = paginator(service, operation)
        return str(params.get(found["input_token"]) or "") if found else ""

    def rest(self, operation: str, token: str) -> dict[str, Any]:
        """The rest of the result for a token. Raises Refusal."""
        name, result = self._rest.get(token, ("", {}))
        if name != operation:
            raise Refusal("InvalidParameterException", f"nextToken is not valid: {token}")
        return result

    def knows(self, token: str) -> bool:
        return token in self._rest

    def cut(self, service: str, operation: str, params: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """The first page of a result."""
        found = paginator(service, operation)
        if found is None:
            return result
        limit = int(params.get(found.get("limit_key", ""), 0) or 0)
        size = min(n for n in (limit, self.cap) if n) if limit or self.cap else 100
        *outer, last = found["result_key"].split(".")
        holder: Any = functools.reduce(lambda value, key: value.get(key, {}), outer, result)
        items = holder.get(last) or []
        if not isinstance(items, list) or len(items) <= size:
            return result
        page, rest = copy.copy(result), copy.copy(result)
        _put(page, found["result_key"], items[:size])
        _put(rest, found["result_key"], items[size:])
        token = uuid.uuid4().hex
        if len(self._rest) > _KEPT:
            self._rest.clear()
        self._rest[token] = (operation, rest)
        page[found["output_token"]] = token
        if found.get("more_results"):
            page[found["more_results"]] = True
        return page


def _put(result: dict[str, Any], path: str, items: list[Any]) -> None:
    *outer, last = path.split(".")
    for key in outer:
        result[key] = dict(result[key])
        result = result[key]
    result[last] = items
