# SPDX-License-Identifier: Apache-2.0
"""What a node gets: the run itself, the desired state, the components' outputs, and the current waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..describe.references import UNKNOWN, UnresolvedError, as_text, references, resolve
from ..helm.options import ChartOptions
from ..kubernetes.aws_access import AwsAccess
from ..kubernetes.client import Client, Resource
from ..objects.data_loss import Permission
from ..objects.identity import Identity, identity
from ..objects.masking import Masker
from ..objects.record import Recorder
from .outcome import Document, NodeError, subject

# How long discovery may lag behind a new CRD.
_SERVED_WITHIN_S = 30
# Several components may use one AWS resource that none of them made.
_AWS_GROUP = "aws"


class ServedKind(NamedTuple):
    """A kind in one version."""

    api_version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}"


class OutputKey(NamedTuple):
    """An output of a component, as `${out:COMPONENT.OUTPUT}` names it."""

    component: str
    output: str


@dataclass
class Run:
    """The means of a run. `check`: plan only. `client` None: there is no cluster; a plan takes it for an empty one.

    `charts`: where charts come from. `aws`: the account, if the run has one. `enter`: called with the client of a
    cluster that was made in this run; `leave`: called before the cluster is deleted. `lose_data`: data that may be lost
    in this run. `failed`: a node has failed already.
    """

    client: Client | None
    check: bool = False
    masker: Masker = field(default_factory=Masker)
    recorder: Recorder = field(default_factory=Recorder)
    stop: threading.Event = field(default_factory=threading.Event)
    charts: ChartOptions = field(default_factory=ChartOptions)
    aws: AwsAccess | None = None
    enter: Callable[[Client], None] = lambda client: None
    leave: Callable[[], None] = lambda: None
    lose_data: Permission = field(default_factory=Permission)
    failed: bool = False

    def api(self) -> Client:
        if self.client is None:
            raise NodeError("converge: an empty cluster is assumed, there is nothing to read from")
        return self.client

    def cloud(self) -> AwsAccess:
        if self.aws is None:
            raise NodeError(
                "a component describes AWS resources, but the run has no account; set platform_provider to eks"
            )
        return self.aws

    def live(self, api_version: str, kind: str, name: str, namespace: str = "") -> Document | None:
        """The live object with its apiVersion and kind; None where the object, its kind or the cluster does not exist.

        `api_version` empty: any version. `namespace` is left out for cluster-scoped kinds.
        """
        if self.client is None:
            return None
        resource = self.client.resource(api_version, kind) if api_version else self.client.resource_of_kind(kind)
        if resource is None:
            return None
        found = self.client.get(resource, name, namespace if resource.namespaced else "")
        return {"apiVersion": resource.api_version, "kind": resource.kind, **found} if found else None

    def live_of(self, document: Mapping[str, Any], namespace: str = "") -> Document | None:
        """The live object of a document; `namespace` is used where the document names none."""
        metadata = document["metadata"]
        place = metadata.get("namespace") or namespace
        return self.live(document["apiVersion"], document["kind"], metadata["name"], place)


@dataclass
class Desired:
    """The desired objects of components, and what this run creates and deletes. Safe to share between threads.

    `deleted`: uids of what this run deletes, or would delete.
    """

    deleted: dict[str, Identity] = field(default_factory=dict)
    _documents: dict[str, dict[Identity, Document]] = field(default_factory=dict)
    _claimed: set[Identity] = field(default_factory=set)
    _parts: dict[Identity, str] = field(default_factory=dict)
    _seen: dict[Identity, Document] = field(default_factory=dict)
    _namespaces: set[str] = field(default_factory=set)
    _kinds: dict[ServedKind, bool] = field(default_factory=dict)
    _objects: set[Identity] = field(default_factory=set)
    _owned: dict[str, list[Document]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # --- what each component wants

    def note(self, component: str, documents: Mapping[Identity, Document]) -> None:
        with self._lock:
            self._documents.setdefault(component, {}).update(documents)

    def of(self, component: str) -> dict[Identity, Document]:
        with self._lock:
            return dict(self._documents.get(component, {}))

    def claim(self, targets: Iterable[Identity]) -> None:
        """Note what descriptors spell out, before the first node runs: an object that moves to another component must not be pruned."""
        with self._lock:
            self._claimed.update(targets)

    def part_of(self, target: Identity, part: str) -> str:
        """The part of a component (a release, its manifests) that described the object first: `part` itself, if none did."""
        with self._lock:
            return self._parts.setdefault(target, part)

    def has(self, target: Identity) -> bool:
        """Whether any component of the run wants this object."""
        with self._lock:
            return target in self._claimed or any(target in objects for objects in self._documents.values())

    def of_kind(self, kind: str) -> list[Document]:
        """The desired objects of one kind, of all components."""
        with self._lock:
            return [one for objects in self._documents.values() for one in objects.values() if one["kind"] == kind]

    def owner_of(self, target: Identity, *, besides: str) -> str:
        """Another component that wants this object; empty where none does."""
        with self._lock:
            return next(
                (name for name, objects in self._documents.items() if name != besides and target in objects), ""
            )

    # --- what lives

    def deletes_first(self, uid: str, target: Identity) -> bool:
        """Note what is deleted; whether no other node of this run did."""
        with self._lock:
            return self.deleted.setdefault(uid, target) is target

    def saw(self, target: Identity, live: Document) -> None:
        """Note an object as it was found."""
        with self._lock:
            self._seen[target] = live

    def seen(self) -> dict[Identity, Document]:
        with self._lock:
            return dict(self._seen)

    def owned(self, read: Mapping[str, list[Document]] | None = None) -> dict[str, list[Document]]:
        """Everything in the cluster that carries our mark, by component; kinds/remove.py reads it once a run."""
        with self._lock:
            if read is not None:
                self._owned = dict(read)
            return self._owned or {}

    # --- what comes into being in this run

    def make_namespace(self, name: str) -> None:
        with self._lock:
            self._namespaces.add(name)

    def makes_namespace(self, name: str) -> bool:
        """Whether the namespace is created in this run: then a plan cannot ask the server for a dry run."""
        with self._lock:
            return name in self._namespaces

    def make_kind(self, kind: ServedKind, *, cluster_wide: bool) -> None:
        with self._lock:
            self._kinds[kind] = cluster_wide

    def makes_kind(self, kind: ServedKind) -> bool:
        with self._lock:
            return kind in self._kinds

    def is_cluster_wide(self, kind: ServedKind) -> bool:
        """Whether a kind of this run's CRDs is cluster-scoped."""
        with self._lock:
            return self._kinds.get(kind, False)

    def kinds(self) -> list[str]:
        """apiVersion/kind of all kinds that CRDs of this run define."""
        with self._lock:
            return sorted(map(str, self._kinds))

    def make_object(self, target: Identity) -> None:
        with self._lock:
            self._objects.add(target)

    def makes_object(self, target: Identity) -> bool:
        with self._lock:
            return target in self._objects


@dataclass
class Outputs:
    """The outputs that components publish. `check`: an output that is not known yet is `(known after apply)`."""

    check: bool = False
    _values: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def publish(self, component: str, output: str, value: Any) -> None:
        with self._lock:
            self._values[OutputKey(component, output)] = value

    def resolve(self, value: Any) -> Any:
        """Nested data with every reference replaced. Raises NodeError for an output that nobody has, unless planning."""
        known = self._known()
        if self.check:
            for key in references(value):
                known.setdefault(key, UNKNOWN)
        try:
            return resolve(value, known)
        except UnresolvedError as error:
            raise NodeError(f"${{out:{error.args[0]}}} refers to an output that no component of this run has") from None

    def resolve_text(self, value: Any) -> Any:
        """As `resolve`, for what is written to Kubernetes or given to Helm: what is not known yet is plain text, too."""
        return as_text(self.resolve(value))

    def resolve_known(self, value: Any) -> Any:
        """The same for data that is only looked up: an output that nobody has is unknown, in every mode."""
        known = self._known()
        return resolve(value, {key: known.get(key, UNKNOWN) for key in references(value)})

    def _known(self) -> dict[tuple[str, str], Any]:
        with self._lock:
            return dict(self._values)


@dataclass
class Waits:
    """Current waits, for the live summary; and the time since the run's start at which each component's last node ended."""

    # (vertex, target) → reason, the newest last
    _reasons: dict[tuple[int, str], str] = field(default_factory=dict)
    _here: threading.local = field(default_factory=threading.local)
    _ended_s: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, vertex: int) -> None:
        """This thread works on the vertex of this index now: it is what its notes are about."""
        self._here.vertex = vertex

    def leave(self, vertex: int) -> None:
        """The vertex has ended, and waits for nothing more."""
        with self._lock:
            for key in [key for key in self._reasons if key[0] == vertex]:
                del self._reasons[key]

    def note(self, target: str, reason: str) -> None:
        """Note a wait for `target`, in words. An empty reason ends it."""
        key = (getattr(self._here, "vertex", -1), target)
        with self._lock:
            self._reasons.pop(key, None)
            if reason:
                self._reasons[key] = reason

    def reason(self, vertex: int) -> tuple[str, str]:
        """(target, reason) of what a vertex waits for; empty where it waits for nothing."""
        with self._lock:
            found = [(target, reason) for (at, target), reason in self._reasons.items() if at == vertex]
        return found[-1] if found else ("", "")

    def end(self, component: str, at_s: float) -> None:
        with self._lock:
            self._ended_s[component] = max(at_s, self._ended_s.get(component, 0.0))

    def seconds(self, component: str) -> float:
        with self._lock:
            return self._ended_s.get(component, 0.0)


@dataclass
class Context:
    """One run, by theme."""

    run: Run
    desired: Desired = field(default_factory=Desired)
    outputs: Outputs = field(default_factory=Outputs)
    waits: Waits = field(default_factory=Waits)

    def desire(self, component: str, documents: Iterable[Document], part: str = "") -> None:
        """Note a component's desired objects before any of them is written: its record and pruning are based on them.

        `part`: what describes them, for example a release. Raises NodeError where something else describes one of them.
        """
        found = {identity(document): document for document in documents}
        for target, document in found.items():
            self.run.masker.learn_document(document)
            other = "" if target.group == _AWS_GROUP else self.desired.owner_of(target, besides=component)
            if other:
                raise NodeError(f"components {other} and {component} both describe {target}; one of them must drop it")
            first = self.desired.part_of(target, part) if part else part
            if first != part:
                raise NodeError(
                    f"{first} and {part} of component {component} both make {target}; one of them must drop it"
                )
        self.desired.note(component, found)
        if not self.run.check:
            self.run.recorder.intend(component, found)

    def resource(self, document: Document) -> Resource | None:
        """How the API serves this document's kind; None when a CRD made in this run will serve it."""
        api_version, kind = document["apiVersion"], document["kind"]
        run = self.run
        if run.client is None:
            return None
        found = run.client.resource(api_version, kind)
        planned = self.desired.makes_kind(ServedKind(api_version, kind))
        end = time.monotonic() + (_SERVED_WITHIN_S if planned else 0)
        while found is None and not run.check:
            run.client.forget_resources()
            found = run.client.resource(api_version, kind)
            # Discovery lags behind a CRD that was just made.
            if time.monotonic() >= end or run.stop.wait(0.2 if found is None else 0):
                break
        if found is None and not (run.check and planned):
            raise NodeError(
                f"{subject(document)}: the cluster serves no {kind} in {api_version}; "
                "install what defines it, or name it in `requires`"
            )
        return found


def context_of(run: Run) -> Context:
    """The context that a run begins with."""
    return Context(run, outputs=Outputs(check=run.check))
