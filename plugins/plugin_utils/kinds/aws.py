# SPDX-License-Identifier: Apache-2.0
"""AWS resources as nodes of the graph: each one is applied, looked up, removed or pruned."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...module_utils.aws.base import plan as aws_plan
from ...module_utils.aws.base.errors import AwsError
from ...module_utils.aws.base.resource import AwsResource, Owner
from ...module_utils.aws.base.unknown import Unknown
from ...module_utils.aws.catalog import RESOURCES, height
from ..describe.descriptor import AwsEntry, Reference
from ..describe.references import is_unknown, references
from ..objects import data_loss, disruption
from ..objects.compare import Change
from ..objects.identity import Identity, identity
from .base import Action, Context, Document, NodeError, Outcome, Unfinished, Verb

# In records, an AWS resource has this where a Kubernetes object has its API group.
GROUP = "aws"
# In records, a resource that a run must never prune has this in place of a namespace.
_KEPT = "kept"
_VERBS: Mapping[str, Verb] = {"create": "create", "update": "update", "replace": "recreate", "delete": "delete"}


@dataclass
class AwsNode:
    """Applies a resource, and waits until it can be used."""

    component: str
    entry: AwsEntry
    slow: bool = True

    @property
    def name(self) -> str:
        return subject(self.component, self.entry)

    def run(self, context: Context) -> Outcome:
        properties = context.outputs.resolve(self.entry.properties)
        if not context.run.check and is_unknown(properties):
            raise NodeError(f"{self.name}: {_unknown_in(properties)} refers to an output that has no value yet")
        resource = make(context, self.component, self.entry, properties)
        if not is_unknown(resource.identity):
            kept = self.entry.adopt or self.entry.retain
            context.desire(self.component, [document(self.entry.type, resource.identity, properties, kept=kept)])
        if context.run.check:
            plan = resource.plan()
            publish(context, self.component, self.entry, resource, remade=plan.verb == "replace")
            return _outcome(self, plan)
        plan = resource.apply()
        try:
            if self.entry.wait and not self.entry.adopt:
                resource.wait()
            publish(context, self.component, self.entry, resource)
        except AwsError as error:
            raise Unfinished(str(error), _outcome(self, plan)) from error
        return _outcome(self, plan)


@dataclass
class AwsLookNode:
    """Looks up a resource whose outputs others refer to.

    If it does not exist, its outputs and all that depends on them are unknown.
    """

    component: str
    entry: AwsEntry
    slow: bool = True
    found: AwsResource | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"look at {subject(self.component, self.entry)}"

    def run(self, context: Context) -> Outcome:
        properties = context.outputs.resolve_known(self.entry.properties)
        self.found = make(context, self.component, self.entry, properties)
        publish(context, self.component, self.entry, self.found)
        return Outcome()


@dataclass
class AwsRemovalNode:
    """Removes a resource if it carries our mark, and waits until it is gone. AwsLookNode has read it before."""

    look: AwsLookNode
    may_lose: Sequence[Reference] = ()
    slow: bool = True

    @property
    def name(self) -> str:
        return f"end of {subject(self.look.component, self.look.entry)}"

    def run(self, context: Context) -> Outcome:
        entry, resource = self.look.entry, self.look.found
        if resource is None or entry.adopt:
            return Outcome()
        what = subject(self.look.component, entry)
        if entry.retain:
            there = resource.plan_delete()
            return Outcome(notes=[f"{what} is kept (`retain`)"] if there.verb == "delete" else [])
        plan = _delete(context, resource, entry.type, self.may_lose, entry.name)
        return Outcome(_actions(what, entry.type, plan), [f"{what} {plan.why}"] if plan.why else [])


@dataclass
class AwsPruneNode:
    """Removes what earlier revisions of a component had on AWS and this one has not, if it is in the record and carries our mark."""

    component: str
    may_lose: Sequence[Reference] = ()
    name: str = "prune on AWS"
    slow: bool = True

    def run(self, context: Context) -> Outcome:
        # What is still described stays, whether it is retained now or not.
        described = {(one.kind, one.name) for one in context.desired.of(self.component)}
        known = removable(context.run.recorder.known(self.component))
        stale = [one for one in known if (one.kind, one.name) not in described]
        if stale and context.run.failed:
            return Outcome(notes=["nothing is taken away on AWS, for something else failed"])
        return Outcome(
            [one for target in sorted(stale, key=_rank) for one in _end(context, self.component, target, self.may_lose)]
        )


@dataclass
class AwsLapsedNode:
    """Removes the resources of one kind that only earlier revisions of components had which are removed in this run.

    `recorded`: component -> what its record holds of the kind. `looks`: what the components still describe; that has ends of its own.
    """

    kind: str
    recorded: Mapping[str, Collection[Identity]]
    looks: Sequence[AwsLookNode]
    may_lose: Mapping[str, Sequence[Reference]]
    slow: bool = True

    @property
    def name(self) -> str:
        return f"end of each {RESOURCES[self.kind].noun} of earlier revisions"

    def run(self, context: Context) -> Outcome:
        described = {(look.component, _recorded_as(look.found.identity)) for look in self.looks if look.found}
        return Outcome(
            [
                action
                for component, targets in self.recorded.items()
                for target in sorted(targets)
                if (component, target.name) not in described
                for action in _end(context, component, target, self.may_lose[component])
            ]
        )


def removable(known: Collection[Identity]) -> set[Identity]:
    """The resources in a record that no revision retained or adopted, and whose kind this version knows."""
    ours = {one for one in known if one.group == GROUP and one.kind in RESOURCES}
    kept = {(one.kind, one.name) for one in ours if one.namespace == _KEPT}
    return {one for one in ours if (one.kind, one.name) not in kept}


def _end(context: Context, component: str, target: Identity, may_lose: Sequence[Reference]) -> list[Action]:
    """Delete what a record names, unless something in this run describes it."""
    if context.desired.has(target):
        return []
    cloud = context.run.cloud()
    resource = RESOURCES[target.kind](cloud.connection, keys_of(target), Owner(cloud.cluster, component))
    return _actions(resource.subject, target.kind, _delete(context, resource, target.kind, may_lose))


def make(context: Context, component: str, entry: AwsEntry, properties: Mapping[str, Any]) -> AwsResource:
    """The resource class of an entry. An adopted resource carries no mark of ours, so no owner is checked."""
    cloud = context.run.cloud()
    owner = None if entry.adopt else Owner(cloud.cluster, component)
    return RESOURCES[entry.type](cloud.connection, dict(properties), owner, entry.adopt)


def subject(component: str, entry: AwsEntry) -> str:
    """`EKS add-on vpc-cni`: made from the description alone, so that it is the same before and after an apply."""
    kind = RESOURCES[entry.type]
    given = [entry.properties[key] for key in kind.key if key in entry.properties]
    said = [str(value) for value in given if not list(references(value))]
    return f"{kind.noun} {'/'.join(said) or f'{component}/{entry.name}'}"


def publish(context: Context, component: str, entry: AwsEntry, resource: AwsResource, *, remade: bool = False) -> None:
    """The outputs, for those who refer to them."""
    for output, value in resource.outputs().items():
        known = Unknown(f"{resource.subject}.{output}") if remade and output != "name" else value
        context.outputs.publish(component, f"{entry.name}_{output}", known)


def outputs_of(entry: AwsEntry) -> list[str]:
    """The names under which an entry's outputs are published."""
    return [f"{entry.name}_{output}" for output in RESOURCES[entry.type].produces]


def document(kind: str, key: Mapping[str, Any], properties: Mapping[str, Any], *, kept: bool = False) -> Document:
    """A resource in the form of a record's documents. `kept`: it is adopted or retained, and never pruned."""
    metadata = {"name": _recorded_as(key)}
    if kept:
        metadata["namespace"] = _KEPT
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "spec": dict(properties)}


def _recorded_as(key: Mapping[str, Any]) -> str:
    return urllib.parse.urlencode({name: str(value) for name, value in key.items()})


def keys_of(target: Identity) -> dict[str, str]:
    """The parameters that say which resource a record means."""
    return dict(urllib.parse.parse_qsl(target.name))


def _delete(
    context: Context, resource: AwsResource, kind: str, may_lose: Sequence[Reference], *more: str
) -> aws_plan.Plan:
    """Delete the resource, or only report that in check mode. Raises NodeError when its data would be lost without permission.

    `may_lose`: what the descriptor allows; `more`: further names of the resource.
    """
    lost = RESOURCES[kind].holds
    names = [str(value) for value in resource.identity.values()]
    allowed = any(one.kind == kind and one.name in (*names, *more) for one in may_lose)
    allowed = allowed or context.run.lose_data.covers(kind, (*names, *more))
    if lost and not allowed and resource.plan_delete().verb == "delete":
        raise NodeError(data_loss.refusal(resource.subject, lost, f"{kind}/{names[-1]}"))
    return resource.plan_delete() if context.run.check else resource.delete()


def is_aws(document: Mapping[str, Any]) -> bool:
    """Whether a record's document is a resource of AWS."""
    return identity(document).group == GROUP


def _rank(target: Identity) -> tuple[int, str, str]:
    """Resources that others depend on go last."""
    return (-height(target.kind), target.kind, target.name)


def _outcome(node: AwsNode, plan: aws_plan.Plan) -> Outcome:
    return Outcome(_actions(node.name, node.entry.type, plan))


def _actions(what: str, kind: str, plan: aws_plan.Plan) -> list[Action]:
    if not plan.changes_anything:
        return []
    verb = _VERBS[plan.verb]
    listed = plan.changes if verb in ("update", "recreate") else ()
    changes = [Change(change.path, _plain(change.before), _plain(change.after)) for change in listed]
    # It was never finished: nobody uses it, and no data is lost.
    meaning = "none" if plan.mends else disruption.of_aws(verb, RESOURCES[kind], changes)
    lost = RESOURCES[kind].holds if verb in ("delete", "recreate") and not plan.mends else ""
    return [Action(verb, what, changes, _plain(plan.before), _plain(plan.after), meaning, lost)]


def _plain(value: Any) -> Any:
    """AWS's values, dates among them, as JSON types."""
    return json.loads(json.dumps(value, default=str))


def _unknown_in(properties: Mapping[str, Any]) -> str:
    return next(name for name, value in properties.items() if is_unknown(value))
