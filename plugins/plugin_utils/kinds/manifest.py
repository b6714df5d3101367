# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects by server-side apply: planned by a dry run, applied, read back."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...module_utils.errors import LlmOnEksError
from ...module_utils.names import FIELD_MANAGER, LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..describe.descriptor import Reference
from ..describe.references import is_unknown
from ..kubernetes.client import ApiError, Resource
from ..objects import data_loss
from ..objects.admission_changes import admission_changes
from ..objects.compare import changes
from ..objects.conflicts import read_conflicts, without
from ..objects.identity import identity
from ..objects.server_assigned import as_planned
from .base import Action, Context, Document, NodeError, Outcome, Policy, ServedKind, Unfinished, matches, subject

# Kinds that others refer to come first; within a kind the descriptor's order stands.
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
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
# Webhooks answer for other objects: they come when what serves them has been asked for.
_LAST = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService")
# Kubernetes' own kinds outside of namespaces, for plans that have no server to ask.
_WIDE = (
    *("APIService", "CSIDriver", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "IngressClass"),
    *("MutatingWebhookConfiguration", "Namespace", "PersistentVolume", "PriorityClass", "RuntimeClass", "StorageClass"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"),
)
_MAX_CONFLICT_ROUNDS = 5
_GONE_TIMEOUT_S = 300


def in_order(documents: Sequence[Document]) -> list[Document]:
    def place(document: Document) -> int:
        kind = document["kind"]
        if kind in _ORDER:
            return _ORDER.index(kind)
        return len(_ORDER) + (1 if kind in _LAST else 0)

    return sorted(documents, key=place)


def labelled(document: Document, component: str) -> Document:
    """The document with our ownership marks; everything else as the descriptor has it."""
    made = copy.deepcopy(document)
    labels = made["metadata"].setdefault("labels", {}) or {}
    made["metadata"]["labels"] = labels
    labels[LABEL_MANAGED_BY] = MANAGED_BY
    if component:
        labels[LABEL_COMPONENT] = component
    return made


def placed(context: Context, document: Document, namespace: str) -> Document:
    """The document with its namespace as the server will have it: the component's where it names none."""
    if document["kind"] == "CustomResourceDefinition":
        announce_kind(context, document)
    resource = context.resource(document)
    if not (resource.namespaced if resource else _namespaced(context, document)):
        document["metadata"].pop("namespace", None)
    elif namespace:
        document["metadata"].setdefault("namespace", namespace)
    return document


def _namespaced(context: Context, document: Document) -> bool:
    """Of a kind that nothing serves yet."""
    kind = ServedKind(document["apiVersion"], document["kind"])
    return not context.desired.is_cluster_wide(kind) and document["kind"] not in _WIDE


@dataclass
class ManifestNode:
    """The objects of a component, one after the other."""

    component: str
    documents: Sequence[Document]
    namespace: str = ""
    name: str = "objects"
    policy: Policy = field(default_factory=Policy)
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        documents = [labelled(context.outputs.resolve(document), self.component) for document in self.documents]
        return apply_all(context, self.component, documents, self.namespace, self.policy)


def apply_all(
    context: Context, component: str, documents: Sequence[Document], namespace: str, policy: Policy
) -> Outcome:
    """Bring labelled objects about, one after the other; all are noted before the first is written."""
    for document in documents:
        if document["kind"] == "CustomResourceDefinition":
            announce_kind(context, document)
    wanted = [placed(context, document, namespace) for document in in_order(documents)]
    context.desire(component, wanted)
    actions: list[Action] = []
    notes: list[str] = []
    for document in wanted:
        try:
            outcome = apply(context, document, policy)
        except LlmOnEksError as error:
            raise Unfinished(str(error), Outcome(actions, notes)) from error
        actions += outcome.actions
        notes += outcome.notes
    return Outcome(actions, notes)


def apply(context: Context, document: Document, policy: Policy | None = None) -> Outcome:
    """Bring one labelled and placed object about. Nothing is written when the dry run shows no difference."""
    policy = policy or Policy()
    resource = context.resource(document)
    context.desired.make_object(identity(document))
    if resource is None or (
        context.run.check and context.desired.makes_namespace(document["metadata"].get("namespace", ""))
    ):
        return Outcome([Action("create", subject(document), after=document)])
    client = context.run.api()
    metadata = document["metadata"]
    live = client.get(resource, metadata["name"], metadata.get("namespace", ""))
    if live is not None:
        context.run.masker.learn_document(live)
        context.desired.saw(identity(document), live)
        _refuse_if_dying(live)
    stranger = _stranger(live)
    if stranger and not policy.adopt:
        raise NodeError(
            f"{subject(document)} exists and is not ours, {stranger}; "
            "remove it, or let the component take it over with `adopt: true`"
        )
    if is_unknown(document):
        difference = changes(live, {**live, **document}) if live else []
        return Outcome([Action("update" if live else "create", subject(document), difference, live, document)])
    try:
        wanted, planned, force, notes = _dry_run(context, resource, document)
    except ApiError as error:
        if live is None or not _is_immutable(error):
            raise
        return _recreate(context, resource, document, live, policy, error)
    notes += _admission_notes(wanted, planned)
    planned = as_planned(planned, live, document)
    difference = changes(live, planned)
    if live is not None and not difference:
        return Outcome(notes=notes)
    verb = "adopt" if stranger else ("update" if live else "create")
    action = Action(verb, subject(document), difference if live else (), live, planned)  # type: ignore[arg-type]
    if context.run.check:
        return Outcome([action], notes)
    made = client.apply(resource, wanted, force=force)
    if document["kind"] == "CustomResourceDefinition":
        client.forget_resources()
    return Outcome([action], [*notes, *_read_back(context, resource, made, planned)])


def announce_kind(context: Context, document: Document) -> None:
    """The kinds that a CRD will serve can be planned before it exists."""
    spec = document["spec"]
    for version in spec["versions"]:
        kind = ServedKind(f"{spec['group']}/{version['name']}", spec["names"]["kind"])
        context.desired.make_kind(kind, cluster_wide=spec.get("scope") == "Cluster")


def _refuse_if_dying(live: Document) -> None:
    if not live["metadata"].get("deletionTimestamp"):
        return
    held = ", ".join(live["metadata"].get("finalizers") or [])
    raise NodeError(
        f"{subject(live)} is being deleted{f' and held by finalizers {held}' if held else ''}; "
        "wait until it is gone, or clear what holds it"
    )


def is_strange(live: Document) -> bool:
    """Whether somebody else made an object."""
    return bool(_stranger(live))


def _stranger(live: Document | None) -> str:
    """Who made an object that is not ours, in words; empty for ours, and for none."""
    if live is None:
        return ""
    metadata = live["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    managers = {entry.get("manager") for entry in metadata.get("managedFields") or []}
    if labels.get(LABEL_MANAGED_BY) == MANAGED_BY or FIELD_MANAGER in managers:
        return ""
    release = annotations.get("meta.helm.sh/release-name")
    if release:
        return f"it belongs to the Helm release {annotations.get('meta.helm.sh/release-namespace')}/{release}"
    return f"it was made by {', '.join(sorted(filter(None, managers))) or 'somebody unknown'}"


def _dry_run(context: Context, resource: Resource, document: Document) -> tuple[Document, Document, bool, list[str]]:
    """(what to apply, what the server would make of it, whether to force, notes).

    Fields that a controller holds are left to it; fields that anybody else changed are taken back.
    """
    client = context.run.api()
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


def _is_immutable(error: ApiError) -> bool:
    """Each kind has words of its own: `Forbidden: updates to statefulset spec for …`, `Forbidden: updates to parameters …`."""
    text = str(error)
    return error.status == 422 and any(words in text for words in ("immutable", "Forbidden: updates to", "may not be"))


def _recreate(
    context: Context, resource: Resource, document: Document, live: Document, policy: Policy, error: ApiError
) -> Outcome:
    """Delete and make anew what cannot be changed; only where the descriptor allows it."""
    if not policy.may_recreate(identity(document)):
        raise NodeError(
            f"{error}. This cannot be changed on an object that exists; name it in the descriptor's `recreate` "
            "to have it deleted and made anew (an outage), or undo the change"
        )
    # Who names an object in `recreate` has said that it may be deleted: what goes with it is told.
    lost = lost_with(context, live, [*policy.recreate, *policy.lose_data])
    action = Action("recreate", subject(document), changes(live, {**live, **document}), live, document, loses=lost)
    if context.run.check:
        return Outcome([action])
    client, metadata = context.run.api(), live["metadata"]
    client.delete(resource, metadata["name"], metadata.get("namespace", ""), uid=metadata["uid"])
    wait_gone(context, resource, live)
    made = client.apply(resource, document)
    return Outcome([action], _read_back(context, resource, made, made))


def lost_with(context: Context, live: Document, may_lose: Sequence[Reference]) -> str:
    """The data that goes with an object, in words; empty for none. Raises NodeError where nobody said that it may be lost."""
    target, lost = identity(live), ""
    if target.kind == "PersistentVolumeClaim":
        volume = (live.get("spec") or {}).get("volumeName")
        lost = data_loss.of_claim(context.run.live("v1", "PersistentVolume", volume) if volume else None)
    allowed = any(matches(one, target) for one in may_lose) or context.run.lose_data.covers_object(target)
    if lost and not allowed:
        place = f"{target.namespace}/" if target.namespace else ""
        raise NodeError(data_loss.refusal(subject(live), lost, f"{target.kind}/{place}{target.name}"))
    return lost


def wait_gone(context: Context, resource: Resource, document: Document, timeout_s: float = _GONE_TIMEOUT_S) -> None:
    """Return once the object is gone, or another one of its name. Raises NodeError saying what holds it."""
    metadata = document["metadata"]
    end = time.monotonic() + timeout_s
    pause = 0.1
    while True:
        live = context.run.api().get(resource, metadata["name"], metadata.get("namespace", ""))
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            context.waits.note(subject(document), "")
            return
        held = _held_by(live)
        context.waits.note(subject(document), f"its end, held by {held}")
        if time.monotonic() > end:
            raise NodeError(
                f"{subject(document)} is not gone {timeout_s:.0f} s after its deletion; it is held by {held}"
            )
        if context.run.stop.wait(pause):
            raise NodeError(f"{subject(document)}: waiting for its end was interrupted")
        pause = min(1.0, pause * 1.5)


def _held_by(live: Document) -> str:
    finalizers = [*(live["metadata"].get("finalizers") or []), *(live.get("spec", {}).get("finalizers") or [])]
    blocked = [
        " ".join(str(condition.get("message", "")).split())
        for condition in live.get("status", {}).get("conditions") or []
        if str(condition.get("type", "")).startswith("Namespace") and condition.get("status") == "True"
    ]
    return "; ".join(filter(None, [", ".join(finalizers), *blocked])) or "nothing it names"


def _admission_notes(wanted: Document, planned: Document) -> list[str]:
    """A webhook that makes something else of what is described would do so at every run: nobody should have to guess."""
    found = admission_changes(wanted, planned)
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"{subject(wanted)}: the server overrules {found[0]}{more}; see its admission webhooks"] if found else []


def _read_back(context: Context, resource: Resource, made: Document, planned: Document) -> list[str]:
    """What the server made is what the plan said; a webhook that changed it is worth a note, a lost object an error."""
    metadata = made["metadata"]
    found = context.run.api().get(resource, metadata["name"], metadata.get("namespace", ""))
    if found is None:
        raise NodeError(
            f"{subject(made)}: the API accepted it, but it is not there; an admission webhook or a controller removes it"
        )
    surprises = [change for change in changes(planned, made) if not is_unknown(change.before)]
    return [f"{subject(made)}: the server made {len(surprises)} fields different, {surprises[0]}"] if surprises else []


@dataclass
class NamespaceNode:
    """A component's namespace. Several components may share it, so it carries no component's label."""

    namespace: str
    pod_security: str
    labels: dict[str, str]
    name: str = "namespace"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        live = namespace_to_use(context, self.namespace)
        if live is None:
            context.desired.make_namespace(self.namespace)
        elif (live["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) != MANAGED_BY:
            return Outcome()  # one that was there before us is used, never marked as ours
        security = {f"pod-security.kubernetes.io/{mode}": self.pod_security for mode in ("enforce", "audit", "warn")}
        document: Document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {**security, **self.labels}},
        }
        if live is None and context.run.live("v1", "Namespace", self.namespace):
            # A plan while the earlier one still goes.
            return Outcome([Action("create", subject(document), after=labelled(document, ""))])
        return apply(context, labelled(document, ""))


def namespace_to_use(context: Context, name: str) -> Document | None:
    """The living namespace; None where this run has to make it. Raises NodeError for somebody else's that is being deleted.

    One of ours that an earlier run takes away is waited for: its objects are gone already.
    """
    live = context.run.live("v1", "Namespace", name)
    if live is None or not live["metadata"].get("deletionTimestamp"):
        return live
    if is_strange(live):
        _refuse_if_dying(live)
    resource = context.run.api().resource("v1", "Namespace")
    if resource and not context.run.check:
        wait_gone(context, resource, live)
    return None
