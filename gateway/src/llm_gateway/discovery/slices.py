# SPDX-License-Identifier: Apache-2.0
"""EndpointSlices as data: what a list and the events after it say about engines. No I/O.

An event may come twice, late, or after the deletion it should have come before (a watch cache that lags, a proxy that replays). Each
object's resourceVersion tells which of two statements is the newer one; deleted objects are remembered until the next full list.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, compress, count
from operator import ne
from typing import NamedTuple

import msgspec

from llm_gateway.engines.registry import Endpoint

LABEL_ENGINE = "llm.on-eks/engine"
LABEL_MODEL = "llm.on-eks/model"
LABEL_WEIGHT = "llm.on-eks/weight"
PORT_NAME = "http"


class Conditions(msgspec.Struct, frozen=True):
    """An endpoint's conditions; absent means unknown, which counts as ready (as the API's documentation says)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(msgspec.Struct, frozen=True):
    """What stands behind an address."""

    name: str = ""


class SliceEndpoint(msgspec.Struct, frozen=True, rename="camel"):
    """One endpoint of a slice."""

    addresses: list[str] = []
    conditions: Conditions = Conditions()
    target_ref: TargetRef | None = None


class Port(msgspec.Struct, frozen=True):
    """One port of a slice."""

    name: str | None = None
    port: int | None = None


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What identifies and dates an object."""

    name: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}


class Slice(msgspec.Struct, frozen=True):
    """discovery.k8s.io/v1 EndpointSlice, as far as it matters here."""

    metadata: Metadata = Metadata()
    # SliceEndpoints, as they were written: of a hundred, an event changes one, and only that one is read.
    endpoints: list[msgspec.Raw] | None = None
    ports: list[Port] | None = None


class ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """A list's version and where it goes on."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class SliceList(msgspec.Struct, frozen=True):
    """A page of slices."""

    metadata: ListMetadata
    items: list[Slice] | None = None


class Event(msgspec.Struct, frozen=True):
    """A watch event. The object of a BOOKMARK is a slice of which only the metadata are there, that of an ERROR is a Status."""

    type: str
    object: Slice


def _version(metadata: Metadata) -> int:
    """A number that grows with each change, or 0 where the server's versions are no numbers."""
    text = metadata.resource_version
    return int(text) if text.isascii() and text.isdigit() else 0


def _weight(text: str) -> float:
    try:
        return max(0.01, float(text)) if text else 1.0
    except ValueError:
        return 1.0


_ENDPOINT = msgspec.json.Decoder(SliceEndpoint)


class Shown(NamedTuple):
    """What a slice came to: the engines at each of its endpoints. `changed` are the places that differ from what was shown before; None: all
    may, ports and labels among them."""

    item: Slice
    of_endpoint: list[list[Endpoint]]
    changed: list[int] | None


class SliceSet:
    """All slices of the namespace, by name."""

    def __init__(self) -> None:
        self._slices: dict[str, Slice] = {}
        self._deleted: dict[str, int] = {}
        # Of many slices, an event changes one.
        self._shown: dict[str, Shown] = {}
        # Two slices may show one address while they are being rewritten.
        self._doubled = False

    def __len__(self) -> int:
        return len(self._slices)

    def replace(self, slices: Iterable[Slice]) -> None:
        """A full list: nothing else exists."""
        self._slices = {item.metadata.name: item for item in slices}
        self._deleted = {}

    def apply(self, kind: str, item: Slice) -> bool:
        """One event (ADDED, MODIFIED, DELETED). True when it changed something."""
        name, version = item.metadata.name, _version(item.metadata)
        known = self._slices.get(name)
        if kind == "DELETED":
            if known is None or (version and version < _version(known.metadata)):
                return False
            del self._slices[name]
            self._deleted[name] = max(version, _version(known.metadata))
            return True
        if known is not None and version and version <= _version(known.metadata):
            return False
        if known is None and version and version <= self._deleted.get(name, 0):
            return False
        self._slices[name] = item
        self._deleted.pop(name, None)
        return True

    def endpoints(self) -> list[Endpoint]:
        """All engines that the slices show; what is as it was is the same object. Raises msgspec.MsgspecError.

        A terminating one gets nothing new, even while it still serves."""
        shown: dict[str, Shown] = {}
        for name, item in self._slices.items():
            before = self._shown.get(name)
            shown[name] = before if before is not None and before.item is item else show(item, before)
        self._shown = shown
        found = [engine for each in shown.values() for engine in chain.from_iterable(each.of_endpoint)]
        self._doubled = len({(engine.host, engine.port) for engine in found}) < len(found)
        return found

    def changed(self, name: str) -> list[Endpoint] | None:
        """The engines of this slice that are not as they were at the last call of this or of `endpoints`; None: there is more to it than states
        of engines that stay where they are, and only `endpoints` tells. Raises msgspec.MsgspecError."""
        item, before = self._slices.get(name), self._shown.get(name)
        if item is None or before is None or self._doubled:
            return None
        after = self._shown[name] = show(item, before)
        if after.changed is None:
            return None
        found: list[Endpoint] = []
        for place in after.changed:
            old, new = before.of_endpoint[place], after.of_endpoint[place]
            if [(each.host, each.port) for each in old] != [(each.host, each.port) for each in new]:
                return None
            found += new
        return found

    def models(self) -> set[str]:
        """All models that slices name, with or without endpoints."""
        return {
            item.metadata.labels[LABEL_MODEL] for item in self._slices.values() if LABEL_MODEL in item.metadata.labels
        }


def show(item: Slice, before: Shown | None = None) -> Shown:
    """The engines that one slice shows. What is written in the same words as in `before`, in the same place, is the same object, so that
    nobody need compare it. Raises msgspec.MsgspecError."""
    ports = [port.port for port in item.ports or [] if port.name == PORT_NAME and port.port]
    ports = ports or [port.port for port in (item.ports or [])[:1] if port.port]
    labels = item.metadata.labels
    texts = item.endpoints or []
    if before is None or before.item.ports != item.ports or before.item.metadata.labels != labels:
        return Shown(item, [engines_of(_ENDPOINT.decode(text), ports, labels) for text in texts], None)
    known = before.item.endpoints or []
    found = before.of_endpoint[: len(texts)]
    changed = list(compress(count(), map(ne, texts, known)))
    for place in changed:
        found[place] = engines_of(_ENDPOINT.decode(texts[place]), ports, labels)
    found += [engines_of(_ENDPOINT.decode(text), ports, labels) for text in texts[len(known) :]]
    return Shown(item, found, changed if len(texts) == len(known) else None)


def engines_of(endpoint: SliceEndpoint, ports: list[int], labels: dict[str, str]) -> list[Endpoint]:
    """The engines at one endpoint: one for each port."""
    if not endpoint.addresses:
        return []
    conditions = endpoint.conditions
    models = (labels[LABEL_MODEL],) if labels.get(LABEL_MODEL) else ()
    return [
        Endpoint(
            host=endpoint.addresses[0],
            port=port,
            name=endpoint.target_ref.name if endpoint.target_ref is not None else "",
            kind=labels.get(LABEL_ENGINE, ""),
            models=models,
            ready=conditions.ready is not False and conditions.serving is not False and not conditions.terminating,
            weight=_weight(labels.get(LABEL_WEIGHT, "")),
        )
        for port in ports
    ]
