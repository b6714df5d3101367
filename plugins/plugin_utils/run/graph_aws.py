# SPDX-License-Identifier: Apache-2.0
"""AWS resources in the graph: one vertex each, ordered by their references rather than by their components.

So a file system is created while a control plane is still being created. Removal runs backwards, after everything in
Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...module_utils.aws.catalog import below, height
from ..describe.descriptor import AwsEntry, Component, DescriptorError
from ..describe.references import references
from ..kinds.aws import AwsLapsedNode, AwsLookNode, AwsNode, AwsPruneNode, AwsRemovalNode, outputs_of
from ..kinds.base import Node
from ..kinds.leftovers import LeftoversNode
from ..objects.identity import Identity

Key = tuple[str, str]  # component, name of the resource
# Makes a vertex: (component, node) -> its index.
MakeVertex = Callable[[str, Node], int]


class Order(Protocol):
    """Puts one vertex after another, which must have succeeded (`well`) or only ended."""

    def __call__(self, later: int, earlier: int, *, well: bool = True) -> None: ...


@dataclass
class AwsPart:
    """The AWS vertices of a graph.

    `components`: all that are described. Resources of components outside this run are only looked up, where somebody
    refers to them.
    """

    active: Mapping[str, Component]
    components: Mapping[str, Component]
    make: MakeVertex
    order: Order
    # The vertex after which a resource is ready, or known. Dependants come after it.
    vertices: dict[Key, int] = field(default_factory=dict)
    prunes: list[int] = field(default_factory=list)
    # Kind -> the vertex that ends what only earlier revisions of removed components had.
    lapsed: dict[str, int] = field(default_factory=dict)
    _looks: dict[Key, AwsLookNode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._published = {
            (name, output): (name, entry.name)
            for name, component in self.components.items()
            for entry in component.aws
            for output in outputs_of(entry)
        }

    def add(self) -> None:
        """Add the vertices of resources that are applied, and of look-ups before a removal."""
        for name, component in self.active.items():
            for entry in component.aws:
                self._vertex((name, entry.name), entry)
        for name, component in self.active.items():
            for entry in component.aws:
                self._edges(name, entry)

    def publisher(self, component: str, output: str) -> int | None:
        """The vertex that publishes an output; None if no AWS resource has it."""
        key = self._published.get((component, output))
        return None if key is None else self._reach(key)

    def knows(self, component: str, output: str) -> bool:
        """Whether an AWS resource has this output."""
        return (component, output) in self._published

    def of(self, component: str) -> set[int]:
        """The vertices of a component's resources."""
        return {index for (name, __), index in self.vertices.items() if name == component}

    def add_prunes(self) -> dict[str, int]:
        """Add the prunes, one after the other and after everything else on AWS; a resource goes before those that it refers to.

        component -> vertex.
        """
        made = set(self.vertices.values())
        previous: int | None = None
        found = {}
        for name in reversed(self._by_reference()):
            if self.active[name].state != "present":
                continue
            index = self.make(name, AwsPruneNode(name, self.active[name].lose_data))
            self.prunes.append(index)
            for vertex in made if previous is None else [previous]:
                self.order(index, vertex, well=False)
            found[name] = previous = index
        return found

    def add_lapsed(self, recorded: Mapping[str, Collection[Identity]]) -> list[int]:
        """Add the ends of what only earlier revisions of removed components had, one for each kind.

        Returns those on whose kind nothing depends that this run removes: they can go first.
        """
        kinds = {one.kind for ones in recorded.values() for one in ones}
        for kind in sorted(kinds, key=lambda kind: (-height(kind), kind)):
            looks = [look for look in self._doomed().values() if look.entry.type == kind]
            targets = {name: [one for one in ones if one.kind == kind] for name, ones in recorded.items()}
            owners = {name: ones for name, ones in targets.items() if ones}
            may_lose = {name: self.active[name].lose_data for name in owners}
            index = self.make(min(owners), AwsLapsedNode(kind, owners, looks, may_lose))
            above = [one for other, one in self.lapsed.items() if kind in below(other)]
            for vertex in (*self.vertices.values(), *above):
                self.order(index, vertex, well=False)
            self.lapsed[kind] = index
        under = {kind for look in self._doomed().values() for kind in below(look.entry.type)}
        return [index for kind, index in self.lapsed.items() if kind not in under]

    def _doomed(self) -> dict[Key, AwsLookNode]:
        return {key: look for key, look in self._looks.items() if self._is_removed(key)}

    def add_removals(self, component: str, after: int, *, takes_cluster: bool) -> None:
        """Add the removals. A resource is removed after everything that refers to it.

        What controllers left behind comes first; what the last nodes left, before their network.
        """
        doomed = self._doomed()
        if takes_cluster:
            leftovers = self.make(component, LeftoversNode(list(doomed.values())))
            for vertex in (after, *(self.vertices[key] for key in doomed)):
                self.order(leftovers, vertex)
            after = leftovers
        ends = {
            key: self.make(key[0], AwsRemovalNode(look, self.active[key[0]].lose_data)) for key, look in doomed.items()
        }
        for key, index in ends.items():
            self.order(index, after)
            self.order(index, self.vertices[key])
            for other in self._before(key[0], doomed[key].entry):
                if other in ends:
                    self.order(ends[other], index)
            self._order_lapsed(doomed[key].entry.type, index)
        if takes_cluster:
            self._add_leftovers_of_nodes(component, doomed, ends)

    def _order_lapsed(self, kind: str, end: int) -> None:
        """What earlier revisions had goes after what depends on its kind, and before what its kind depends on."""
        for other, index in self.lapsed.items():
            if other in below(kind):
                self.order(index, end)
            elif kind in below(other):
                self.order(end, index)

    def _add_leftovers_of_nodes(
        self, component: str, doomed: Mapping[Key, AwsLookNode], ends: Mapping[Key, int]
    ) -> None:
        """After the node groups, and before what their interfaces hold: subnets, security groups, and the cluster's own group."""
        groups = [index for key, index in ends.items() if doomed[key].entry.type == "eks_nodegroup"]
        if not groups:
            return
        leftovers = self.make(component, LeftoversNode(list(doomed.values()), after_nodes=True))
        for index in groups:
            self.order(leftovers, index)
        for key, index in ends.items():
            if doomed[key].entry.type in ("ec2_subnet", "ec2_security_group", "eks_cluster"):
                self.order(index, leftovers)

    def _vertex(self, key: Key, entry: AwsEntry) -> int:
        name = key[0]
        if name in self.active and self.active[name].state == "present":
            node: Node = AwsNode(name, entry)
        else:
            node = self._looks[key] = AwsLookNode(name, entry)
        self.vertices[key] = self.make(name, node)
        return self.vertices[key]

    def _edges(self, component: str, entry: AwsEntry) -> None:
        mine = self.vertices[component, entry.name]
        for key in self._before(component, entry):
            self.order(mine, self._reach(key))

    def _reach(self, key: Key) -> int:
        """The vertex of a resource. A resource outside the run gets a look-up."""
        if key not in self.vertices:
            entry = next(entry for entry in self.components[key[0]].aws if entry.name == key[1])
            self._vertex(key, entry)
            self._edges(key[0], entry)
        return self.vertices[key]

    def _before(self, component: str, entry: AwsEntry) -> Iterator[Key]:
        """What must exist before an entry: the resources that it refers to, and those in its `after`."""
        for other, output in references(entry.properties):
            if (other, output) in self._published:
                yield self._published[other, output]
            else:
                raise DescriptorError(
                    f"component {component}: {entry.name} refers to ${{out:{other}.{output}}}, which no AWS resource has"
                )
        for text in entry.after:
            named = text.rpartition(".")
            key = (named[0] or component, named[2])
            if key in self.vertices or any(one.name == key[1] for one in self._aws_of(key[0])):
                yield key
            elif key[0] in self.components:
                raise DescriptorError(
                    f"component {component}: {entry.name} is to come after {text}, which is not described"
                )

    def _aws_of(self, component: str) -> list[AwsEntry]:
        return self.components[component].aws if component in self.components else []

    def _is_removed(self, key: Key) -> bool:
        return key[0] in self.active and self.active[key[0]].state == "absent"

    def _by_reference(self) -> list[str]:
        """Components with AWS resources, each after those that it refers to. References in a circle are ignored."""
        done: list[str] = []

        def visit(name: str, above: tuple[str, ...]) -> None:
            if name in done or name in above or name not in self.active:
                return
            for entry in self.active[name].aws:
                for other, __ in self._before(name, entry):
                    visit(other, (*above, name))
            done.append(name)

        for name, component in self.active.items():
            if component.aws:
                visit(name, ())
        return [name for name in done if self.active[name].aws]
