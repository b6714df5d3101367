# SPDX-License-Identifier: Apache-2.0
"""What every kind of node shares: the context of a run, what a node reports, and the contract it keeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ...module_utils.errors import LlmOnEksError
from ..describe.descriptor import Reference
from ..describe.references import UNKNOWN, UnresolvedError, references, resolve
from ..helm.options import ChartOptions
from ..kubernetes.aws_access import AwsAccess
from ..kubernetes.client import Client, Resource
from ..objects import disruption
from ..objects.compare import Change, to_yaml
from ..objects.identity import Identity, identity
from ..objects.masking import Masker
from ..objects.record import Recorder

Document = dict[str, Any]
_SERVED_TIMEOUT_S = 30
Verb = Literal["create", "update", "delete", "recreate", "run", "adopt"]


class NodeError(LlmOnEksError):
    """A node of the graph could not reach its state."""


@dataclass(frozen=True)
class Action:
    """One thing done, or that would be done. `subject` is kind and name as people write them.

    `means`: what it does to users, where the kind of node knows that better than the document says.
    """

    verb: Verb
    subject: str
    changes: Sequence[Change] = ()
    before: Document | None = None
    after: Document | None = None
    means: disruption.Disruption | None = None

    @property
    def disruption(self) -> disruption.Disruption:
        return self.means or disruption.of(self.verb, self.before or self.after, self.changes)

    def diff(self, masker: Masker) -> dict[str, str]:
        """In Ansible's form, secrets masked."""
        return {
            "before_header": self.subject,
            "after_header": self.subject,
            "before": masker.text(to_yaml(self.before)),
            "after": masker.text(to_yaml(self.after)),
        }


@dataclass(frozen=True)
class Outcome:
    """What a node did or would do, and what someone should know about it."""

    actions: Sequence[Action] = ()
    notes: Sequence[str] = ()


class Unfinished(NodeError):
    """A node failed after it had done something; `outcome` is what it had done."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class Policy:
    """What a component's descriptor allows: taking over objects of others, and deleting to make anew."""

    adopt: bool = False
    recreate: Sequence[Reference] = ()

    def may_recreate(self, target: Identity) -> bool:
        return any(matches(reference, target) for reference in self.recreate)


@dataclass
class Context:
    """One run. `check`: plan only. `client` is None while there is no cluster, which a plan takes for an empty one.

    `charts`: where charts come from. `aws`: the account, where the run has one. `enter`: called with the client of a cluster
    that was made in this run; `leave`: called before the cluster is taken away.
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
    # Something in this run failed already.
    failed: bool = False
    # uids of what this run deletes, or would delete
    doomed: set[str] = field(default_factory=set)
    _planned: set[str] = field(default_factory=set)
    _claimed: set[Identity] = field(default_factory=set)
    _desired: dict[str, dict[Identity, Document]] = field(default_factory=dict)
    _outputs: dict[tuple[str, str], Any] = field(default_factory=dict)
    _waiting: dict[str, str] = field(default_factory=dict)
    _live: dict[Identity, Document] = field(default_factory=dict)
    _ended: dict[str, float] = field(default_factory=dict)
    _owned: dict[str, list[Document]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

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

    # --- what comes into being in this run

    def will_exist(self, *keys: str) -> None:
        """Note that namespaces, kinds or objects come into being in this run."""
        with self._lock:
            self._planned.update(keys)

    def is_planned(self, key: str) -> bool:
        with self._lock:
            return key in self._planned

    def planned_kinds(self) -> list[str]:
        """apiVersion/kind of what CRDs of this run bring."""
        with self._lock:
            return sorted(key.removeprefix("kind ") for key in self._planned if key.startswith("kind "))

    def namespace_comes(self, document: Document) -> bool:
        """Whether the object's namespace is only made in this run: a plan has nothing to ask the server then."""
        namespace = document["metadata"].get("namespace", "")
        return bool(namespace) and self.is_planned(f"new namespace {namespace}")

    # --- what each component wants

    def desire(self, component: str, documents: Iterable[Document]) -> None:
        """Note what a component consists of, before anything of it is written: the base of its record and of pruning."""
        found = {identity(document): document for document in documents}
        with self._lock:
            self._desired.setdefault(component, {}).update(found)
            for document in found.values():
                self.masker.learn_document(document)
        if not self.check:
            self.recorder.intend(component, found)

    def desired(self, component: str) -> dict[Identity, Document]:
        with self._lock:
            return dict(self._desired.get(component, {}))

    def saw(self, target: Identity, live: Document) -> None:
        """Note an object as it was found."""
        with self._lock:
            self._live[target] = live

    def live(self) -> dict[Identity, Document]:
        with self._lock:
            return dict(self._live)

    def claim(self, targets: Iterable[Identity]) -> None:
        """Note before the first node runs what the descriptors spell out: nobody prunes what is to move to another component."""
        with self._lock:
            self._claimed.update(targets)

    def wanted_by_any(self, target: Identity) -> bool:
        with self._lock:
            return target in self._claimed or any(target in objects for objects in self._desired.values())

    # --- outputs

    def publish(self, component: str, output: str, value: Any) -> None:
        with self._lock:
            self._outputs[component, output] = value

    def resolve(self, value: Any) -> Any:
        """Nested data with every reference replaced; in check mode by `(known after apply)` where it is not known yet."""
        with self._lock:
            outputs = dict(self._outputs)
        if self.check:
            for key in references(value):
                outputs.setdefault(key, UNKNOWN)
        try:
            return resolve(value, outputs)
        except UnresolvedError as error:
            raise NodeError(f"the output {error.args[0]} is referred to, but no component of this run has it") from None

    def resolve_known(self, value: Any) -> Any:
        """The same for what is only looked at: what nobody has said is not known, in every mode."""
        with self._lock:
            outputs = dict(self._outputs)
        return resolve(value, {key: outputs.get(key, UNKNOWN) for key in references(value)})

    # --- what is being waited for, for the live summary

    def waiting(self, target: str, reason: str) -> None:
        with self._lock:
            if reason:
                self._waiting[target] = reason
            else:
                self._waiting.pop(target, None)

    def waits(self) -> dict[str, str]:
        with self._lock:
            return dict(self._waiting)

    def spent(self, component: str, ended_s: float) -> None:
        """Note when, since the run's begin, a node of a component ended."""
        with self._lock:
            self._ended[component] = max(ended_s, self._ended.get(component, 0.0))

    def seconds(self, component: str) -> float:
        """When, since the run's begin, the last node of a component ended."""
        with self._lock:
            return self._ended.get(component, 0.0)

    # --- what is ours

    def owned(self, read: Mapping[str, list[Document]] | None = None) -> dict[str, list[Document]]:
        """Everything in the cluster that carries our mark, by component; read once a run by kinds/remove.py."""
        with self._lock:
            if read is not None:
                self._owned = dict(read)
            return self._owned or {}

    # --- kinds

    def resource(self, document: Document) -> Resource | None:
        """How the API serves this document's kind; None when a CRD made in this run will serve it."""
        api_version, kind = document["apiVersion"], document["kind"]
        if self.client is None:
            return None
        found = self.client.resource(api_version, kind)
        planned = self.is_planned(f"kind {api_version}/{kind}")
        end = time.monotonic() + (_SERVED_TIMEOUT_S if planned else 0)
        while found is None and not self.check:
            self.client.forget_resources()
            found = self.client.resource(api_version, kind)
            # Discovery lags behind a CRD that was just made.
            if time.monotonic() >= end or self.stop.wait(0.2 if found is None else 0):
                break
        if found is None and not (self.check and planned):
            raise NodeError(
                f"{subject(document)}: the cluster serves no {kind} in {api_version}; "
                "install what defines it, or name it in `requires`"
            )
        return found


class Node(Protocol):
    """A unit of work. `slow` nodes only wait: they do not count against the concurrency."""

    @property
    def name(self) -> str: ...

    @property
    def slow(self) -> bool: ...

    def run(self, context: Context) -> Outcome:
        """Bring the state about (plan it only, when `context.check`). Raises LlmOnEksError."""
        ...


def subject(document: Mapping[str, Any]) -> str:
    """`Deployment kong/kong-gateway`, `Namespace kong`."""
    return str(identity(document))


def matches(reference: Reference, target: Identity) -> bool:
    """Whether a descriptor's reference means this object; one without a namespace means any."""
    return (
        reference.kind == target.kind
        and reference.name == target.name
        and reference.namespace in ("", target.namespace)
    )
