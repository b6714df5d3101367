# SPDX-License-Identifier: Apache-2.0
"""Changes of immutable fields: the object is deleted and created again, once the API has accepted the new form."""

from __future__ import annotations

import copy
import re
import secrets

from ...module_utils.errors import LlmOnEksError
from ..kubernetes.client import ApiError, Client, Resource
from ..objects import data_loss
from ..objects.compare import SERVER_METADATA, changes
from ..objects.identity import identity
from ..objects.server_assigned import as_planned
from .base import Action, Context, Document, NodeError, Policy, subject
from .gone import lost_with, wait_gone

UNPROCESSABLE = 422
# Each kind words this differently: "field is immutable", "Forbidden: updates to statefulset spec for …", "cannot change
# roleRef", "may not change once set", "may not be changed in an update", "spec is immutable after creation".
_IMMUTABLE = re.compile(
    r"immutable|updates to .*forbidden|forbidden: updates to|\b(may not|cannot|can not|must not) (be )?(change|update|modif)",
    re.IGNORECASE | re.DOTALL,
)
# The name of such an object is fixed by its content: a dry run under another name is impossible.
_ONE_NAME = ("CustomResourceDefinition", "APIService", "Namespace")


def is_immutable(error: ApiError) -> bool:
    """Whether a write was refused because it changes an immutable field."""
    return error.status == UNPROCESSABLE and bool(_IMMUTABLE.search(str(error)))


def recreate(
    context: Context, resource: Resource, document: Document, live: Document, policy: Policy, error: ApiError
) -> tuple[Action, Document | None]:
    """(what was or would be done, the new object; None in check mode). Only for objects named in the descriptor's `recreate`.

    Raises NodeError, before anything is deleted, where the API would not accept the new object.
    """
    if not policy.may_recreate(identity(document)):
        raise NodeError(
            f"{error}. This cannot be changed on an object that exists; name it in the descriptor's `recreate` "
            "to have it deleted and created again (an outage), or undo the change"
        )
    planned = _tried(context.run.api(), resource, document)
    # Naming an object in `recreate` allows its deletion; lost data is reported.
    lost = lost_with(context, {**document, **live}, [*policy.recreate, *policy.lose_data]) or _objects_of(context, live)
    action = Action("recreate", subject(document), changes(live, planned), live, planned, loses=lost)
    if context.run.check:
        return action, None
    return action, _replaced(context, resource, document, live)


def remake_around_pods(context: Context, resource: Resource, document: Document, live: Document) -> Document:
    """Delete a workload without its pods, and create it again: it takes them over. Raises NodeError."""
    _tried(context.run.api(), resource, document)
    return _replaced(context, resource, document, live, policy="Orphan")


def _replaced(
    context: Context, resource: Resource, document: Document, live: Document, *, policy: str = "Foreground"
) -> Document:
    client, metadata = context.run.api(), live["metadata"]
    client.delete(resource, metadata["name"], metadata.get("namespace", ""), uid=metadata["uid"], policy=policy)
    wait_gone(context, resource, {**document, **live})
    try:
        return client.apply(resource, document)
    except LlmOnEksError as failure:
        raise NodeError(f"{failure}; {_put_back(client, resource, document, live)}") from None


def _tried(client: Client, resource: Resource, document: Document) -> Document:
    """What the API would make of the new object: a dry run under another name. Raises NodeError where the API would refuse."""
    if document["kind"] in _ONE_NAME:
        return document
    trial = copy.deepcopy(document)
    name = document["metadata"]["name"]
    trial["metadata"]["name"] = f"{name[:40].rstrip('-.')}-{secrets.token_hex(3)}"
    if document["kind"] == "Service":
        _without_addresses(trial["spec"])
    try:
        made = client.create(resource, trial, dry_run=True)
    except ApiError as error:
        said = str(error).replace(trial["metadata"]["name"], name)
        raise NodeError(f"{said}. The API would not accept a new object in its place, so nothing was deleted") from None
    made["metadata"]["name"] = name
    return as_planned(made, None, document)


def _without_addresses(spec: Document) -> None:
    """Remove addresses and ports from the spec: the API gives those of the live object to no other."""
    if spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    spec.pop("healthCheckNodePort", None)
    for port in spec.get("ports") or []:
        port.pop("nodePort", None)


def _objects_of(context: Context, live: Document) -> str:
    """The objects of a CRD, which are deleted with it."""
    if live.get("kind") != "CustomResourceDefinition":
        return ""
    client, spec = context.run.api(), live["spec"]
    served = next((one["name"] for one in spec["versions"] if one.get("served")), "")
    resource = client.resource(f"{spec['group']}/{served}", spec["names"]["kind"])
    if resource is None:
        # Discovery lags behind a CRD that was just established.
        client.forget_resources()
        resource = client.resource(f"{spec['group']}/{served}", spec["names"]["kind"])
    return data_loss.of_crd(len(client.list(resource)) if resource else 0)


def _put_back(client: Client, resource: Resource, document: Document, live: Document) -> str:
    kept = {key: value for key, value in live.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in live["metadata"].items() if key not in SERVER_METADATA}
    head = {"apiVersion": document["apiVersion"], "kind": document["kind"]}
    try:
        client.create(resource, {**head, **kept})
    except LlmOnEksError as error:
        return f"the old one, which was deleted before, could not be put back: {error}"
    return "the old one was put back as it was"
