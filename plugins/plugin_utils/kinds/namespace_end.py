# SPDX-License-Identifier: Apache-2.0
"""The end of namespaces that are ours: each goes once nothing is left in it but what this run deletes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY, NAMESPACE_SYSTEM
from ..describe.descriptor import Component, Reference, home_of
from ..objects.identity import Identity, identity, namespace_identity
from .base import Context, Document, Outcome, subject
from .remove import WITH_PODS, contents, delete_all, is_retained, owned

# On a ConfigMap or Endpoints: https://pkg.go.dev/k8s.io/client-go/tools/leaderelection/resourcelock
_LOCK = "control-plane.alpha.kubernetes.io/leader"


@dataclass
class NamespaceRemovalNode:
    """Ends the namespace that removed components describe as theirs."""

    namespace: str
    retain: Sequence[Reference] = field(default_factory=tuple)
    slow: bool = False

    @property
    def name(self) -> str:
        return f"end of namespace {self.namespace}"

    def run(self, context: Context) -> Outcome:
        return _end(context, self.namespace, self.retain)


@dataclass
class OtherNamespacesNode:
    """Ends the other namespaces that a component's objects are or were in, by its records and its live objects.

    Such a component moved, lists a namespace among its objects, or is described by its name alone. A namespace that
    another component describes as its own is left to that one.
    """

    component: Component
    name: str = "end of other namespaces"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        left, retain = sorted(self._left(context)), self.component.retain
        ended = [_end(context, namespace, retain, self.component.name) for namespace in left]
        return Outcome(
            [action for one in ended for action in one.actions], [note for one in ended for note in one.notes]
        )

    def _left(self, context: Context) -> set[str]:
        name = self.component.name
        targets = context.run.recorder.known(name)
        if self.component.state == "absent":
            targets |= {identity(document) for document in owned(context).get(name, [])}
        kept = {"", NAMESPACE_SYSTEM, home_of(self.component), *map(_place, context.desired.of(name))}
        return {
            place for place in set(map(_place, targets)) - kept if not context.desired.has(namespace_identity(place))
        }


def _place(target: Identity) -> str:
    """The namespace that an object is in, or is."""
    return target.name if target._replace(name="") == namespace_identity("") else target.namespace


def _end(context: Context, namespace: str, retain: Sequence[Reference], component: str = "") -> Outcome:
    """Delete a namespace that is ours, unless something is left in it. `component`: not if another one lists it among its objects."""
    live = context.run.live("v1", "Namespace", namespace)
    labels = (live["metadata"].get("labels") or {}) if live else {}
    if not live or not context.run.client or labels.get(LABEL_MANAGED_BY) != MANAGED_BY:
        return Outcome()
    if component and labels.get(LABEL_COMPONENT, component) != component:
        return Outcome()
    if is_retained(live, retain):
        return Outcome(notes=[f"Namespace {namespace} is kept (`retain`)"])
    left = [one for one in contents(context.run.client, namespace) if not _goes(context, one)]
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        return Outcome(notes=[f"Namespace {namespace} is kept: {subject(left[0])}{more} still in it"])
    if not context.desired.deletes_first(live["metadata"]["uid"], identity(live)):
        return Outcome()
    return Outcome(delete_all(context, [live]))


def _goes(context: Context, document: Document) -> bool:
    """Whether this run deletes an object of a namespace, or whoever leads by it."""
    if document["metadata"]["uid"] in context.desired.deleted:
        return True
    holder = _leader(document)
    if holder is None:
        return False
    # A pod takes a lock under its own name, as POD or POD_UUID; some give it back when they end.
    place = document["metadata"].get("namespace", "")
    return not holder or any(
        gone.kind in WITH_PODS and gone.namespace == place and holder.startswith(f"{gone.name}-")
        for gone in list(context.desired.deleted.values())
    )


def _leader(document: Document) -> str | None:
    """Who leads by this object, a Lease or an older kind of lock; empty: nobody; None: it is no lock."""
    older = (document["metadata"].get("annotations") or {}).get(_LOCK)
    if older is None and document["kind"] != "Lease":
        return None
    said = document.get("spec") if older is None else _read(older)
    return str((said or {}).get("holderIdentity") or "")


def _read(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict)
    except msgspec.DecodeError:
        return {}
