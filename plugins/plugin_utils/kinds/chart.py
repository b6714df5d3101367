# SPDX-License-Identifier: Apache-2.0
"""A release: a chart's documents are applied like all other objects, and its hooks run as waves around them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...module_utils.errors import LlmOnEksError
from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..describe.descriptor import Reference, Release, Wait
from ..describe.references import UNKNOWN
from ..helm import ignore, render, source
from ..helm.documents import Document, Hook, key_of, split
from ..helm.generated import GeneratedField, feed_back, unknown
from ..helm.lookups import Owned
from ..helm.source import ChartFile
from ..kubernetes.client import ApiError
from ..objects.compare import changes
from ..objects.identity import identity
from ..objects.well_formed import fault
from . import adoption, release_record
from .base import Action, Context, NodeError, Outcome, Policy, Unfinished, subject
from .hooks import RUNS, Waves
from .manifest import apply, apply_all, in_order, is_strange, labelled, namespace_to_use, placed
from .once import has_run
from .release_record import ReleaseRecord
from .wait import WORKLOADS, condition, until

EVENTS = ("pre-install", "post-install", "pre-upgrade", "post-upgrade")
ESTABLISHED_WITHIN_S = 60
# How long hooks that come after an installation wait for it to be ready.
GRACE_S = 30
# What a release waits for, and the condition.
_AWAITED = {**dict.fromkeys(WORKLOADS, "Available"), "APIService": "Available", "Job": "Complete"}


@dataclass
class _Parts:
    """A release in this run.

    `fresh`: fields that the chart generates in this run; `renamed`: kinds with objects whose name differs at each
    rendering; `hooked`: whether hooks run, that is, whether the input differs from the last run's.
    """

    chart: ChartFile
    request: render.Request
    record: ReleaseRecord | None
    crds: list[Document]
    objects: list[Document]
    waves: Waves
    fresh: list[GeneratedField]
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
    """One entry of the descriptor's `releases`: CRDs, hooks before, objects, waits, hooks after."""

    component: str
    release: Release
    namespace: str
    policy: Policy = field(default_factory=Policy)
    slow: bool = True

    @property
    def name(self) -> str:
        return f"release {self.release.name}"

    @property
    def adopts(self) -> bool:
        return self.release.adopt or self.policy.adopt

    def run(self, context: Context) -> Outcome:
        report = _Report()
        try:
            self._converge(context, report)
        except LlmOnEksError as error:
            raise Unfinished(str(error), Outcome(report.actions, report.notes)) from error
        return Outcome(report.actions, report.notes)

    def _converge(self, context: Context, report: _Report) -> None:
        context.run.masker.learn_values(self.release.values)
        parts = self._parts(context, report)
        parts.crds = self._own_crds(context, parts, report)
        begun = parts.record is None or not parts.record.inputs
        adopted = self._adopted(context, parts) if begun else {}
        self._crds(context, parts, adopted, report)
        wanted = self._wanted(context, parts)
        self._namespaces(context, parts, wanted, report)
        if parts.hooked and not context.run.check:
            self._write(context, parts, begun=True)
        before, after = parts.events
        if parts.hooked:
            report.add(parts.waves.run(context, before))
        lasting = parts.waves.lasting(parts.events) if parts.hooked else []
        by_hooks = {key_of(document, self.namespace) for document in lasting}
        for document in wanted:
            if key_of(document, self.namespace) not in by_hooks:
                report.add(self._apply(context, document, parts, adopted))
        ready = context.run.check or self._ready_before(context, parts, after, report)
        if parts.hooked:
            report.add(parts.waves.run(context, after))
        if not ready:
            self._wait(context, parts.objects, self.release.timeout)
        if adopted:
            self._forget_helm(context, parts, report)
        if parts.hooked and not context.run.check:
            self._write(context, parts, begun=False)

    # --- what is wanted

    def _parts(self, context: Context, report: _Report) -> _Parts:
        chart = source.obtain(self.release.chart, context.run.charts)
        record = release_record.read(context, self.component, self.release.name)
        values = context.outputs.resolve_text(self.release.values)
        request = render.Request(chart, self.release.name, self.namespace, values)
        same = record is not None and record.inputs == request.inputs
        # The same input is rendered as last time: some charts differ between install and upgrade, and a second run must
        # change nothing.
        before = bool(record.inputs) if record else self._is_helms(context)
        upgrade = record.upgrade if record and same else before
        request = render.Request(chart, self.release.name, self.namespace, values, upgrade)
        documents, fresh, renamed = self._documents(context, request, same, report)
        self._refuse_faults(documents)
        crds, objects, hooks = split(documents)
        waves = self._waves(hooks)
        return _Parts(chart, request, record, crds, objects, waves, fresh, renamed, hooked=not same)

    def _waves(self, hooks: Sequence[Hook]) -> Waves:
        policy = Policy(self.adopts, self.policy.recreate)
        return Waves(self.component, self.release.name, self.namespace, hooks, self.release.timeout, policy)

    def _refuse_faults(self, documents: Sequence[Document]) -> None:
        """Refuse objects that no API server accepts."""
        said = next(filter(None, (fault(document, self.namespace) for document in documents)), "")
        if said:
            raise NodeError(
                f"{self.release.name}: the chart renders an invalid object: {said}; mend its values or the chart"
            )

    def _refuse_two_texts(self, documents: Sequence[Document]) -> None:
        """Refuse a chart that contains an object twice: the later text would undo the earlier one in every run."""
        seen: dict[str, Document] = {}
        for document in documents:
            other = seen.setdefault(key_of(document, self.namespace), document)
            if other != document:
                raise NodeError(
                    f"{self.release.name}: the chart makes {subject(document)} twice, with different content; "
                    "switch one of them off in the values"
                )

    def _is_helms(self, context: Context) -> bool:
        """Whether plain Helm has a release of this name that is to be adopted: then this run is an upgrade of it."""
        if not self.adopts or context.run.client is None:
            return False
        return bool(adoption.release_secrets(context, self.release.name, self.namespace))

    def _documents(
        self, context: Context, request: render.Request, same: bool, report: _Report
    ) -> tuple[list[Document], list[GeneratedField], frozenset[str]]:
        """(the desired documents, the fields that are generated in this run, the kinds with generated names)."""
        cluster = _cluster(context, self.component, request)
        made = render.render(request, context.run.charts, cluster)
        self._refuse_two_texts(made.documents)
        live = self._living(context, made)
        __, __, hooks = split(made.documents)
        waves = self._waves(hooks)
        lasting = {key_of(document, self.namespace) for document in waves.lasting(EVENTS)}
        fleeting = {key_of(hook.document, self.namespace) for hook in hooks} - lasting
        # Hooks do not run when the input is unchanged, so values that only they generate do not matter.
        generated = [item for item in made.generated if not (same and item.object in fleeting)]
        documents, fresh = feed_back(made.documents, generated, live, self.namespace, same_input=same)
        if made.blank and fresh:
            made = render.render(request, context.run.charts, cluster, fresh=True)
            documents, fresh = feed_back(made.documents, generated, live, self.namespace, same_input=same)
        self._tell(fresh, fleeting, report)
        if same:
            # Their names change at each rendering: the applied objects stay.
            documents = [document for document in documents if key_of(document, self.namespace) not in made.renamed]
        patterns = [ignore.pattern(text) for text in self.release.ignore]
        if patterns and context.run.client is not None:
            documents = [
                ignore.leave(document, self._live(context, document), patterns)
                if any(pattern.applies(document) for pattern in patterns)
                else document
                for document in documents
            ]
        return documents, fresh, frozenset(key.split("/")[1] for key in made.renamed)

    def _tell(self, fresh: Sequence[GeneratedField], fleeting: set[str], report: _Report) -> None:
        told = [str(item) for item in fresh if item.object not in fleeting and not item.derived]
        if told:
            more = f" and {len(told) - 3} more" if len(told) > 3 else ""
            report.notes.append(
                f"{self.release.name}: the chart generates {'; '.join(told[:3])}{more}; from now on they are kept as they are"
            )

    def _living(self, context: Context, made: render.Rendering) -> dict[str, Document | None]:
        wanted = {item.object for item in made.generated}
        return {
            key: self._live(context, document)
            for document in made.documents
            if (key := key_of(document, self.namespace)) in wanted
        }

    def _live(self, context: Context, document: Document) -> Document | None:
        """The live object; None where it does not exist, or where its CRD is only applied in this run."""
        return context.run.live_of(document, self.namespace)

    def _wanted(self, context: Context, parts: _Parts) -> list[Document]:
        """Objects and what hooks leave, labelled and placed, noted as the component's before the first of them is written."""
        documents = in_order([*parts.waves.lasting(parts.events), *parts.objects])
        wanted = [placed(context, labelled(document, self.component), self.namespace) for document in documents]
        applied = context.run.recorder.applied(self.component) if parts.renamed and not parts.hooked else None
        # Objects with generated names are left out of the documents, but they are still ours.
        known = context.run.recorder.documents(self.component, applied.number) if applied else []
        context.desire(self.component, wanted, f"release {self.release.name}")
        context.desire(self.component, (one for one in known if one["kind"] in parts.renamed))
        return wanted

    # --- whose it is

    def _adopted(self, context: Context, parts: _Parts) -> dict[str, Document]:
        """Objects of plain Helm that are taken over in this run. Raises NodeError where the descriptor does not allow that."""
        found = {}
        for document in [*parts.crds, *parts.objects]:
            live = self._live(context, document)
            if live and adoption.check_owner(
                live, self.component, self.release.name, self.namespace, adopt=self.adopts
            ):
                found[key_of(document, self.namespace)] = live
        return found

    def _forget_helm(self, context: Context, parts: _Parts, report: _Report) -> None:
        secrets = adoption.release_secrets(context, self.release.name, self.namespace)
        keys = {key_of(document, self.namespace) for document in [*parts.crds, *parts.objects]}
        for document in adoption.left_over(secrets, keys, self.namespace):
            document["metadata"].setdefault("namespace", self.namespace)
            report.notes.append(
                f"{self.release.name}: Helm's release also had {subject(document)}, which this chart does not make; "
                "it is left alone, delete it if nobody needs it"
            )
        report.actions += adoption.forget_release(context, secrets)

    # --- steps

    def _namespaces(self, context: Context, parts: _Parts, wanted: Sequence[Document], report: _Report) -> None:
        """Namespaces that documents name and that no document creates."""
        hooks = [hook.document for hook in parts.waves.hooks if {*hook.events} & {*EVENTS}]
        made = {document["metadata"]["name"] for document in wanted if document["kind"] == "Namespace"}
        named = {str(document["metadata"].get("namespace") or "") for document in [*wanted, *hooks]}
        for name in sorted({*named, self.namespace} - {""}):
            document: Document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            live = namespace_to_use(context, name)
            if live is None and not context.desired.makes_namespace(name):
                context.desired.make_namespace(name)
                if name not in made:
                    report.add(
                        apply_all(context, self.component, [labelled(document, self.component)], "", self.policy)
                    )
            elif live and name != self.namespace and name not in made and _component_of(live) == self.component:
                context.desire(self.component, [labelled(document, self.component)])

    def _own_crds(self, context: Context, parts: _Parts, report: _Report) -> list[Document]:
        """CRDs except those that another of our components owns: charts ship copies of each other's CRDs."""
        earlier, mine = context.desired.of(self.component), []
        for document in parts.crds:
            live = self._live(context, document)
            labels = (live["metadata"].get("labels") or {}) if live else {}
            other = labels.get(LABEL_COMPONENT, "") if labels.get(LABEL_MANAGED_BY) == MANAGED_BY else ""
            if other not in ("", self.component):
                report.notes.append(f"{self.release.name}: {subject(document)} is left to component {other}")
            elif identity(document) in earlier or (live is None and context.desired.has(identity(document))):
                continue  # another release of this run applies it
            else:
                mine.append(document)
        return mine

    def _crds(self, context: Context, parts: _Parts, adopted: dict[str, Document], report: _Report) -> None:
        documents = [placed(context, labelled(document, self.component), "") for document in parts.crds]
        context.desire(self.component, documents)
        changed = False
        for document in documents:
            outcome = self._apply(context, document, parts, adopted)
            changed = changed or bool(outcome.actions)
            report.add(outcome)
        if context.run.check or not documents:
            return
        for document in documents:
            name = document["metadata"]["name"]
            wait = Wait(
                kind="CustomResourceDefinition", name=name, condition="Established", timeout=ESTABLISHED_WITHIN_S
            )
            until(context, f"{self.release.name}: {subject(document)}", wait, "")
        if changed:
            context.run.api().forget_resources()
            for document in documents:
                _await_service(context, document)

    def _apply(self, context: Context, document: Document, parts: _Parts, adopted: dict[str, Document]) -> Outcome:
        key = key_of(document, self.namespace)
        live = adopted.get(key)
        recreate = [*self.policy.recreate, *self._run_anew(context, document)]
        outcome = apply(context, document, Policy(self.adopts, recreate, self.policy.lose_data))
        fresh = [item for item in parts.fresh if item.object == key]
        if context.run.check and fresh:
            outcome = Outcome([_untold(action, fresh) for action in outcome.actions], outcome.notes)
        if live is None:
            return outcome
        actions = [
            Action("adopt", action.subject, action.changes, action.before, adoption.without_marks(action.after or {}))
            for action in outcome.actions
        ]
        return Outcome(actions, [note for note in outcome.notes if "changed by helm" not in note])

    def _run_anew(self, context: Context, document: Document) -> list[Reference]:
        """Run a finished Job again when its text changes: Helm's charts put the release's revision into its name for that."""
        if document["kind"] != "Job":
            return []
        live = context.run.live_of(document, self.namespace)
        ended = live and any(condition(live, kind).get("status") == "True" for kind in ("Complete", "Failed"))
        return [Reference(kind="Job", name=document["metadata"]["name"])] if ended else []

    def _ready_before(self, context: Context, parts: _Parts, event: str, report: _Report) -> bool:
        """Wait for the release before the hooks of an event. True when it became ready.

        Helm only waits with `--wait`, so a workload may itself wait for a hook that runs after it (a migration). So
        hooks find a ready release where it gets ready soon, and run all the same where it does not.
        """
        runs = parts.hooked and any(
            event in hook.events and hook.document["kind"] in RUNS for hook in parts.waves.hooks
        )
        try:
            self._wait(context, parts.objects, min(GRACE_S, self.release.timeout / 4) if runs else self.release.timeout)
        except NodeError as error:
            if not runs or context.run.stop.is_set():
                raise
            report.notes.append(f"{error}; its {event} hooks run now, for it may be waiting for them")
            return False
        return True

    def _wait(self, context: Context, documents: Sequence[Document], within_s: float) -> None:
        end = time.monotonic() + within_s
        for document in documents:
            condition = _AWAITED.get(document["kind"])
            if condition is None or document.get("spec", {}).get("suspend") or self._is_over(context, document):
                continue
            metadata = document["metadata"]
            namespace = "" if document["kind"] == "APIService" else metadata.get("namespace", self.namespace)
            wait = Wait(
                kind=document["kind"],
                name=metadata["name"],
                apiVersion=document["apiVersion"],
                condition=condition,
                timeout=max(1, round(end - time.monotonic())),
            )
            place = f"{namespace}/" if namespace else ""
            until(context, f"{self.release.name}: {document['kind']} {place}{metadata['name']}", wait, namespace)

    def _is_over(self, context: Context, document: Document) -> bool:
        """Whether it is a Job that an earlier run ran, and that its time to live has removed."""
        if document["kind"] != "Job" or context.run.live_of(document, self.namespace) is not None:
            return False
        return has_run(context, placed(context, labelled(document, self.component), self.namespace))

    # --- the record

    def _write(self, context: Context, parts: _Parts, *, begun: bool) -> None:
        """Write the record. It is written at the beginning, so that an interrupted run is recognised, and again at the end."""
        record = parts.record
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
        )
        release_record.write(context, made)


def _await_service(context: Context, crd: Document) -> None:
    """An Established CRD is served a moment later: until then its objects have no address."""
    spec, client = crd["spec"], context.run.api()
    served = [version["name"] for version in spec["versions"] if version.get("served")]
    end = time.monotonic() + ESTABLISHED_WITHIN_S
    while served:
        resource = client.resource(f"{spec['group']}/{served[0]}", spec["names"]["kind"])
        try:
            if resource is not None:
                client.list(resource)
                return
        except ApiError as error:
            if error.status not in (404, 429, 503):
                raise
        if time.monotonic() > end:
            raise NodeError(f"{subject(crd)} is Established, but not served after {ESTABLISHED_WITHIN_S} s")
        if context.run.stop.wait(0.2):
            raise NodeError(f"{subject(crd)}: waiting was interrupted")
        client.forget_resources()


def _component_of(live: Document) -> str:
    return str((live["metadata"].get("labels") or {}).get(LABEL_COMPONENT, ""))


def _untold(action: Action, fresh: Sequence[GeneratedField]) -> Action:
    """A planned action without the values that another rendering will generate, so that the plan is the same each time."""
    if action.after is None:
        return action
    after = unknown(action.after, fresh, UNKNOWN)
    return Action(
        action.verb, action.subject, changes(action.before, after) if action.before else (), action.before, after
    )


def _cluster(context: Context, component: str, request: render.Request) -> render.Cluster:
    known = frozenset((one.group, one.kind, one.namespace, one.name) for one in context.run.recorder.known(component))
    return render.Cluster(context.run.client, context.desired.kinds(), Owned(request.release, request.namespace, known))


def hooks_of(context: Context, component: str, release: Release, namespace: str) -> Waves:
    """A release's hooks as they would run now. verify calls `run(context, "test")` on them. Raises ChartError."""
    record = release_record.read(context, component, release.name)
    chart = source.obtain(release.chart, context.run.charts)
    values = context.outputs.resolve_text(release.values)
    request = render.Request(chart, release.name, namespace, values, bool(record and record.upgrade))
    made = render.render(request, context.run.charts, _cluster(context, component, request), fresh=True)
    __, __, hooks = split(made.documents)
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
    """The hooks that a chart runs around its removal. The record is deleted last. `before` is the node of the pre-delete hooks."""

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
        if context.run.client is None:
            return Outcome()
        record = release_record.read(context, self.component, self.release.name)
        if record is None:
            return Outcome()
        outcome = Outcome()
        if record.removal_hooks:
            self.waves = self.before.waves if self.before else None
            self.waves = self.waves or hooks_of(context, self.component, self.release, self.namespace)
            outcome = self.waves.run(context, "post-delete" if self.before else "pre-delete")
        if self.before and not context.run.check:
            if self.waves:
                self._clear(context, self.waves.hooks)
            release_record.forget(context, self.component, self.release.name)
        return outcome

    def _clear(self, context: Context, hooks: Sequence[Hook]) -> None:
        """Delete what removal hooks leave behind: it would keep the namespace from being deleted."""
        client = context.run.api()
        for hook in hooks:
            if not {"pre-delete", "post-delete"} & set(hook.events):
                continue
            resource = client.resource(hook.document["apiVersion"], hook.document["kind"])
            if resource and hook.document["kind"] != "CustomResourceDefinition":
                metadata = hook.document["metadata"]
                place = metadata.get("namespace", self.namespace) if resource.namespaced else ""
                live = client.get(resource, metadata["name"], place)
                if live is not None and not is_strange(live):
                    client.delete(resource, metadata["name"], place, uid=live["metadata"]["uid"])
