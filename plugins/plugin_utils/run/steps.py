# SPDX-License-Identifier: Apache-2.0
"""Builds the graph of a run in steps, each with one purpose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..describe.descriptor import Component, DescriptorError, Namespace, documents_of
from ..describe.references import references
from ..kinds.base import Node
from ..kinds.connect import ConnectNode, FarewellNode
from ..kinds.manifest import NamespaceNode
from ..kinds.namespace_end import NamespaceRemovalNode, OtherNamespacesNode
from ..kinds.remove import CrdsRemovalNode
from ..kinds.revision import RecordNode
from ..objects.identity import Identity
from .graph import Vertex
from .graph_aws import AwsPart
from .stages import stages_of


class KnotError(DescriptorError):
    """Single nodes wait for each other."""


@dataclass
class Draft:
    """A graph that is being built. `active`: the components of the run; `known`: all that are described.

    `installed`: components that the cluster has already. `first`, `last`: the first and last vertices of a component.
    `connect`: the vertices that sign in to a cluster that this run creates.
    """

    active: Mapping[str, Component]
    known: Mapping[str, Component]
    installed: Collection[str]
    vertices: list[Vertex] = field(default_factory=list)
    first: dict[str, set[int]] = field(default_factory=dict)
    last: dict[str, set[int]] = field(default_factory=dict)
    namespaces: dict[str, int] = field(default_factory=dict)
    connect: set[int] = field(default_factory=set)
    lapsed: Mapping[str, Collection[Identity]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.aws = AwsPart(self.active, self.known, self.add, self.order)

    def add(self, component: str, node: Node, after: Collection[int] = ()) -> int:
        self.vertices.append(Vertex(len(self.vertices), component, node, set(after)))
        return len(self.vertices) - 1

    def order(self, later: int, earlier: int, *, well: bool = True) -> None:
        (self.vertices[later].after if well else self.vertices[later].behind).add(earlier)

    def publishers(self, value: Any) -> set[int]:
        """The vertices of the AWS resources that nested data refers to."""
        found = {self.aws.publisher(component, output) for component, output in references(value)}
        return {index for index in found if index is not None}

    def in_state(self, state: str) -> list[Component]:
        return [component for component in self.active.values() if component.state == state]


def build(
    components: Sequence[Component],
    installed: Collection[str] = (),
    described: Sequence[Component] = (),
    lapsed: Mapping[str, Collection[Identity]] | None = None,
) -> list[Vertex]:
    """The graph of a run. `installed`: components that the cluster has already, by its records.

    `described`: components outside the run, whose AWS resources are looked up where somebody refers to them. `lapsed`: what
    the records of components to remove hold of AWS. Raises DescriptorError for a circle, or for a required component that
    is neither in the run nor installed.
    """
    active = {component.name: component for component in components if component.state != "skip"}
    known = {component.name: component for component in described if component.state != "skip"} | active
    try:
        return _built(Draft(active, known, installed, lapsed=lapsed or {}))
    except KnotError:
        if not lapsed:
            raise
        # What is described now must be able to go, whatever earlier revisions had.
        return _built(Draft(active, known, installed))


def _built(draft: Draft) -> list[Vertex]:
    for step in STEPS:
        step(draft)
    return draft.vertices


def refuse_missing_and_circles(draft: Draft) -> None:
    """This comes first: all required components exist, and an order is possible."""
    for component in draft.active.values():
        for other in component.requires:
            _refuse_missing(component, other, draft.active, draft.installed)
    _refuse_circles(_component_order(draft))


def add_aws_resources(draft: Draft) -> None:
    """Each AWS resource is a vertex, ordered by its references."""
    draft.aws.add()


def add_sign_in(draft: Draft) -> None:
    """Sign in to a cluster that this run creates: after the component's own resources, its access entries among them."""
    for component in draft.in_state("present"):
        if component.kubernetes:
            place = component.kubernetes
            named = draft.publishers([place.name, place.endpoint, place.certificate_authority])
            after = draft.aws.of(component.name) | named
            draft.connect = {draft.add(component.name, ConnectNode(component.name, place), after)}
            return


def add_components(draft: Draft) -> None:
    """A component's own vertices: its stages one after the other, after its namespace and the AWS resources that it refers to."""
    for component in draft.active.values():
        previous: set[int] = set()
        if component.state == "present":
            # A namespace that components share is one vertex, and all of them come after it.
            home = {_shared(draft, component.name, component.namespace)} if component.namespace else set()
            previous = home | draft.aws.of(component.name) | draft.publishers(_texts(component))
            if component.namespace and component.namespace.labels:
                node = _labelled(draft, component.namespace)
                previous = draft.first[component.name] = {draft.add(component.name, node, previous)}
        for stage in stages_of(component):
            made = {draft.add(component.name, node, previous) for node in stage}
            draft.first.setdefault(component.name, made)
            previous = made
        draft.first.setdefault(component.name, set())
        draft.last[component.name] = previous


def order_components(draft: Draft) -> None:
    """`after`, `requires` and references to outputs of Kubernetes objects."""
    for name, befores in _component_order(draft).items():
        for index in draft.first[name]:
            for before in befores:
                draft.vertices[index].after |= draft.last[before]


def add_ends_of_namespaces(draft: Draft) -> None:
    """Each namespace of removed components is deleted after everything in it."""
    homes: dict[str, list[Component]] = {}
    for component in draft.in_state("absent"):
        removed = draft.last[component.name]
        draft.last[component.name] = {draft.add(component.name, OtherNamespacesNode(component), removed)}
        if component.namespace and component.namespace.name not in draft.namespaces:
            homes.setdefault(component.namespace.name, []).append(component)
    for name, components in homes.items():
        retain = [kept for component in components for kept in component.retain]
        after = {index for component in components for index in draft.last[component.name]}
        end = draft.add(components[-1].name, NamespaceRemovalNode(name, retain), after)
        for component in components:
            draft.last[component.name] = {end}


def add_ends_of_crds(draft: Draft) -> None:
    """CRDs are deleted after the namespaces: the namespace controller needs them to delete the objects in there."""
    for component in draft.in_state("absent"):
        draft.add(component.name, CrdsRemovalNode(component), draft.last[component.name])


def order_kubernetes_after_sign_in(draft: Draft) -> None:
    for index in _in_kubernetes(draft):
        draft.vertices[index].after |= draft.connect


def add_aws_prunes(draft: Draft) -> None:
    """AWS resources that a newer description lacks are removed at the end, before the record is updated."""
    prunes = draft.aws.add_prunes()
    for vertex in draft.vertices:
        if isinstance(vertex.node, RecordNode) and vertex.component in prunes:
            vertex.after.add(prunes[vertex.component])
    for index in prunes.values():
        draft.vertices[index].after |= draft.connect


def add_aws_lapsed(draft: Draft) -> None:
    """What only earlier revisions of removed components had on AWS. As much of it as can goes before the record is forgotten."""
    first = draft.aws.add_lapsed(draft.lapsed)
    ends = {vertex.index for vertex in draft.vertices if isinstance(vertex.node, CrdsRemovalNode)}
    before = _in_kubernetes(draft) - set(draft.aws.prunes) - set(draft.aws.lapsed.values()) - ends
    for index in first:
        draft.vertices[index].after |= before
        for end in ends:
            draft.vertices[end].after.add(index)


def add_aws_removals(draft: Draft) -> None:
    """AWS resources are removed last, after everything in Kubernetes; the cluster with them, if it is to be removed."""
    leaving = [component for component in draft.in_state("absent") if component.aws]
    if not leaving:
        return
    cluster = next((component for component in leaving if component.kubernetes), None)
    name = (cluster or leaving[0]).name
    in_kubernetes = _in_kubernetes(draft) - set(draft.aws.prunes) - set(draft.aws.lapsed.values())
    farewell = draft.add(name, FarewellNode(cluster is not None), in_kubernetes)
    draft.aws.add_removals(name, farewell, takes_cluster=cluster is not None)


def refuse_knots(draft: Draft) -> None:
    """Refuse circles between single nodes, for example AWS resources, which are ordered by their references."""
    done: set[int] = set()
    while len(done) < len(draft.vertices):
        ready = {one.index for one in draft.vertices if one.index not in done and one.after | one.behind <= done}
        if not ready:
            knot = [f"{one.component} ({one.node.name})" for one in draft.vertices if one.index not in done]
            raise KnotError(f"these wait for each other in a circle: {', '.join(knot[:6])}; take out a reference")
        done |= ready


STEPS: tuple[Callable[[Draft], None], ...] = (
    refuse_missing_and_circles,
    add_aws_resources,
    add_sign_in,
    add_components,
    order_components,
    add_ends_of_namespaces,
    add_ends_of_crds,
    order_kubernetes_after_sign_in,
    add_aws_prunes,
    add_aws_lapsed,
    add_aws_removals,
    refuse_knots,
)


def _in_kubernetes(draft: Draft) -> set[int]:
    return {vertex.index for vertex in draft.vertices} - set(draft.aws.vertices.values()) - draft.connect


def _shared(draft: Draft, component: str, namespace: Namespace) -> int:
    """The vertex of a namespace, created for the first component in it.

    It keeps the labels of all components in it, also of those outside the run: a mesh, for instance, labels namespaces of others.
    A component gives its labels when its turn comes, so that pods join a mesh that is there.
    """
    if namespace.name not in draft.namespaces:
        labels = {
            key: value
            for one in draft.known.values()
            if one.state == "present" and one.namespace and one.namespace.name == namespace.name
            for key, value in one.namespace.labels.items()
        }
        node = NamespaceNode(namespace.name, namespace.pod_security, others={**labels, **namespace.labels})
        draft.namespaces[namespace.name] = draft.add(component, node)
    return draft.namespaces[namespace.name]


def _labelled(draft: Draft, namespace: Namespace) -> NamespaceNode:
    """A namespace with the labels of one of its components, whose turn has come."""
    shared = draft.vertices[draft.namespaces[namespace.name]].node
    if not isinstance(shared, NamespaceNode):
        raise AssertionError
    return replace(shared, labels=namespace.labels, name="namespace labels")


def _component_order(draft: Draft) -> dict[str, set[str]]:
    """component -> components that must be done first; for a removal the order is reversed."""
    active = draft.active
    order: dict[str, set[str]] = {name: set() for name in active}
    for name, component in active.items():
        for other in (*component.after, *component.requires, *_referred(component, active, draft.aws)):
            if other not in active or other == name:
                continue
            if component.state == "absent" and active[other].state == "absent":
                order[other].add(name)
            elif component.state == "present" and not _outlived(component, active[other]):
                order[name].add(other)
        order[name].update(one for one in component.outlives if one in active and _outlived(active[one], component))
    return order


def _outlived(component: Component, by: Component) -> bool:
    """Whether a component is done before another one is removed."""
    return component.state == "present" and by.state == "absent" and component.name in by.outlives


def _refuse_missing(
    component: Component, other: str, active: Mapping[str, Component], installed: Collection[str]
) -> None:
    if component.state != "present":
        return
    if other not in active and other not in installed:
        raise DescriptorError(
            f"component {component.name} requires {other}, which is neither part of this run nor installed; "
            f"run {other} first, or together with it"
        )
    if other in active and active[other].state == "absent":
        raise DescriptorError(
            f"component {component.name} requires {other}, which is to be removed; "
            f"remove {component.name} too, or keep {other}"
        )


def _texts(component: Component) -> list[Any]:
    """The texts in the Kubernetes part of a component that may contain references."""
    return [*documents_of(component), *(release.values for release in component.releases)]


def _referred(component: Component, active: Mapping[str, Component], aws: AwsPart) -> set[str]:
    """The components whose Kubernetes outputs this one refers to. Raises DescriptorError for an unknown output."""
    if component.state != "present":
        return set()
    found = set()
    for other, output in references(_texts(component)):
        if aws.knows(other, output):
            continue
        if other not in active or output not in active[other].outputs:
            raise DescriptorError(
                f"component {component.name} refers to ${{out:{other}.{output}}}, which no component of this run has"
            )
        found.add(other)
    return found


def _refuse_circles(order: Mapping[str, set[str]]) -> None:
    """Raises DescriptorError that names the components which wait for each other."""
    done: set[str] = set()
    while len(done) < len(order):
        ready = {name for name, befores in order.items() if name not in done and befores <= done}
        if not ready:
            circle = ", ".join(sorted(set(order) - done))
            raise DescriptorError(
                f"these components wait for each other in a circle: {circle}; take one out of `after` or `requires`"
            )
        done |= ready
