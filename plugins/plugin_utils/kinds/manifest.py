# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects by server-side apply: planned by a dry run, applied, read back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...module_utils.errors import LlmOnEksError
from ...module_utils.names import FIELD_MANAGER, LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..describe.references import is_unknown
from ..kubernetes.client import ApiError, Client, Resource
from ..objects.admission_changes import admission_changes
from ..objects.as_applied import as_applied
from ..objects.choices import Choice, choices_to_make, chosen, deferred
from ..objects.compare import Change, changes
from ..objects.conflicts import read_conflicts, without
from ..objects.identity import CLUSTER_WIDE, identity
from ..objects.server_assigned import as_planned
from ..objects.takeover import as_taken_over
from .autoscaled import hands_replicas_over, keeps_replicas
from .base import Action, Context, Document, NodeError, Outcome, Policy, ServedKind, Unfinished, Verb, subject
from .gone import wait_gone
from .growth import as_small, growth_of, refuse_shrinking, sizes_of, with_sizes
from .lapsed import lapsed_keys, remove_keys, without_keys
from .once import has_run
from .recreate import UNPROCESSABLE, is_immutable, recreate, remake_around_pods
from .takeover import give_up_replicas, hold, take_over

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
# Webhooks are called for other objects: they come after the workloads that serve them.
_LAST = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService")
_MAX_CONFLICT_ROUNDS = 5


def in_order(documents: Sequence[Document]) -> list[Document]:
    def place(document: Document) -> int:
        kind = document["kind"]
        if kind in _ORDER:
            return _ORDER.index(kind)
        return len(_ORDER) + (1 if kind in _LAST else 0)

    return sorted(documents, key=place)


def labelled(document: Document, component: str) -> Document:
    """The document with our ownership labels; everything else as in the descriptor."""
    made = copy.deepcopy(document)
    labels = made["metadata"].get("labels") or {}
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
    metadata = document["metadata"]
    if not (resource.namespaced if resource else _namespaced(context, document)):
        metadata.pop("namespace", None)
    elif not metadata.get("namespace"):
        metadata["namespace"] = namespace
        if resource and not namespace:
            raise NodeError(
                f"{document['kind']} {metadata['name']} has no namespace; write metadata.namespace, or give the component a "
                "`namespace`"
            )
    return document


def _namespaced(context: Context, document: Document) -> bool:
    """Whether a kind that the API does not serve yet is namespaced."""
    kind = ServedKind(document["apiVersion"], document["kind"])
    return not context.desired.is_cluster_wide(kind) and document["kind"] not in CLUSTER_WIDE


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
        documents = [labelled(context.outputs.resolve_text(document), self.component) for document in self.documents]
        return apply_all(context, self.component, documents, self.namespace, self.policy, part=self.name)


def apply_all(
    context: Context, component: str, documents: Sequence[Document], namespace: str, policy: Policy, *, part: str = ""
) -> Outcome:
    """Apply labelled objects one after the other. All are noted before the first is written. `part`: as for Context.desire."""
    for document in documents:
        if document["kind"] == "CustomResourceDefinition":
            announce_kind(context, document)
    wanted = [placed(context, document, namespace) for document in in_order(documents)]
    context.desire(component, wanted, part)
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
    """Apply one labelled and placed object. Nothing is written when the dry run shows no difference."""
    policy = policy or Policy()
    described, document = document, as_applied(document)
    resource = context.resource(document)
    context.desired.make_object(identity(document))
    if resource is None or (
        context.run.check and context.desired.makes_namespace(document["metadata"].get("namespace", ""))
    ):
        return Outcome([Action("create", subject(document), after=document)])
    metadata = document["metadata"]
    live = context.run.api().get(resource, metadata["name"], metadata.get("namespace", ""))
    if live is None and has_run(context, described):
        return Outcome()
    if live is not None:
        context.run.masker.learn_document(live)
        context.desired.saw(identity(document), live)
        _refuse_if_dying(live)
    stranger = bool(refuse_stranger(document, live, policy))
    if is_unknown(document):
        difference = changes(live, {**live, **document}) if live else []
        return Outcome([Action("update" if live else "create", subject(document), difference, live, document)])
    try:
        write = _write_of(context, resource, document, live, stranger=stranger)
    except ApiError as error:
        if live is None or not is_immutable(error):
            raise
        return _of_fixed_fields(context, resource, document, live, policy, error)
    growth, small = growth_of(context, document, live)
    notes = [*write.notes, *small]
    difference = changes(live, write.planned)
    if live is not None and not difference and not write.hands_over and not growth.claims:
        return Outcome(notes=notes)
    verb: Verb = "adopt" if stranger else ("update" if live else "create")
    action = Action(verb, subject(document), difference if live else (), live, write.planned)
    actions = [*([action] if difference else []), *growth.actions()]
    if context.run.check:
        return Outcome(actions, notes)
    growth.carry_out(context)
    made = write.carry_out(context.run.api(), resource, {**document, **live} if live else None, stranger=stranger)
    if document["kind"] == "CustomResourceDefinition":
        context.run.api().forget_resources()
    # The API completes a new form with defaults, which only a write shows.
    expected = made if write.choices else write.planned
    return Outcome(actions, [*notes, *_read_back(context, resource, made, expected)])


def _of_fixed_fields(
    context: Context, resource: Resource, document: Document, live: Document, policy: Policy, error: ApiError
) -> Outcome:
    """What `error` says of is fixed: larger volumes come about around the pods, everything else is deleted and created again."""
    if not policy.may_recreate(identity(document)):
        refuse_shrinking(document, live)
    small = as_small(document, live)
    write = _write_of_small(context, resource, small, live) if small else None
    if write is None:
        action, made = recreate(context, resource, document, live, policy, error)
        return Outcome([action], _read_back(context, resource, made, made) if made else [])
    growth, __ = growth_of(context, document, live)
    planned = with_sizes(write.planned, sizes_of(document))
    actions = [Action("update", subject(document), changes(live, planned), live, planned), *growth.actions()]
    if not context.run.check:
        growth.carry_out(context)
        wanted = with_sizes(write.wanted, sizes_of(document))
        # What an autoscaler sets is not in there, and without a number there would be one pod.
        wanted["spec"].setdefault("replicas", live["spec"].get("replicas", 1))
        remake_around_pods(context, resource, wanted, live)
    return Outcome(actions, write.notes)


def _write_of_small(context: Context, resource: Resource, small: Document, live: Document) -> _Write | None:
    """None where the sizes are not all that is fixed and differs."""
    try:
        return _write_of(context, resource, small, live, stranger=False)
    except ApiError as error:
        if is_immutable(error):
            return None
        raise


@dataclass
class _Write:
    """What is sent to the API, and the object that is expected from it.

    `choices`: places where another form must go first; `lapsed`: keys of a Secret that nobody holds; `hands_over`: whether
    an autoscaler gets the replicas.
    """

    wanted: Document
    planned: Document
    force: bool
    notes: list[str]
    choices: list[Choice]
    lapsed: list[str]
    hands_over: bool

    def carry_out(self, client: Client, resource: Resource, live: Document | None, *, stranger: bool) -> Document:
        """Write the object; what it needs of its managedFields comes first. Returns the object as written."""
        if live and stranger:
            take_over(client, live)
        if live and self.hands_over:
            give_up_replicas(client, live)
        if live and self.choices:
            hold(client, live, self.choices)
        made = client.apply(resource, self.wanted, force=self.force)
        return remove_keys(client, resource, made, self.lapsed) if self.lapsed else made


def _write_of(
    context: Context, resource: Resource, document: Document, live: Document | None, *, stranger: bool
) -> _Write:
    """Ask the API by a dry run. Raises ApiError."""
    choices: list[Choice] = []
    try:
        wanted, planned, force, notes = _dry_run(context, resource, document, quiet=stranger)
    except ApiError as error:
        choices = choices_to_make(document, live) if live and error.status == UNPROCESSABLE else []
        if not choices or is_immutable(error):
            raise
        # All other conflicts are settled in this dry run, so that force takes the new forms only.
        wanted, planned, __, notes = _dry_run(context, resource, deferred(document, choices), quiet=stranger)
        wanted, planned, force = chosen(wanted, choices), chosen(planned, choices), True
    lapsed = lapsed_keys(context, document, live)
    if stranger and live:
        planned = as_taken_over(planned, wanted, live["metadata"].get("managedFields") or [])
    hands_over = hands_replicas_over(context, document, live)
    if hands_over and live:
        planned = keeps_replicas(planned, live)
        notes.append(f"{subject(document)}: spec.replicas is left to its autoscaler")
    notes += _admission_notes(wanted, planned)
    planned = without_keys(as_planned(planned, live, document), lapsed)
    return _Write(wanted, planned, force, notes, choices, lapsed, hands_over)


def announce_kind(context: Context, document: Document) -> None:
    """Note the kinds that a CRD defines, so that their objects can be planned before it exists."""
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


def refuse_stranger(document: Document, live: Document | None, policy: Policy) -> str:
    """Who made a live object that is not ours, where it may be taken over. Raises NodeError where it may not."""
    stranger = _stranger(live)
    if stranger and not policy.adopt:
        raise NodeError(
            f"{subject(document)} exists and is not ours, {stranger}; "
            "remove it, or let the component take it over with `adopt: true`"
        )
    return stranger


def is_strange(live: Document) -> bool:
    """Whether the object exists and is not ours."""
    return bool(_stranger(live))


def _stranger(live: Document | None) -> str:
    """Who made an object that is not ours, in words; empty for our own, and for one that does not exist."""
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


def _dry_run(
    context: Context, resource: Resource, document: Document, *, quiet: bool
) -> tuple[Document, Document, bool, list[str]]:
    """(what to apply, the server's result, whether to force, notes).

    Fields that a controller manages are left to it; fields that anybody else changed are set back. `quiet`: without
    notes about that, for the object is being taken over.
    """
    client = context.run.api()
    wanted, force = document, False
    notes: list[str] = []
    for __ in range(_MAX_CONFLICT_ROUNDS):
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
                elif not quiet:
                    notes.append(
                        f"{subject(document)}: {conflict.field} was changed by {conflict.manager}, it is taken back"
                    )
            # Force only after all fields of controllers were removed from the document: force would take these over,
            # too.
            force = all(not conflict.left_to_them for conflict in conflicts)
    raise NodeError(f"{subject(document)}: other field managers keep changing its fields; see metadata.managedFields")


def _admission_notes(wanted: Document, planned: Document) -> list[str]:
    """Notes about admission webhooks that change a described field: they would do so in every run, and the user should know."""
    found = admission_changes(wanted, planned)
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        [f"{subject(wanted)}: the server changes {found[0]}{more}; see the admission webhooks of the cluster"]
        if found
        else []
    )


def _read_back(context: Context, resource: Resource, made: Document, planned: Document) -> list[str]:
    """Compare the written object with the plan: a change by a webhook is worth a note, a missing object is an error."""
    metadata = made["metadata"]
    found = context.run.api().get(resource, metadata["name"], metadata.get("namespace", ""))
    if found is None:
        raise NodeError(
            f"{subject(made)}: the API accepted it, but it is not there; an admission webhook or a controller removes it"
        )
    surprises = [change for change in changes(planned, made) if not is_unknown(change.before)]
    return [f"{subject(made)}: the server changed {len(surprises)} fields, {surprises[0]}"] if surprises else []


@dataclass
class NamespaceNode:
    """A component's namespace. Several components may share it, so it carries no component's label.

    `labels`: those that it gets now. `others`: those that it gets in its components' turn, and keeps meanwhile.
    """

    namespace: str
    pod_security: str
    labels: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    name: str = "namespace"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        live = namespace_to_use(context, self.namespace)
        there = (live["metadata"].get("labels") or {}) if live else {}
        if live is None:
            context.desired.make_namespace(self.namespace)
        elif there.get(LABEL_MANAGED_BY) != MANAGED_BY:
            # A namespace that existed before is used, and never marked as ours.
            return Outcome(notes=[self._asked_for()] if self.labels.items() - there.items() else [])
        labels = {**{key: value for key, value in self.others.items() if key in there}, **self.labels}
        security = {f"pod-security.kubernetes.io/{mode}": self.pod_security for mode in ("enforce", "audit", "warn")}
        document: Document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {**security, **labels}},
        }
        if live is None and self.labels and context.run.check:
            # It would be made earlier in this run.
            given = [Change(f"metadata.labels.{key}", None, value) for key, value in self.labels.items()]
            return Outcome([Action("update", subject(document), given, after=labelled(document, ""))])
        if live is None and context.run.live("v1", "Namespace", self.namespace):
            # This is a plan, and the earlier namespace is still being deleted.
            return Outcome([Action("create", subject(document), after=labelled(document, ""))])
        return apply(context, labelled(document, ""))

    def _asked_for(self) -> str:
        wanted = " ".join(f"{key}={value}" for key, value in self.labels.items())
        return f"Namespace {self.namespace} is not ours and stays as it is: kubectl label namespace {self.namespace} {wanted}"


def namespace_to_use(context: Context, name: str) -> Document | None:
    """The live namespace; None where this run has to create it.

    Waits for one of ours that an earlier run is deleting: its objects are gone already. Raises NodeError for somebody
    else's that is being deleted.
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
