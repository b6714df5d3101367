# SPDX-License-Identifier: Apache-2.0
"""A component as stages of nodes. Nodes of one stage run in parallel, the stages one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..describe.descriptor import Component, Release, Wait, home_of
from ..kinds.base import Node, Policy
from ..kinds.chart import ChartNode, ChartRemoval
from ..kinds.check import CheckNode
from ..kinds.job import JobNode
from ..kinds.manifest import ManifestNode
from ..kinds.namespace_end import OtherNamespacesNode
from ..kinds.outputs import OutputsNode
from ..kinds.remove import PermissionNode, PruneNode, RemoveNode
from ..kinds.revision import RecordNode
from ..kinds.secret import SecretNode
from ..kinds.wait import WORKLOADS, WaitNode

Stages = Iterator[list[Node]]


def stages_of(component: Component) -> Stages:
    """The stages of a component, by its state. Empty stages are left out."""
    parts = _REMOVAL if component.state == "absent" else _INSTALLATION
    for part in parts:
        yield from (stage for stage in part(component) if stage)


def _crds(component: Component) -> Stages:
    if component.crds:
        yield [ManifestNode(component.name, component.crds, name="CRDs", policy=_policy(component))]
        yield [_established(component.name, crd["metadata"]["name"]) for crd in component.crds]


def _secrets(component: Component) -> Stages:
    """Derived Secrets read generated ones, so these come first."""
    for derived in (False, True):
        chosen = [secret for secret in component.secrets if bool(secret.derive) == derived]
        yield [SecretNode(component.name, secret, secret.namespace or home_of(component)) for secret in chosen]


def _releases(component: Component) -> Stages:
    """One after the other: a release may use what the previous one defines.

    Releases that need not wait belong into components of their own.
    """
    for release in component.releases:
        yield [ChartNode(component.name, release, _home(component, release), _policy(component))]


def _objects(component: Component) -> Stages:
    if component.manifests:
        yield [ManifestNode(component.name, component.manifests, home_of(component), policy=_policy(component))]


def _jobs(component: Component) -> Stages:
    home = home_of(component)
    yield [JobNode(component.name, job, home, _policy(component)) for job in component.jobs]


def _waits(component: Component) -> Stages:
    """Waits that the descriptor names, and a default wait for every other workload."""
    waits = list(component.wait)
    named = {(wait.kind, wait.name) for wait in waits}
    for document in component.manifests:
        key = (document["kind"], document["metadata"]["name"])
        if document["kind"] in WORKLOADS and key not in named:
            waits.append(Wait(kind=key[0], name=key[1], namespace=document["metadata"].get("namespace", "")))
    yield [WaitNode(component.name, wait, wait.namespace or home_of(component)) for wait in waits]


def _checks(component: Component) -> Stages:
    yield [CheckNode(component.name, check) for check in component.checks]


def _outputs(component: Component) -> Stages:
    if component.outputs:
        yield [OutputsNode(component.name, component.outputs, home_of(component))]


def _prune(component: Component) -> Stages:
    yield [PruneNode(component)]
    yield [OtherNamespacesNode(component)]


def _record(component: Component) -> Stages:
    yield [RecordNode(component)]


def _removal(component: Component) -> Stages:
    """Charts may have hooks before and after the removal of their objects."""
    if component.releases:
        yield [PermissionNode(component)]
    before = [ChartRemoval(component.name, release, _home(component, release)) for release in component.releases]
    yield list[Node](before)
    yield [RemoveNode(component)]
    yield [ChartRemoval(component.name, node.release, node.namespace, node) for node in before]


# To add a kind of node: its class in kinds/, and its line here.
_INSTALLATION: tuple[Callable[[Component], Stages], ...] = (
    _crds,
    _secrets,
    _releases,
    _objects,
    _jobs,
    _waits,
    _checks,
    _outputs,
    _prune,
    _record,
)
_REMOVAL: tuple[Callable[[Component], Stages], ...] = (_removal,)


def _policy(component: Component) -> Policy:
    return Policy(component.adopt, component.recreate, component.lose_data)


def _home(component: Component, release: Release) -> str:
    return release.namespace or home_of(component) or "default"


def _established(component: str, name: str) -> Node:
    return WaitNode(component, Wait(kind="CustomResourceDefinition", name=name, condition="Established"), "")
