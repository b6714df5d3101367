# SPDX-License-Identifier: Apache-2.0
"""Engines from EndpointSlices: list, then watch, then list again; never a picture that can stay wrong.

Every end of a watch (the server's, the network's, 410 Gone, a line that makes no sense) leads to a full list; a watch also ends by itself
after the resync interval. So an event that was lost is made good at the latest then, whatever lost it.
"""

from __future__ import annotations

import logging
import random
from asyncio import sleep
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from llm_gateway.config.settings import Settings
from llm_gateway.discovery.api_client import ApiClient, ApiServer, ApiServerError
from llm_gateway.discovery.slices import Event, Slice, SliceList, SliceSet
from llm_gateway.engines.registry import Endpoint
from llm_gateway.errors import UNREADABLE, ConfigError

LOG = logging.getLogger("llm_gateway.discovery")
PAGE = 500
LIST_TIMEOUT_S = 30.0
# Bookmarks come about once a minute; a watch that is silent for longer than this has died without saying so.
SILENCE_S = 150.0
BACKOFF_START_S = 0.2
BACKOFF_END_S = 10.0

_LIST = msgspec.json.Decoder(SliceList)
_EVENT = msgspec.json.Decoder(Event)


class _Status(msgspec.Struct):
    object: dict[str, Any]


_STATUS = msgspec.json.Decoder(_Status)


class Update(NamedTuple):
    """News of engines: all there are, or (not `whole`) those that have changed and stay at their addresses."""

    engines: list[Endpoint]
    whole: bool


class EndpointWatch:
    """Keeps a SliceSet true."""

    def __init__(self, client: ApiClient, namespace: str, selector: str, resync_s: float) -> None:
        if resync_s < 1:
            raise ConfigError("kubernetes_resync: at least 1 second")
        self._client = client
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"
        self._selector = selector
        self._resync_s = resync_s
        self._slices = SliceSet()
        self.heard_at = monotonic()
        self.models: set[str] = set()

    @classmethod
    def from_settings(cls, settings: Settings) -> EndpointWatch:
        """The watch that the settings describe. Raises ConfigError."""
        server = ApiServer.in_cluster(
            settings.kubernetes_api, settings.kubernetes_token_file, settings.kubernetes_ca_file
        )
        return cls(
            ApiClient(server), settings.kubernetes_namespace, settings.kubernetes_selector, settings.kubernetes_resync
        )

    async def run(self) -> AsyncIterator[Update | None]:
        """For ever: each change, None for a sign of life without one. Never raises for a server's sake."""
        backoff_s = BACKOFF_START_S
        while True:
            began = monotonic()
            try:
                version = await self._list()
                yield self._whole()
                async for update in self._watch(version):
                    yield update
                    backoff_s = BACKOFF_START_S
            except ApiServerError as error:
                if error.status == 410:
                    LOG.info("endpoint slices: %s; listing again", error)
                else:
                    LOG.warning("endpoint slices: %s; trying again in %.1f s", error, backoff_s)
                    await sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret
                    backoff_s = min(BACKOFF_END_S, backoff_s * 2)
                    continue
            except UNREADABLE as error:
                LOG.warning("endpoint slices: the API server's answer makes no sense: %s", error)
            # A watch that ends at once must not become a storm of lists.
            if monotonic() - began < 1.0:
                await sleep(backoff_s)
                backoff_s = min(BACKOFF_END_S, backoff_s * 2)

    def _whole(self) -> Update:
        self.models = self._slices.models()
        return Update(self._slices.endpoints(), whole=True)

    def _apply(self, kind: str, item: Slice) -> Update | None:
        name = item.metadata.name
        if not name:
            raise msgspec.ValidationError("an EndpointSlice without a name")
        if not self._slices.apply(kind, item):
            return None
        changed = self._slices.changed(name)
        return self._whole() if changed is None else Update(changed, whole=False)

    def _url(self, **parameters: str | int) -> str:
        return f"{self._path}?{urlencode({'labelSelector': self._selector, **parameters})}"

    async def _list(self) -> str:
        found: list[Slice] = []
        parameters: dict[str, str | int] = {"limit": PAGE}
        while True:
            page = _LIST.decode(await self._client.get(self._url(**parameters), LIST_TIMEOUT_S))
            found += page.items or []
            if not page.metadata.continue_:
                break
            parameters["continue"] = page.metadata.continue_
        self._slices.replace(found)
        self.heard_at = monotonic()
        return page.metadata.resource_version

    async def _watch(self, version: str) -> AsyncIterator[Update | None]:
        """What each event changed. Ends with the resync interval. Raises ApiServerError."""
        url = self._url(
            watch="1", allowWatchBookmarks="true", resourceVersion=version, timeoutSeconds=max(1, round(self._resync_s))
        )
        until = monotonic() + self._resync_s + 5
        async for line in self._client.lines(url, min(SILENCE_S, self._resync_s + 5)):
            event = _EVENT.decode(line)
            self.heard_at = monotonic()
            if event.type == "ERROR":
                code = _STATUS.decode(line).object.get("code", 0)
                raise ApiServerError(
                    code if isinstance(code, int) else 0,
                    f"watch ended: {line[:200].decode('utf-8', 'replace')}",
                )
            yield None if event.type == "BOOKMARK" else self._apply(event.type, event.object)
            if self.heard_at > until:
                return
