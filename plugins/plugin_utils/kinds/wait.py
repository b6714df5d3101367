# SPDX-License-Identifier: Apache-2.0
"""Waits until an object fulfils a condition; after the timeout, says why it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..describe.descriptor import Wait
from ..kubernetes.client import Client, Resource
from ..objects import diagnose
from .base import Context, Document, NodeError, Outcome

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
# Of a Deployment: Available, and no pod is left that was made with other labels.
RENEWED = "Renewed"


@dataclass
class WaitNode:
    """One entry of the descriptor's `wait`, or the default one of a workload."""

    component: str
    wait: Wait
    namespace: str
    slow: bool = True

    @property
    def name(self) -> str:
        return f"wait for {self.target}"

    @property
    def target(self) -> str:
        return f"{self.wait.kind} {self.namespace + '/' if self.namespace else ''}{self.wait.name}"

    def run(self, context: Context) -> Outcome:
        if context.run.check:
            self._refuse_unserved(context)
            return Outcome()
        until(context, self.target, self.wait, self.namespace)
        return Outcome()

    def _refuse_unserved(self, context: Context) -> None:
        """A plan fails here too: an object of a kind that nobody serves and no CRD of this run defines never exists."""
        client, wait = context.run.client, self.wait
        if client is None or any(kind.rpartition("/")[2] == wait.kind for kind in context.desired.kinds()):
            return
        found = client.resource(wait.apiVersion, wait.kind) if wait.apiVersion else client.resource_of_kind(wait.kind)
        if found is None:
            raise NodeError(
                f"{self.target}: the cluster serves no {wait.kind}; install what defines it, or mend the kind"
            )


def until(context: Context, target: str, wait: Wait, namespace: str) -> None:
    """Return when the condition holds. Raises NodeError with the reason it does not."""
    client = context.run.api()
    resource = client.resource(wait.apiVersion, wait.kind) if wait.apiVersion else client.resource_of_kind(wait.kind)
    if resource is None:
        raise NodeError(f"{target}: the cluster serves no {wait.kind}")
    begun = time.monotonic()
    end = begun + wait.timeout
    looks = 0
    while True:
        live = client.get(resource, wait.name, namespace if resource.namespaced else "")
        if live is not None:
            live = {"apiVersion": resource.api_version, "kind": resource.kind, **live}
            if fulfilled(live, wait.condition) and (wait.condition != RENEWED or is_renewed(client, live)):
                context.waits.note(target, "")
                return
            _raise_if_hopeless(client, resource, live, target, looks)
        if time.monotonic() > end:
            reason = diagnose.why(client, live) if live else "it does not exist"
            raise NodeError(f"{target} not {wait.condition} after {wait.timeout} s: {reason}")
        # A log is read only now and then, as nobody sees more of it.
        if resource.kind != "Job" or looks % 10 == 0:
            context.waits.note(target, context.run.masker.text(_short(client, live)))
        # The pause is a part of the time waited so far: long waits cost few reads, short ones end soon.
        if context.run.stop.wait(min(1.0, max(0.1, (time.monotonic() - begun) / 25))):
            raise NodeError(f"{target}: waiting was interrupted")
        looks += 1


def is_renewed(client: Client, live: Document) -> bool:
    """Whether each pod of a Deployment, also one that is ending, was made with the labels that its template has now."""
    sets, pods = client.resource("apps/v1", "ReplicaSet"), client.resource("v1", "Pod")
    if sets is None or pods is None:
        return True
    namespace, spec = live["metadata"]["namespace"], live["spec"]
    labels = ",".join(f"{key}={value}" for key, value in spec["selector"]["matchLabels"].items())
    # Not the pods' own: a mesh and others add to them.
    current = {
        one["metadata"]["uid"]
        for one in client.list(sets, namespace, labels=labels)
        if _template_labels(one) == _template_labels(live)
    }
    running = [one for one in client.list(pods, namespace, labels=labels) if one["status"].get("phase") in _RUNNING]
    return all(owner["uid"] in current for one in running for owner in one["metadata"].get("ownerReferences") or ())


_RUNNING = ("Pending", "Running")


def _template_labels(workload: Document) -> dict[str, str]:
    labels = workload["spec"]["template"]["metadata"].get("labels") or {}
    return {key: value for key, value in labels.items() if key != "pod-template-hash"}


def _short(client: Client, live: Document | None) -> str:
    """The object's progress in a few words, for the live summary."""
    if live is None:
        return "it does not exist yet"
    if live["kind"] == "Job":
        return diagnose.last_words(client, live) or "no pod of it has said anything yet"
    status, spec = live.get("status", {}), live.get("spec", {})
    if live["kind"] in ("Deployment", "StatefulSet"):
        return f"{status.get('readyReplicas', 0)} of {spec.get('replicas', 1)} ready"
    if live["kind"] == "DaemonSet":
        return f"{status.get('numberAvailable', 0)} of {status.get('desiredNumberScheduled', 0)} ready"
    return str(status.get("phase") or "not there yet")


def _raise_if_hopeless(client: Client, resource: Resource, live: Document, target: str, looks: int) -> None:
    if resource.kind == "Job":
        failed = condition(live, "Failed")
        if failed.get("status") == "True":
            raise NodeError(f"{target} failed: {failed.get('message', '')}; {diagnose.why(client, live)}")
    # Pods are read only now and then: most waits succeed.
    if resource.kind in (*WORKLOADS, "Job") and looks % 10 == 9 and _observed(live):
        reason = diagnose.hopeless(client, live)
        if reason:
            raise NodeError(f"{target} cannot become ready: {reason}")


def fulfilled(live: Document, wanted: str) -> bool:
    """Whether the condition holds. For workloads `Available` means that the newest generation is rolled out completely."""
    kind, status, spec = live["kind"], live.get("status", {}), live.get("spec", {})
    if not _observed(live):
        return False
    if kind in WORKLOADS and wanted in ("Available", RENEWED):
        return "observedGeneration" in status and _ROLLED_OUT[kind](spec, status)
    if kind in ("PersistentVolumeClaim", "PersistentVolume", "Namespace", "Pod") and status.get("phase") == wanted:
        return True
    if wanted == "Exists":
        return True
    return condition(live, wanted).get("status") == "True"


def _deployment(spec: Document, status: Document) -> bool:
    number = spec.get("replicas", 1)
    if spec.get("paused"):
        # The rollout is complete: the running pods must serve.
        return bool(status.get("availableReplicas", 0) >= status.get("replicas", 0))
    counts = [status.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "availableReplicas", "replicas")]
    return all(count == number for count in counts)


def _stateful_set(spec: Document, status: Document) -> bool:
    number, strategy = spec.get("replicas", 1), spec.get("updateStrategy") or {}
    if status.get("readyReplicas", 0) != number or status.get("replicas", 0) != number:
        return False
    if strategy.get("type") == "OnDelete":
        # With OnDelete, pods are replaced when somebody deletes them, not by a change.
        return True
    # Pods below the partition keep their revision on purpose.
    asked = max(0, number - ((strategy.get("rollingUpdate") or {}).get("partition") or 0))
    return bool(status.get("updatedReplicas", 0) >= asked)


def _daemon_set(spec: Document, status: Document) -> bool:
    number = status.get("desiredNumberScheduled", 0)
    if status.get("numberAvailable", 0) < number:
        return False
    on_delete = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    return bool(on_delete or status.get("updatedNumberScheduled", 0) >= number)


_ROLLED_OUT: dict[str, Callable[[Document, Document], bool]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
}


def _observed(live: Document) -> bool:
    """Whether the object's controller has seen its newest generation."""
    generation = live["metadata"].get("generation", 0)
    return bool(live.get("status", {}).get("observedGeneration", generation) >= generation)


def condition(live: Document, kind: str) -> dict[str, Any]:
    for found in live.get("status", {}).get("conditions") or []:
        if found.get("type") == kind:
            return dict(found)
    return {}
