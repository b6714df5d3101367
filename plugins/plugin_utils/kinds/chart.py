# SPDX-License-Identifier: Apache-2.0
"""A release: a chart's documents by the same way as all other objects, its hooks as waves around them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..descriptor import Release, Wait
from ..helm import ignore, render, source
from ..helm.documents import Document, Hook, key_of, split
from ..helm.made_up import feed_back
from ..helm.source import ChartFile
from . import adoption, release_record
from .base import Action, Context, Outcome, subject
from .hooks import Waves
from .manifest import apply, in_order, is_kept, labelled
from .release_record import Entry, ReleaseRecord
from .wait import WORKLOADS, until

EVENTS = ("pre-install", "post-install", "pre-upgrade", "post-upgrade")
ESTABLISHED_WITHIN_S = 60
_CLUSTER_WIDE = (
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CSIDriver",
    "CustomResourceDefinition",
    "IngressClass",
    "GatewayClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
)
# What a release waits for, and the condition.
_AWAITED = {**dict.fromkeys(WORKLOADS, "Available"), "APIService": "Available", "Job": "Complete"}


@dataclass
class _Parts:
    """A release in this run.

    `renamed`: kinds with objects whose name differs at each rendering; `hooked`: whether hooks run, that is, something
    else is asked for than last time.
    """

    chart: ChartFile
    request: render.Request
    record: ReleaseRecord | None
    definitions: list[Document]
    objects: list[Document]
    waves: Waves
    renamed: frozenset[str]
    hooked: bool

    @property
    def events(self) -> tuple[str, str]:
        return ("pre-upgrade", "post-upgrade") if self.request.upgrade else ("pre-install", "post-install")


@dataclass
class _Report:
    actions: list[Action] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.actions += outcome.actions
        self.notes += outcome.notes


@dataclass
class ChartNode:
    """One entry of the descriptor's `releases`: definitions, hooks before, objects, waits, hooks after, what is no longer made."""

    component: str
    release: Release
    namespace: str
    slow: bool = True

    @property
    def name(self) -> str:
        return f"release {self.release.name}"

    def run(self, context: Context) -> Outcome:
        report = _Report()
        parts = self._parts(context, report)
        adopted = self._adopted(context, parts) if parts.record is None else {}
        self._namespaces(context, parts, report)
        entries = self._entries(context, parts)
        if parts.hooked and not context.check:
            self._write(context, parts, entries, begun=True)
        self._definitions(context, parts, adopted, report)
        before, after = parts.events
        if parts.hooked:
            report.add(parts.waves.run(context, before))
        documents = parts.objects if parts.hooked else [*parts.waves.lasting(parts.events), *parts.objects]
        for document in in_order(documents):
            report.add(self._apply(context, document, adopted))
        self._prune(context, parts, entries, report)
        if not context.check:
            self._wait(context, parts.objects)
        if parts.hooked:
            report.add(parts.waves.run(context, after))
        if adopted:
            self._forget_helm(context, parts, report)
        if not context.check and (parts.hooked or parts.record is None or parts.record.objects != entries):
            self._write(context, parts, entries, begun=False)
        return Outcome(report.actions, report.notes)

    # --- what is wanted

    def _parts(self, context: Context, report: _Report) -> _Parts:
        chart = source.obtain(self.release.chart, context.charts)
        record = release_record.read(context, self.release.name, self.namespace)
        request = render.Request(chart, self.release.name, self.namespace, self.release.values)
        applied = record is not None and bool(record.inputs)
        same = record is not None and record.inputs == request.inputs
        # The same input is rendered as it was rendered then: some charts differ between install and upgrade, and a
        # second run must not.
        upgrade = (record.upgrade if same else applied) if record else self._is_helms(context)
        request = render.Request(chart, self.release.name, self.namespace, self.release.values, upgrade)
        documents, renamed = self._documents(context, request, same, report)
        definitions, objects, hooks = split(documents)
        waves = Waves(self.component, self.release.name, self.namespace, hooks, self.release.timeout)
        return _Parts(chart, request, record, definitions, objects, waves, renamed, hooked=not same)

    def _is_helms(self, context: Context) -> bool:
        """Whether plain Helm has a release of this name that is to be adopted: what comes to it is an upgrade."""
        if not self.release.adopt or context.client is None:
            return False
        return bool(adoption.release_secrets(context, self.release.name, self.namespace))

    def _documents(
        self, context: Context, request: render.Request, same: bool, report: _Report
    ) -> tuple[list[Document], frozenset[str]]:
        """What is to be, and the kinds in which names are made up."""
        cluster = render.Cluster(context.client, context.planned_kinds())
        made = render.render(request, context.charts, cluster)
        live = self._living(context, made)
        _, _, hooks = split(made.documents)
        waves = Waves(self.component, self.release.name, self.namespace, hooks, self.release.timeout)
        lasting = {key_of(document, self.namespace) for document in waves.lasting(EVENTS)}
        fleeting = {key_of(hook.document, self.namespace) for hook in hooks} - lasting
        # Hooks do not run when nothing else is asked for: what they would make up then is of no account.
        made_up = [item for item in made.made_up if not (same and item.object in fleeting)]
        documents, fresh = feed_back(made.documents, made_up, live, self.namespace, same_input=same)
        if made.blank and (fresh or not same):
            made = render.render(request, context.charts, cluster, fresh=True)
            documents, fresh = feed_back(made.documents, made_up, live, self.namespace, same_input=same)
        told = [item for item in fresh if item.object not in fleeting]
        if told:
            words = "; ".join(str(item) for item in told[:3])
            more = f" and {len(told) - 3} more" if len(told) > 3 else ""
            report.notes.append(
                f"{self.release.name}: the chart makes up {words}{more}; from now on they are kept as they are"
            )
        if same:
            # Their names change at each rendering: those of the applied one stand.
            documents = [document for document in documents if key_of(document, self.namespace) not in made.renamed]
        patterns = [ignore.pattern(text) for text in self.release.ignore]
        if patterns and context.client is not None:
            documents = [
                ignore.leave(document, self._live(context, document), patterns)
                if any(pattern.applies(document) for pattern in patterns)
                else document
                for document in documents
            ]
        return documents, frozenset(key.split("/")[1] for key in made.renamed)

    def _living(self, context: Context, made: render.Rendering) -> dict[str, Document | None]:
        wanted = {item.object for item in made.made_up}
        return {
            key: self._live(context, document)
            for document in made.documents
            if (key := key_of(document, self.namespace)) in wanted
        }

    def _live(self, context: Context, document: Document) -> Document | None:
        """The living object; None where there is none, or its kind is only coming."""
        if context.client is None:
            return None
        resource = context.client.resource(document["apiVersion"], document["kind"])
        if resource is None:
            return None
        metadata = document["metadata"]
        namespace = metadata.get("namespace", self.namespace) if resource.namespaced else ""
        live = context.client.get(resource, metadata["name"], namespace)
        return {"apiVersion": resource.api_version, "kind": resource.kind, **live} if live else None

    # --- whose it is

    def _adopted(self, context: Context, parts: _Parts) -> dict[str, Document]:
        """Objects of plain Helm that are taken over in this run. Raises NodeError where that was not asked for."""
        found = {}
        for document in [*parts.definitions, *parts.objects]:
            live = self._live(context, document)
            if live and adoption.check_owner(
                live, self.component, self.release.name, self.namespace, adopt=self.release.adopt
            ):
                found[key_of(document, self.namespace)] = live
        return found

    def _forget_helm(self, context: Context, parts: _Parts, report: _Report) -> None:
        secrets = adoption.release_secrets(context, self.release.name, self.namespace)
        keys = {key_of(document, self.namespace) for document in [*parts.definitions, *parts.objects]}
        for document in adoption.left_over(secrets, keys, self.namespace):
            document["metadata"].setdefault("namespace", self.namespace)
            report.notes.append(
                f"{self.release.name}: Helm's release also had {subject(document)}, which this chart does not make; "
                "it is left alone, delete it if nobody needs it"
            )
        report.actions += adoption.forget_release(context, secrets)

    # --- steps

    def _namespaces(self, context: Context, parts: _Parts, report: _Report) -> None:
        """Namespaces that documents name and that nobody makes."""
        documents = [*parts.objects, *(hook.document for hook in parts.waves.hooks if "test" not in hook.events)]
        made = {document["metadata"]["name"] for document in documents if document["kind"] == "Namespace"}
        named = {document["metadata"]["namespace"] for document in documents if document["metadata"].get("namespace")}
        for name in sorted({*named, self.namespace} - made):
            document: Document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            if context.is_planned(subject(document)) or self._live(context, document):
                continue
            context.will_exist(f"new namespace {name}")
            report.add(apply(context, labelled(document, self.component)))
        for name in made:
            if not self._live(context, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}):
                context.will_exist(f"new namespace {name}")

    def _definitions(self, context: Context, parts: _Parts, adopted: dict[str, Document], report: _Report) -> None:
        for document in parts.definitions:
            report.add(self._apply(context, document, adopted))
        if context.check or not parts.definitions:
            return
        for document in parts.definitions:
            name = document["metadata"]["name"]
            wait = Wait(
                kind="CustomResourceDefinition", name=name, condition="Established", timeout=ESTABLISHED_WITHIN_S
            )
            until(context, f"{self.release.name}: {subject(document)}", wait, "")
        if any(action.subject.startswith("CustomResourceDefinition ") for action in report.actions):
            context.api().forget_resources()

    def _apply(self, context: Context, document: Document, adopted: dict[str, Document]) -> Outcome:
        made = labelled(document, self.component)
        cluster_wide = document["kind"] in _CLUSTER_WIDE
        live = adopted.get(key_of(document, self.namespace))
        if live is None:
            return apply(context, made, "" if cluster_wide else self.namespace)
        if not context.check:
            adoption.take_over(context.api(), live)
        outcome = apply(context, made, "" if cluster_wide else self.namespace)
        actions = [
            Action("adopt", action.subject, action.changes, action.before, adoption.without_marks(action.after or {}))
            for action in outcome.actions
        ]
        return Outcome(actions, [note for note in outcome.notes if "changed by helm" not in note])

    def _prune(self, context: Context, parts: _Parts, entries: list[Entry], report: _Report) -> None:
        """Objects of the last revision that this one no longer makes. Definitions stay: with them would go all of their kind."""
        kept = {entry.key for entry in entries}
        for entry in reversed(parts.record.objects if parts.record else []):
            if entry.key in kept or entry.kind == "CustomResourceDefinition":
                continue
            document: Document = {
                "apiVersion": entry.apiVersion,
                "kind": entry.kind,
                "metadata": {"name": entry.name, "namespace": entry.namespace},
            }
            live = self._live(context, document)
            if live is None or not self._is_ours(live) or is_kept(live):
                continue
            report.actions.append(Action("delete", subject(live), before=live))
            resource = context.api().resource(live["apiVersion"], live["kind"])
            if resource and not context.check:
                context.api().delete(resource, entry.name, entry.namespace, uid=live["metadata"]["uid"])

    def _is_ours(self, live: Document) -> bool:
        labels = live["metadata"].get("labels") or {}
        return labels.get(LABEL_MANAGED_BY) == MANAGED_BY and labels.get(LABEL_COMPONENT) == self.component

    def _wait(self, context: Context, documents: Sequence[Document]) -> None:
        end = time.monotonic() + self.release.timeout
        for document in documents:
            condition = _AWAITED.get(document["kind"])
            if condition is None or document.get("spec", {}).get("suspend"):
                continue
            metadata = document["metadata"]
            namespace = "" if document["kind"] in _CLUSTER_WIDE else metadata.get("namespace", self.namespace)
            wait = Wait(
                kind=document["kind"],
                name=metadata["name"],
                apiVersion=document["apiVersion"],
                condition=condition,
                timeout=max(1, round(end - time.monotonic())),
            )
            place = f"{namespace}/" if namespace else ""
            until(context, f"{self.release.name}: {document['kind']} {place}{metadata['name']}", wait, namespace)

    # --- the record

    def _entries(self, context: Context, parts: _Parts) -> list[Entry]:
        lasting = parts.waves.lasting(parts.events)
        found = [
            self._entry(context, document, parts.definitions)
            for document in [*parts.definitions, *lasting, *parts.objects]
        ]
        if parts.record and not parts.hooked:
            # Names made up at each rendering are left out of the documents, but what they name is still there.
            known = {entry.key for entry in found}
            found += [entry for entry in parts.record.objects if entry.key not in known and entry.kind in parts.renamed]
        return sorted(found, key=lambda entry: entry.key)

    def _entry(self, context: Context, document: Document, definitions: Sequence[Document] = ()) -> Entry:
        metadata = document["metadata"]
        entry = Entry(
            document["apiVersion"], document["kind"], metadata.get("namespace", self.namespace), metadata["name"]
        )
        return msgspec.structs.replace(entry, namespace="") if self._is_wide(context, entry, definitions) else entry

    @staticmethod
    def _is_wide(context: Context, entry: Entry, definitions: Sequence[Document]) -> bool:
        """Whether objects of this kind stand outside of namespaces; a definition of this run says it before the server does."""
        resource = context.client.resource(entry.apiVersion, entry.kind) if context.client else None
        if resource:
            return not resource.namespaced
        group = entry.apiVersion.rpartition("/")[0]
        for definition in definitions:
            spec = definition["spec"]
            if (spec["group"], spec["names"]["kind"]) == (group, entry.kind):
                return bool(spec["scope"] == "Cluster")
        return entry.kind in _CLUSTER_WIDE

    def _write(self, context: Context, parts: _Parts, entries: list[Entry], *, begun: bool) -> None:
        """Before the first object, so that an interrupted run forgets none; and again when all is done."""
        record, objects = parts.record, entries
        if begun and record:
            known = {entry.key for entry in entries}
            objects = [*entries, *(entry for entry in record.objects if entry.key not in known)]
        hooks = any(event in hook.events for hook in parts.waves.hooks for event in ("pre-delete", "post-delete"))
        made = ReleaseRecord(
            component=self.component,
            release=self.release.name,
            chart=parts.chart.name,
            version=parts.chart.version,
            digest=parts.chart.digest,
            inputs=(record.inputs if record else "") if begun else parts.request.inputs,
            upgrade=(record.upgrade if record else False) if begun else parts.request.upgrade,
            removal_hooks=hooks,
            objects=objects,
        )
        release_record.write(context, made, self.namespace)


def hooks_of(context: Context, component: str, release: Release, namespace: str) -> Waves:
    """A release's hooks as they would run now; `run(context, "test")` is what verify does with them. Raises ChartError."""
    record = release_record.read(context, release.name, namespace)
    chart = source.obtain(release.chart, context.charts)
    request = render.Request(chart, release.name, namespace, release.values, bool(record and record.upgrade))
    made = render.render(request, context.charts, render.Cluster(context.client), fresh=True)
    _, _, hooks = split(made.documents)
    return Waves(component, release.name, namespace, hooks, release.timeout)


@dataclass
class ChartTests:
    """The test hooks of a release, for verify."""

    component: str
    release: Release
    namespace: str
    slow: bool = True

    @property
    def name(self) -> str:
        return f"tests of release {self.release.name}"

    def run(self, context: Context) -> Outcome:
        return hooks_of(context, self.component, self.release, self.namespace).run(context, "test")


@dataclass
class ChartRemoval:
    """What a chart runs around its removal; the record goes last. `before` is the node of the hooks before it."""

    component: str
    release: Release
    namespace: str
    before: ChartRemoval | None = None
    slow: bool = True
    waves: Waves | None = None

    @property
    def name(self) -> str:
        return f"release {self.release.name}, {'post' if self.before else 'pre'}-delete hooks"

    def run(self, context: Context) -> Outcome:
        if context.client is None:
            return Outcome()
        record = release_record.read(context, self.release.name, self.namespace)
        if record is None:
            return Outcome()
        outcome = Outcome()
        if record.removal_hooks:
            self.waves = self.before.waves if self.before else None
            self.waves = self.waves or hooks_of(context, self.component, self.release, self.namespace)
            outcome = self.waves.run(context, "post-delete" if self.before else "pre-delete")
        if self.before and not context.check:
            if self.waves:
                self._clear(context, self.waves.hooks)
            release_record.forget(context, self.release.name, self.namespace)
        return outcome

    def _clear(self, context: Context, hooks: Sequence[Hook]) -> None:
        """What hooks of the removal leave would keep the namespace from going."""
        client = context.api()
        for hook in hooks:
            if not {"pre-delete", "post-delete"} & set(hook.events):
                continue
            resource = client.resource(hook.document["apiVersion"], hook.document["kind"])
            if resource and hook.document["kind"] != "CustomResourceDefinition":
                metadata = hook.document["metadata"]
                place = metadata.get("namespace", self.namespace) if resource.namespaced else ""
                client.delete(resource, metadata["name"], place)
