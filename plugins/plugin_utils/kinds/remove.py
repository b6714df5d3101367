# SPDX-License-Identifier: Apache-2.0
"""The end of a component: what it describes and whatever else carries its label, in reverse order, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..descriptor import Component
from ..kubernetes.client import ApiError, Client, Resource
from .base import Action, Context, Document, NodeError, Outcome, subject
from .manifest import in_order, is_kept

TIMEOUT_S = 300
# What the API server or its controllers make in every namespace; a namespace that holds only these is empty.
_HOUSEHOLD = {
    ("ConfigMap", "kube-root-ca.crt"),
    ("ServiceAccount", "default"),
}
_TRACES = ("Event", "EndpointSlice", "Endpoints", "Lease", "ControllerRevision", "PodMetrics")


@dataclass
class RemoveNode:
    """Deletes a component's objects, waits until they are gone, then its namespace if nothing else lives there."""

    component: Component
    name: str = "removal"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        if context.client is None:
            return Outcome()
        client = context.api()
        doomed = [document for document in self._labelled(client) if not self._retained(document)]
        actions = [Action("delete", subject(document), before=document) for document in doomed]
        if not context.check:
            for document in reversed(in_order(doomed)):
                self._delete(client, document)
            for document in doomed:
                self._wait_gone(context, client, document)
            if any(document["kind"] == "CustomResourceDefinition" for document in doomed):
                client.forget_resources()
        return Outcome(
            [*actions, *self._namespace(context, client, {document["metadata"]["uid"] for document in doomed})]
        )

    def _labelled(self, client: Client) -> list[Document]:
        selector = f"{LABEL_COMPONENT}={self.component.name},{LABEL_MANAGED_BY}={MANAGED_BY}"
        found: dict[str, Document] = {}
        for resource in deletable(client.resources().values()):
            for document in _listed(client, resource, labels=selector):
                # What a controller made goes with its owner.
                if not any(owner.get("controller") for owner in document["metadata"].get("ownerReferences") or []):
                    found.setdefault(document["metadata"]["uid"], document)
        return list(found.values())

    def _retained(self, document: Document) -> bool:
        metadata = document["metadata"]
        if is_kept(document):
            return True
        return any(
            kept.kind == document["kind"]
            and kept.name == metadata["name"]
            and kept.namespace in ("", metadata.get("namespace", ""))
            for kept in self.component.retain
        )

    def _delete(self, client: Client, document: Document) -> None:
        metadata = document["metadata"]
        resource = client.resource(document["apiVersion"], document["kind"])
        if resource:
            client.delete(resource, metadata["name"], metadata.get("namespace", ""), uid=metadata["uid"])

    def _wait_gone(self, context: Context, client: Client, document: Document) -> None:
        metadata = document["metadata"]
        resource = client.resource(document["apiVersion"], document["kind"])
        end = time.monotonic() + TIMEOUT_S
        while resource is not None:
            live = client.get(resource, metadata["name"], metadata.get("namespace", ""))
            if live is None or live["metadata"]["uid"] != metadata["uid"]:
                return
            if time.monotonic() > end:
                held = ", ".join(live["metadata"].get("finalizers") or []) or "nothing it names"
                raise NodeError(
                    f"{subject(document)} is not gone {TIMEOUT_S} s after its deletion; it is held by {held}"
                )
            if context.stop.wait(0.3):
                raise NodeError(f"{subject(document)}: waiting for its end was interrupted")

    def _namespace(self, context: Context, client: Client, doomed: set[str]) -> list[Action]:
        """Delete the component's namespace when it is ours and nothing but `doomed` is left in it."""
        resource = client.resource("v1", "Namespace")
        if self.component.namespace is None or resource is None:
            return []
        live = client.get(resource, self.component.namespace.name)
        if live is None or live["metadata"].get("labels", {}).get(LABEL_MANAGED_BY) != MANAGED_BY:
            return []
        if any(
            document["metadata"]["uid"] not in doomed for document in contents(client, self.component.namespace.name)
        ):
            return []
        document = {"apiVersion": "v1", "kind": "Namespace", **live}
        if not context.check:
            client.delete(resource, self.component.namespace.name, uid=live["metadata"]["uid"])
            self._wait_gone(context, client, document)
        return [Action("delete", subject(document), before=document)]


def deletable(resources: Iterable[Resource]) -> list[Resource]:
    """Kinds that can be listed and deleted, each in one version only."""
    chosen: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        group = resource.api_version.rpartition("/")[0]
        if {"list", "delete"} <= resource.verbs and resource.kind not in _TRACES:
            chosen.setdefault((group, resource.plural), resource)
    return list(chosen.values())


def _listed(client: Client, resource: Resource, namespace: str = "", *, labels: str = "") -> list[Document]:
    """None of a kind that cannot be listed, or whose definition went a moment ago."""
    try:
        return client.list(resource, namespace, labels=labels)
    except ApiError as error:
        if error.status not in (404, 405):
            raise
        return []


def contents(client: Client, namespace: str) -> list[Document]:
    """Everything in a namespace that somebody put there."""
    found: list[Document] = []
    for resource in deletable(client.resources().values()):
        if resource.namespaced:
            found += _listed(client, resource, namespace)
    return [
        document
        for document in found
        if (document["kind"], document["metadata"]["name"]) not in _HOUSEHOLD
        and not any(owner.get("controller") for owner in document["metadata"].get("ownerReferences") or [])
    ]
