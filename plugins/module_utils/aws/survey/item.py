# SPDX-License-Identifier: Apache-2.0
"""An item of a census, and the reader that all parts of a census share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ...names import TAG_CLUSTER, TAG_COMPONENT
from ..base.connection import Connection
from ..base.errors import AwsError, NotFound
from ..base.tagging import tag_map
from .lookups import ask, call

Row = dict[str, Any]
T = TypeVar("T")
_REFUSALS = ("AccessDenied", "AccessDeniedException", "403")


@dataclass(frozen=True)
class Item:
    """One thing with our mark. `id`: id, name or ARN by which AWS deletes it. `price_per_hour` in USD; None: not known.

    `part_of`: the instance or node group that it goes with, empty for none.
    """

    kind: str
    id: str
    name: str = ""
    component: str = ""
    state: str = ""
    price_per_hour: float | None = 0.0
    part_of: str = ""


@dataclass
class Looker:
    """Reads for one census. `refused`: errors of single items, while the listing itself succeeded."""

    connection: Connection
    cluster: str
    details: ThreadPoolExecutor
    refused: set[str] = field(default_factory=set)
    _asked: dict[str, Future[list[Any]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def list(self, service: str, operation: str, result: str, **parameters: Any) -> list[Any]:
        """All pages; the same listing is read once per census. Raises NotFound or AwsError."""
        key = f"{service} {operation} {sorted(parameters.items())}"
        with self._lock:
            mine = key not in self._asked
            answer = self._asked.setdefault(key, Future())
        if mine:
            try:
                answer.set_result(ask(self.connection, service, service, operation, result, **parameters))
            except Exception as error:  # whoever waits for the answer gets it
                answer.set_exception(error)
        return answer.result()

    def call(self, service: str, operation: str, **parameters: Any) -> Row:
        return call(self.connection, service, service, operation, **parameters)

    def with_tags(self, rows: Iterable[T], tags: Callable[[T], Any]) -> Iterator[tuple[T, dict[str, str]]]:
        """Those of `rows` that carry the mark, with their tags, which are read one by one, several in parallel.

        A resource that disappears meanwhile is left out; one that may not be read is noted.
        """

        def read(row: T) -> dict[str, str]:
            try:
                return tag_map(tags(row))
            except NotFound:
                return {}
            except AwsError as error:
                if error.code not in _REFUSALS:
                    if _gone(error.code):
                        return {}
                    raise
                self.refused.add(str(error))
                return {}

        rows = list(rows)
        for row, found in zip(rows, self.details.map(read, rows), strict=True):
            if self.ours(found):
                yield row, found

    def ours(self, tags: Mapping[str, str]) -> bool:
        return tags.get(TAG_CLUSTER) == self.cluster

    def item(self, kind: str, identifier: str, tags: Mapping[str, str], **more: Any) -> Item:
        return Item(kind, identifier, component=tags.get(TAG_COMPONENT, ""), **more)


Look = Callable[[Looker], Iterable[Item]]


def _gone(code: str) -> bool:
    """Error codes for a resource that no longer exists, in the services' spellings."""
    return any(word in code for word in ("NoSuch", "NonExistent", "NotExist", "DoesNotExist"))
