# SPDX-License-Identifier: Apache-2.0
"""A chart's hooks: waves by weight; Jobs and Pods run to completion. https://helm.sh/docs/topics/charts_hooks/"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..describe.descriptor import Wait
from ..helm.documents import Hook
from ..objects import diagnose
from .base import Action, Context, Document, NodeError, Outcome, Policy, subject
from .manifest import apply, is_strange, labelled, placed, refuse_stranger
from .wait import condition, until

RUNS = ("Job", "Pod")
GONE_WITHIN_S = 120


@dataclass(frozen=True)
class Waves:
    """The hooks of one release. `timeout_s` holds for each Job or Pod."""

    component: str
    release: str
    namespace: str
    hooks: Sequence[Hook]
    timeout_s: int
    policy: Policy = field(default_factory=Policy)

    def run(self, context: Context, event: str) -> Outcome:
        """All hooks of an event, one after the other. Raises NodeError, which says why a Job failed."""
        chosen = [hook for hook in self.hooks if event in hook.events]
        chosen.sort(key=lambda hook: (hook.weight, hook.document["metadata"]["name"]))
        actions: list[Action] = []
        notes: list[str] = []
        done: list[Hook] = []
        for hook in chosen:
            try:
                outcome = self._one(context, hook, event)
            except NodeError:
                if not context.run.check:
                    self._clear(context, [hook], "hook-failed")
                    self._clear(context, done, "hook-succeeded")
                raise
            actions += outcome.actions
            notes += outcome.notes
            done.append(hook)
        if not context.run.check:
            self._clear(context, list(reversed(done)), "hook-succeeded")
        return Outcome(actions, notes)

    def lasting(self, events: Sequence[str]) -> list[Document]:
        """Objects that hooks of these events leave behind, except Jobs and Pods: they are reconciled like all other objects."""
        return [
            hook.document
            for hook in self.hooks
            if hook.document["kind"] not in RUNS
            and "hook-succeeded" not in hook.policies
            and any(event in hook.events for event in events)
        ]

    def _one(self, context: Context, hook: Hook, event: str) -> Outcome:
        document = self._document(context, hook)
        if document["kind"] not in RUNS:
            return apply(context, document, self.policy)
        resource = context.resource(document)
        action = Action("run", f"{subject(document)} ({event})", after=document)
        if resource is None or (
            context.run.check and context.desired.makes_namespace(document["metadata"].get("namespace", ""))
        ):
            return Outcome([action])
        refuse_stranger(document, context.run.live_of(document), self.policy)
        if context.run.check:
            return Outcome([action])
        # Helm deletes it only by before-hook-creation and fails otherwise. What an interrupted run left behind is never
        # worth keeping.
        _delete(context, document, adopted=self.policy.adopt)
        made = context.run.api().apply(resource, document)
        kind = document["kind"]
        wait = Wait(
            kind=kind,
            apiVersion=document["apiVersion"],
            name=made["metadata"]["name"],
            condition="Complete" if kind == "Job" else "Succeeded",
            timeout=self.timeout_s,
        )
        target = f"{self.release}: {event} hook {subject(document)}"
        if kind == "Pod":
            _raise_when_pod_fails(context, document, target, self.timeout_s)
        else:
            until(context, target, wait, document["metadata"]["namespace"])
        return Outcome([action])

    def _document(self, context: Context, hook: Hook) -> Document:
        return placed(context, labelled(hook.document, self.component), self.namespace)

    def _clear(self, context: Context, hooks: Sequence[Hook], policy: str) -> None:
        for hook in hooks:
            # CRDs stay: all objects of their kind would be deleted with them.
            if policy in hook.policies and hook.document["kind"] != "CustomResourceDefinition":
                _delete(context, self._document(context, hook))


def _delete(context: Context, document: Document, *, adopted: bool = False) -> None:
    """Delete the object and wait until it is gone. An object that somebody else made stays, unless it is `adopted`."""
    client, resource = context.run.api(), context.resource(document)
    if resource is None:
        return
    metadata = document["metadata"]
    place = (resource, metadata["name"], metadata.get("namespace", ""))
    live = client.get(*place)
    if live is None or (is_strange(live) and not adopted):
        return
    client.delete(*place, uid=live["metadata"]["uid"])
    for __ in range(int(GONE_WITHIN_S / 0.2)):
        found = client.get(*place)
        if found is None or found["metadata"]["uid"] != live["metadata"]["uid"]:
            return
        if context.run.stop.wait(0.2):
            raise NodeError(f"{subject(document)}: waiting for its end was interrupted")
    raise NodeError(
        f"{subject(document)}: its previous run still exists {GONE_WITHIN_S} s after it was deleted; see its finalizers"
    )


def _raise_when_pod_fails(context: Context, document: Document, target: str, timeout_s: int) -> None:
    client, resource = context.run.api(), context.resource(document)
    if resource is None:
        return
    metadata = document["metadata"]
    for __ in range(int(timeout_s / 0.3) + 1):
        live = client.get(resource, metadata["name"], metadata["namespace"]) or {}
        phase = live.get("status", {}).get("phase")
        if phase == "Succeeded":
            return
        if phase == "Failed":
            raise NodeError(f"{target} failed: {diagnose.of_pod(client, live)}")
        if context.run.stop.wait(0.3):
            raise NodeError(f"{target}: waiting was interrupted")
    ready = condition(live, "Ready").get("message", "")
    raise NodeError(
        f"{target} did not end within {timeout_s} s: {diagnose.of_pod(client, live) if live else ready or 'it is not there'}"
    )
