# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects by server-side apply: planned by a dry run, applied, read back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..compare import changes
from ..conflicts import read_conflicts, without
from ..kubernetes.client import ApiError, Resource
from .base import Action, Context, Document, NodeError, Outcome, subject

# Kinds that others refer to come first; within a kind the descriptor's order stands.
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
)
_MAX_CONFLICT_ROUNDS = 5


def in_order(documents: Sequence[Document]) -> list[Document]:
    return sorted(
        documents, key=lambda document: _ORDER.index(document["kind"]) if document["kind"] in _ORDER else len(_ORDER)
    )


def is_kept(document: Document) -> bool:
    """Whether the object itself asks to outlive what made it, in Helm's words."""
    return bool((document["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep")


def labelled(document: Document, component: str) -> Document:
    """The document with our ownership marks; everything else as the descriptor has it."""
    made = copy.deepcopy(document)
    labels = made["metadata"].setdefault("labels", {})
    labels[LABEL_MANAGED_BY] = MANAGED_BY
    if component:
        labels[LABEL_COMPONENT] = component
    return made


@dataclass
class ManifestNode:
    """The objects of a component, one after the other."""

    component: str
    documents: Sequence[Document]
    namespace: str = ""
    name: str = "objects"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        actions: list[Action] = []
        notes: list[str] = []
        for document in in_order(self.documents):
            outcome = apply(context, labelled(document, self.component), self.namespace)
            actions += outcome.actions
            notes += outcome.notes
        return Outcome(actions, notes)


def apply(context: Context, document: Document, namespace: str = "") -> Outcome:
    """Bring one object about. Nothing is written when the dry run shows no difference."""
    if document["kind"] == "CustomResourceDefinition":
        _announce_kind(context, document)
    resource = context.resource(document)
    if namespace and (resource is None or resource.namespaced):
        document["metadata"].setdefault("namespace", namespace)
    if resource is not None and not resource.namespaced:
        document["metadata"].pop("namespace", None)
    context.will_exist(subject(document))
    if resource is None or (context.check and _namespace_comes(context, document)):
        return Outcome([Action("create", subject(document), after=document)])
    client = context.api()
    metadata = document["metadata"]
    live = client.get(resource, metadata["name"], metadata.get("namespace", ""))
    if live is not None and live["metadata"].get("deletionTimestamp"):
        raise NodeError(
            f"{subject(document)} is being deleted"
            f"{' and held by finalizers ' + ', '.join(live['metadata']['finalizers']) if live['metadata'].get('finalizers') else ''}; "
            "wait until it is gone, or clear what holds it"
        )
    wanted, planned, force, notes = _dry_run(context, resource, document)
    difference = changes(live, planned)
    if live is not None and not difference:
        return Outcome(notes=notes)
    action = Action("update" if live else "create", subject(document), difference if live else (), live, planned)
    if context.check:
        return Outcome([action], notes)
    made = client.apply(resource, wanted, force=force)
    if document["kind"] == "CustomResourceDefinition":
        client.forget_resources()
    return Outcome([action], [*notes, *_read_back(context, resource, made, planned)])


def _announce_kind(context: Context, document: Document) -> None:
    spec = document["spec"]
    for version in spec["versions"]:
        context.will_exist(f"kind {spec['group']}/{version['name']}/{spec['names']['kind']}")


def _namespace_comes(context: Context, document: Document) -> bool:
    """Whether the object's namespace is only made in this run: then there is nothing to ask the server yet."""
    namespace = document["metadata"].get("namespace", "")
    return bool(namespace) and context.is_planned(f"new namespace {namespace}")


def _dry_run(context: Context, resource: Resource, document: Document) -> tuple[Document, Document, bool, list[str]]:
    """(what to apply, what the server would make of it, whether to force, notes).

    Fields that a controller holds are left to it; fields that anybody else changed are taken back.
    """
    client = context.api()
    wanted, force = document, False
    notes: list[str] = []
    for _ in range(_MAX_CONFLICT_ROUNDS):
        try:
            return wanted, client.apply(resource, wanted, dry_run=True, force=force), force, notes
        except ApiError as error:
            conflicts = read_conflicts(error.details) if error.status == 409 else []
            if not conflicts:
                raise
            for conflict in conflicts:
                if conflict.left_to_them:
                    wanted = without(wanted, conflict.field)
                    notes.append(f"{subject(document)}: {conflict.field} is left to {conflict.manager}")
                else:
                    notes.append(
                        f"{subject(document)}: {conflict.field} was changed by {conflict.manager}, it is taken back"
                    )
            # Force only once every field of a controller is out: force would take those, too.
            force = all(not conflict.left_to_them for conflict in conflicts)
    raise NodeError(f"{subject(document)}: its fields are claimed by others again and again; see its managedFields")


def _read_back(context: Context, resource: Resource, made: Document, planned: Document) -> list[str]:
    """What the server made is what the plan said; a webhook that changed it is worth a note, a lost object an error."""
    metadata = made["metadata"]
    found = context.api().get(resource, metadata["name"], metadata.get("namespace", ""))
    if found is None:
        raise NodeError(
            f"{subject(made)}: the API accepted it, but it is not there; an admission webhook or a controller removes it"
        )
    surprises = changes(planned, made)
    return [f"{subject(made)}: the server made {len(surprises)} fields different, {surprises[0]}"] if surprises else []


@dataclass
class NamespaceNode:
    """The component's namespace. Several components may share it, so it carries no component's label."""

    namespace: str
    pod_security: str
    labels: dict[str, str]
    name: str = "namespace"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        security = {f"pod-security.kubernetes.io/{mode}": self.pod_security for mode in ("enforce", "audit", "warn")}
        document: Document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {**security, **self.labels}},
        }
        if context.client is None or not self._exists(context):
            context.will_exist(f"new namespace {self.namespace}")
        if context.client is not None and self._is_others(context):
            return Outcome()
        return apply(context, labelled(document, ""))

    def _exists(self, context: Context) -> bool:
        return self._read(context) is not None

    def _is_others(self, context: Context) -> bool:
        """A namespace that was there before us is used, never marked as ours."""
        found = self._read(context)
        return found is not None and found["metadata"].get("labels", {}).get(LABEL_MANAGED_BY) != MANAGED_BY

    def _read(self, context: Context) -> Document | None:
        resource = context.api().resource("v1", "Namespace")
        return context.api().get(resource, self.namespace) if resource else None
