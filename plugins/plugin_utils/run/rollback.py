# SPDX-License-Identifier: Apache-2.0
"""Rolls one component back to a recorded revision.

Everything is restored that a record keeps. Values of Secrets, finished Jobs and AWS resources stay as they are, and
CRDs are never rolled back. The next converge from the inventory goes forward again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..describe.descriptor import Component, Reference, Wait
from ..kinds import release_record
from ..kinds.aws import is_aws
from ..kinds.base import Context, Node, NodeError, Outcome, Policy, subject
from ..kinds.manifest import apply_all, labelled, namespace_to_use
from ..kinds.namespace_end import OtherNamespacesNode
from ..kinds.remove import PruneNode
from ..kinds.revision import RecordNode
from ..kinds.wait import WORKLOADS, WaitNode
from ..kubernetes.client import Client
from ..locks import lease
from ..objects.data_loss import Permission
from ..objects.record import Recorder, RecordError
from . import engine, scheduler
from .engine import Hooks
from .graph import Vertex
from .result import ComponentResult, Result

Document = dict[str, Any]
_KEPT_AS_THEY_ARE = ("Secret", "Job", "CustomResourceDefinition")
# Whoever goes back wants an outage rather than no way back, and these lose no data.
_MADE_ANEW = ("Deployment", "DaemonSet")
_MASKED = "(secret"


class RevisionNode:
    """Applies the documents of a revision."""

    slow = False

    def __init__(self, component: str, number: int, documents: Sequence[Document]) -> None:
        self.component, self.documents = component, documents
        self.name = f"revision {number}"

    def run(self, context: Context) -> Outcome:
        # AWS resources belong to the component too, and stay as they are: to go back there, converge an older
        # description.
        context.desire(self.component, [document for document in self.documents if is_aws(document)])
        documents = [document for document in self.documents if not is_aws(document)]
        kept = [document for document in documents if document["kind"] in _KEPT_AS_THEY_ARE]
        # These objects belong to the revision: note them, so that they are not pruned.
        context.desire(self.component, [live for document in kept if (live := _live(context, document))])
        missing = [document for document in kept if document["kind"] == "Secret" and not _live(context, document)]
        if missing:
            raise NodeError(
                f"{subject(missing[0])} is gone, and no record keeps its values; make it, then roll back again"
            )
        if not context.run.check:
            release_record.note_rollback(context, self.component)
        back = [_unmasked(context, document) for document in documents if document not in kept]
        anew = [_reference(document) for document in back if document["kind"] in _MADE_ANEW]
        policy = Policy(recreate=anew)
        return apply_all(context, self.component, [*_missing_namespaces(context, back), *back], "", policy)


def _reference(document: Document) -> Reference:
    metadata = document["metadata"]
    return Reference(kind=document["kind"], name=metadata["name"], namespace=metadata.get("namespace") or "")


def _missing_namespaces(context: Context, documents: Sequence[Document]) -> list[Document]:
    """The namespaces of objects that are gone: a later revision moved out of them."""
    named = sorted({str(document["metadata"].get("namespace") or "") for document in documents} - {""})
    missing = [name for name in named if namespace_to_use(context, name) is None]
    for name in missing:
        context.desired.make_namespace(name)
    return [labelled({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, "") for name in missing]


def rollback(
    client: Client,
    component: str,
    number: int,
    *,
    check: bool,
    lock_timeout_s: float = 300,
    lose_data: Sequence[str] = (),
    hooks: Hooks | None = None,
) -> Result:
    """Roll a component back to revision `number` (below 0: that many revisions before the newest). Raises RecordError, LockError."""
    hooks = hooks or Hooks()
    context = engine.context_for(client, check=check)
    context.run.lose_data = Permission(lose_data)
    if check:
        return _run(context, component, number, hooks)
    with lease.held(client, wait_s=lock_timeout_s, stop=context.run.stop, say=hooks.say):
        context.run.recorder = Recorder(client, context.run.masker)
        return _run(context, component, number, hooks)


def _run(context: Context, component: str, number: int, hooks: Hooks) -> Result:
    started = time.monotonic()
    if number < 0:
        number = _before(context.run.recorder, component, -number)
    documents = context.run.recorder.documents(component, number)
    nodes = _nodes(component, number, documents)
    vertices = [Vertex(index, component, node, {index - 1} if index else set()) for index, node in enumerate(nodes)]
    done = scheduler.run(
        vertices,
        context,
        finished=lambda node: hooks.finished(node, context.run.check, context.run.masker),
        running=hooks.running,
    )
    result = ComponentResult("present")
    for node in done:
        result.add(node)
    return Result({component: result}, done, time.monotonic() - started, context)


def _before(recorder: Recorder, component: str, back: int) -> int:
    """The number of the revision that is so many before the newest. Raises RecordError."""
    applied = [one.number for one in recorder.history(component) if one.state == "applied"]
    if len(applied) > back:
        return applied[-1 - back]
    known = f"recorded are {', '.join(map(str, applied))}" if applied else "nothing of it is recorded"
    raise RecordError(f"component {component} has no revision so far back; {known}")


def _nodes(component: str, number: int, documents: Sequence[Document]) -> list[Node]:
    described = Component(name=component)
    waits: list[Node] = [
        WaitNode(
            component,
            Wait(kind=document["kind"], name=document["metadata"]["name"]),
            document["metadata"].get("namespace", ""),
        )
        for document in documents
        if document["kind"] in WORKLOADS
    ]
    return [
        RevisionNode(component, number, documents),
        *waits,
        PruneNode(described),
        OtherNamespacesNode(described),
        RecordNode(described, rolled_back_to=number),
    ]


def _live(context: Context, document: Document) -> Document | None:
    return context.run.live_of(document)


def _unmasked(context: Context, document: Document) -> Document:
    """The document with masked texts replaced by their current values in the cluster."""
    if _MASKED not in str(document):
        return document
    live = _live(context, document)
    made: Document = _fill(document, live, subject(document))
    return made


def _fill(value: Any, live: Any, where: str) -> Any:
    if isinstance(value, str) and _MASKED in value:
        if not isinstance(live, str):
            raise NodeError(
                f"{where}: a secret text of that revision is not recorded, and the cluster has none in its place; "
                "converge from the inventory instead"
            )
        return live
    if isinstance(value, dict):
        return {
            key: _fill(item, live.get(key) if isinstance(live, dict) else None, where) for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _fill(item, live[index] if isinstance(live, list) and index < len(live) else None, where)
            for index, item in enumerate(value)
        ]
    return value
