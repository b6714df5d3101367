# SPDX-License-Identifier: Apache-2.0
"""Removal: a component whose state is absent, and objects that a newer descriptor no longer has.

Only what carries our mark is deleted, in reverse order of creation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, LABEL_RECORD, MANAGED_BY
from ..describe.descriptor import EVERY_NAMESPACE, Component, Reference
from ..kubernetes.client import ApiError, Client, Resource
from ..objects.identity import identity
from .base import Action, Context, Document, Outcome, matches, subject
from .claims import claims_of
from .gone import lost_with, may_be_lost, wait_gone
from .manifest import in_order

# What the API server, its controllers or a mesh make in every namespace; a namespace that holds only these is empty.
_HOUSEHOLD = {
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "istio-ca-crl"),
    ("ServiceAccount", "default"),
}
# These are deleted only after their pods (foreground); for all others that would be needless work of the garbage
# collector.
WITH_PODS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")
_DEFINITION, _CLAIM = "CustomResourceDefinition", "PersistentVolumeClaim"
# These go only when nothing of anybody else depends on them, so nodes of their own delete them.
_LATER = (_DEFINITION, "Namespace")
# The API server's own records: they expire on their own.
_TRACES = ("Event", "PodMetrics", "NodeMetrics")
# The control plane copies a Service's labels to these objects, our mark among them.
_COPIES_OF_SERVICES = ("Endpoints", "EndpointSlice")
_CONTROL_PLANE = "kube-controller-manager"


@dataclass
class PermissionNode:
    """Refuses a removal that would lose data: before hooks of charts run, which may delete data themselves."""

    component: Component
    name: str = "permission"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        if context.run.client is None:
            return Outcome()
        for document in [*_doomed(context, self.component), *_left_by(context, self.component)]:
            lost_with(context, document, self.component.lose_data)
        return Outcome()


@dataclass
class RemoveNode:
    """Deletes a component's objects and waits until they are gone. Its namespaces and its CRDs have nodes of their own."""

    component: Component
    name: str = "removal"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        if context.run.client is None:
            return Outcome()
        mine = [one for one in _mine(context, self.component) if one["kind"] not in _LATER]
        kept = [one for one in mine if _stays(context, self.component, one)]
        notes = [f"{subject(document)} is kept (`retain`)" for document in kept]
        left = _left_by(context, self.component)
        for document in left:
            lost_with(context, document, self.component.lose_data)
        actions = delete_all(context, _doomed(context, self.component), self.component.lose_data)
        # Only now is nobody left who would make them again.
        actions += delete_all(context, left, self.component.lose_data)
        return Outcome(actions, notes)


def _left_by(context: Context, component: Component) -> list[Document]:
    """What the component's programs made, outside of our mark, and leave."""
    found = [*_named(context, component), *claims_of(context.run.api(), _doomed(context, component))]
    return [one for one in found if not _stays(context, component, one)]


def _named(context: Context, component: Component) -> Iterator[Document]:
    client = context.run.api()
    for reference in component.leaves:
        resource = next((one for one in client.resources().values() if one.kind == reference.kind), None)
        for live in _live_of(client, resource, reference) if resource else []:
            if (live["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) != MANAGED_BY:
                yield live


def _live_of(client: Client, resource: Resource, reference: Reference) -> list[Document]:
    """The object of that name, or those of all namespaces."""
    if reference.namespace == EVERY_NAMESPACE:
        return client.list(resource, fields=f"metadata.name={reference.name}")
    live = client.get(resource, reference.name, reference.namespace)
    return [] if live is None else [live]


def _mine(context: Context, component: Component) -> list[Document]:
    """A component's live objects that nothing in this run describes."""
    return [one for one in owned(context).get(component.name, []) if not context.desired.has(identity(one))]


def _doomed(context: Context, component: Component) -> list[Document]:
    mine = [one for one in _mine(context, component) if one["kind"] not in _LATER]
    return [document for document in mine if not _stays(context, component, document)]


def _stays(context: Context, component: Component, document: Document) -> bool:
    """Charts ask for claims to be kept because nobody asks Helm's users about their data. Here that is asked."""
    if document["kind"] == _CLAIM and not is_named(document, component.retain):
        return is_retained(document, ()) and not may_be_lost(context, identity(document), component.lose_data)
    return is_retained(document, component.retain)


@dataclass
class CrdsRemovalNode:
    """Deletes a component's CRDs that no remaining objects need, and then the component's record.

    It comes after the namespaces: a namespace whose objects' kind has just been deleted takes the namespace controller
    half a minute.
    """

    component: Component
    name: str = "removal of CRDs"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        if context.run.client is None:
            return Outcome()
        actions: list[Action] = []
        notes: list[str] = []
        for document in owned(context).get(self.component.name, []):
            # Charts ask for their CRDs to be kept because Helm would delete users' objects with them. Here these keep it.
            if document["kind"] != _DEFINITION or is_named(document, self.component.retain):
                continue
            if context.desired.has(identity(document)):
                continue
            left = _instances(context, document)
            if left:
                notes.append(f"{subject(document)} is kept: {left} objects of its kind are not ours")
            else:
                actions += delete_all(context, [document])
        if not context.run.check:
            context.run.recorder.forget(self.component.name)
        return Outcome(actions, notes)


@dataclass
class PruneNode:
    """Deletes what earlier revisions of a component had and this one does not have."""

    component: Component
    name: str = "prune"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        return Outcome(prune(context, self.component))


def prune(context: Context, described: Component) -> list[Action]:
    """Delete what a component's record names, what still carries the component's mark, and what nothing in this run describes."""
    if context.run.client is None:
        return []
    component, doomed = described.name, []
    for target in sorted(context.run.recorder.known(component) - set(context.desired.of(component))):
        resource = _resource(context.run.client, target.group, target.kind)
        if resource is None or target.kind in _LATER or context.desired.has(target):
            continue
        live = context.run.client.get(resource, target.name, target.namespace)
        if live is None:
            continue
        document = {"apiVersion": resource.api_version, "kind": resource.kind, **live}
        labels = live["metadata"].get("labels") or {}
        ours = labels.get(LABEL_MANAGED_BY) == MANAGED_BY and labels.get(LABEL_COMPONENT) == component
        if ours and not is_retained(document, described.retain):
            doomed.append(document)
    return delete_all(context, doomed, described.lose_data)


def delete_all(context: Context, documents: Sequence[Document], may_lose: Sequence[Reference] = ()) -> list[Action]:
    """Delete live objects in reverse order and wait until all are gone; in check mode only report that.

    Raises NodeError, before the first is deleted, for an object whose data loss was not allowed.
    """
    ordered = list(reversed(in_order(documents)))
    actions = [
        Action("delete", subject(document), before=document, loses=lost_with(context, document, may_lose))
        for document in ordered
    ]
    context.desired.deleted.update({document["metadata"]["uid"]: identity(document) for document in ordered})
    if not context.run.check:
        custom = _custom_kinds(context.run.api()) if ordered else set()
        first = [one for one in ordered if (_group(one), one["kind"]) in custom]
        # Their controllers clear the finalizers, and may themselves be deleted with the rest.
        _delete_and_wait(context, first)
        _delete_and_wait(context, [one for one in ordered if one not in first])
    return actions


def _custom_kinds(client: Client) -> set[tuple[str, str]]:
    """(group, kind) of every kind that a CRD defines."""
    resource = client.resource("apiextensions.k8s.io/v1", _DEFINITION)
    found = client.list(resource) if resource else []
    return {(one["spec"]["group"], one["spec"]["names"]["kind"]) for one in found}


def _group(document: Document) -> str:
    return identity(document).group


def _delete_and_wait(context: Context, documents: Sequence[Document]) -> None:
    client = context.run.api()
    found = [(document, client.resource(document["apiVersion"], document["kind"])) for document in documents]
    for document, resource in found:
        metadata = document["metadata"]
        if resource:
            policy = "Foreground" if document["kind"] in WITH_PODS else "Background"
            client.delete(resource, metadata["name"], metadata.get("namespace", ""), uid=metadata["uid"], policy=policy)
    for document, resource in found:
        if resource:
            wait_gone(context, resource, document)
            if document["kind"] == _DEFINITION:
                client.forget_resources()


def is_retained(document: Document, retain: Sequence[Reference]) -> bool:
    """Whether the descriptor, or the object itself in Helm's words, asks for it to stay."""
    asked = (document["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
    return asked or is_named(document, retain)


def is_named(document: Document, retain: Sequence[Reference]) -> bool:
    """Whether the descriptor asks for it to stay."""
    return any(matches(kept, identity(document)) for kept in retain)


def owned(context: Context) -> dict[str, list[Document]]:
    """Everything that carries our mark, by component; read from the cluster once a run."""
    found = context.desired.owned()
    if found or context.run.client is None:
        return found
    read: dict[str, dict[str, Document]] = {"": {}}
    selector = f"{LABEL_MANAGED_BY}={MANAGED_BY},!{LABEL_RECORD}"
    for resource in deletable(context.run.client.resources().values()):
        for document in _listed(context.run.client, resource, labels=selector):
            metadata = document["metadata"]
            if not _has_controller(document) and not _is_copy(document):
                component = metadata["labels"].get(LABEL_COMPONENT, "")
                read.setdefault(component, {}).setdefault(metadata["uid"], document)
    return context.desired.owned({component: list(documents.values()) for component, documents in read.items()})


def deletable(resources: Iterable[Resource]) -> list[Resource]:
    """Kinds that can be listed and deleted, each in one version only."""
    chosen: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        group = resource.api_version.rpartition("/")[0]
        if {"list", "delete"} <= resource.verbs and resource.kind not in _TRACES:
            chosen.setdefault((group, resource.plural), resource)
    return list(chosen.values())


def _listed(client: Client, resource: Resource, namespace: str = "", *, labels: str = "") -> list[Document]:
    """All objects; none of a kind whose definition is just going, or that lists nothing."""
    try:
        return client.list(resource, namespace, labels=labels)
    except ApiError as error:
        if error.status in (404, 405):
            return []
        raise


def contents(client: Client, namespace: str, *, ours: bool = True) -> list[Document]:
    """Everything in a namespace that somebody created there; with `ours` False, without what carries our mark."""
    found: list[Document] = []
    for resource in deletable(client.resources().values()):
        if resource.namespaced:
            found += _listed(client, resource, namespace, labels="" if ours else f"{LABEL_MANAGED_BY}!={MANAGED_BY}")
    return [
        document
        for document in found
        if (document["kind"], document["metadata"]["name"]) not in _HOUSEHOLD
        and not _has_controller(document)
        and not _is_copy(document)
    ]


def _has_controller(document: Document) -> bool:
    """Whether a controller made the object: it is deleted with its owner."""
    return any(owner.get("controller") for owner in document["metadata"].get("ownerReferences") or [])


def _is_copy(document: Document) -> bool:
    """Whether the control plane made the object from a Service: Endpoints have no owner reference, and are still deleted with it."""
    if document["kind"] not in _COPIES_OF_SERVICES:
        return False
    managers = {entry.get("manager") for entry in document["metadata"].get("managedFields") or []}
    return managers == {_CONTROL_PLANE}


def _instances(context: Context, crd: Document) -> int:
    """Objects of a CRD's kind that this run does not delete."""
    client, spec = context.run.api(), crd["spec"]
    resource = _resource(client, spec["group"], spec["names"]["kind"])
    if resource is None:
        return 0
    return sum(1 for one in _listed(client, resource) if one["metadata"]["uid"] not in context.desired.deleted)


def _resource(client: Client, group: str, kind: str) -> Resource | None:
    """The first served version of a kind."""
    for found in client.resources().values():
        if found.kind == kind and found.api_version.rpartition("/")[0] == group:
            return found
    return None
