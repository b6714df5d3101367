# SPDX-License-Identifier: Apache-2.0
"""EndpointSlices as data: what a list and the events after it say about engines. No I/O.

An event may come twice, late, or after the deletion it should have come before (a watch cache that lags, a proxy that replays). Each
object's resourceVersion tells which of two statements is the newer one; deleted objects are remembered until the next full list.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import msgspec

from llm_gateway.registry import Endpoint

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

    metadata: Metadata
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
    """A watch event; the object's shape depends on the type."""

    type: str
    object: msgspec.Raw


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
    """What a slice came to: its engines, and those of each of its endpoints."""

    item: Slice
    engines: list[Endpoint]
    of_endpoint: list[list[Endpoint]]


class SliceSet:
    """All slices of the namespace, by name."""

    def __init__(self) -> None:
        self._slices: dict[str, Slice] = {}
        self._deleted: dict[str, int] = {}
        # Of many slices, an event changes one.
        self._shown: dict[str, Shown] = {}

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
        """All engines that the slices show; what is as it was is the same object, in the same place. Raises msgspec.MsgspecError.

        A terminating one gets nothing new, even while it still serves."""
        shown: dict[str, Shown] = {}
        found: list[Endpoint] = []
        for name, item in self._slices.items():
            before = self._shown.get(name)
            after = before if before is not None and before.item is item else show(item, before)
            shown[name] = after
            found += after.engines
        self._shown = shown
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
    same = before is not None and before.item.ports == item.ports and before.item.metadata.labels == labels
    known = (
        list(zip(before.item.endpoints or [], before.of_endpoint, strict=True)) if before is not None and same else []
    )
    found = [
        engines if old == text else engines_of(_ENDPOINT.decode(text), ports, labels)
        for text, (old, engines) in zip(texts, known, strict=False)
    ]
    found += [engines_of(_ENDPOINT.decode(text), ports, labels) for text in texts[len(found) :]]
    return Shown(item, list(chain.from_iterable(found)), found)


def engines_of(endpoint: SliceEndpoint, ports: list[int], labels: dict[str, str]) -> list[Endpoint]:
    """The engines at one endpoint: one for each port."""
    if not endpoint.addresses:
        return []
    conditions = endpoint.conditions
    return [
        Endpoint(
            host=endpoint.addresses[0],
            port=port,
            name=endpoint.target_ref.name if endpoint.target_ref is not None else "",
            kind=labels.get(LABEL_ENGINE, ""),
            model=labels.get(LABEL_MODEL, ""),
            ready=conditions.ready is not False and conditions.serving is not False and not conditions.terminating,
            weight=_weight(labels.get(LABEL_WEIGHT, "")),
        )
        for port in ports
    ]
