# SPDX-License-Identifier: Apache-2.0
"""One converge: descriptors in, a report of what was (or would be) done out. It does not depend on Ansible."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...module_utils.names import NAMESPACE_SYSTEM
from ..describe.descriptor import Component, DescriptorError, claims_of, homes_of, is_in_kubernetes, parse
from ..describe.digest import digest
from ..helm.lock_file import locked
from ..helm.options import ChartOptions
from ..kinds import remove
from ..kinds.base import Context, Run, context_of
from ..kinds.chart import ChartTests
from ..kubernetes.aws_access import AwsAccess, NoClusterError
from ..kubernetes.client import Client
from ..kubernetes.connection import ConnectionError
from ..locks import bucket_lock, lease
from ..objects.data_loss import Permission
from ..objects.masking import Masker
from ..objects.record import Recorder
from . import scheduler
from .graph import Vertex
from .lapsed_aws import lapsed_on_aws
from .parts import lapsed
from .result import ComponentResult, Result
from .run_plan import Plan, StalePlanError, plan_of
from .scheduler import Done, Running
from .steps import build


@dataclass(frozen=True)
class Hooks:
    """Callbacks during a run. `finished` gets the node, whether this is a plan, and the function that masks secrets."""

    finished: Callable[[Done, bool, Masker], None] = lambda done, check, masker: None
    running: Callable[[Running], None] = lambda now: None
    say: Callable[[str], None] = lambda text: None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a run is asked to do: components, the target, and options.

    `client=None` plans against an empty cluster; with `aws`, the run may create the cluster. `check`: plan only.
    `only`: these components, with what they require. `concurrency`: how many nodes work at the same time.
    `lock_timeout_s`: how long to wait for another run. `expect`: a plan that must still match. `lose_data`: what may be
    deleted with its data. `lock_file`: the digests of charts; without one, a chart's own digest is checked, if it has
    one.
    """

    descriptors: Sequence[Any]
    client: Client | None = None
    check: bool = False
    only: Sequence[str] = ()
    concurrency: int = 6
    lock_timeout_s: float = 300
    expect: Plan | None = None
    lose_data: Sequence[str] = ()
    hooks: Hooks = field(default_factory=Hooks)
    charts: ChartOptions = field(default_factory=ChartOptions)
    lock_file: Path | None = None
    aws: AwsAccess | None = None

    @property
    def plans_only(self) -> bool:
        return self.check or (self.client is None and self.aws is None)

    def context(self, client: Client | None, *, check: bool) -> Context:
        context = context_for(client, check=check, charts=self.charts, aws=self.aws)
        context.run.lose_data = Permission(self.lose_data)
        return context


def converge(request: Request) -> Result:
    """Converge the components. Raises LockFileError, DescriptorError, LockError, StalePlanError, AwsError."""
    described = parse(request.descriptors)
    components = select(described, request.only)
    if request.lock_file is not None:
        components = locked(components, request.lock_file)
    job = _Job(components, described, request.concurrency, request.hooks)
    client = request.client
    if client is None and request.aws is not None:
        client = _client_of(request.aws, job)
    if request.plans_only:
        return _run(job, request.context(client, check=True))
    context = request.context(client, check=False)
    with _Hold(context, job, request.lock_timeout_s) as hold:
        if request.expect is not None:
            look = request.context(context.run.client, check=True)
            planned = _run(dataclasses.replace(job, hooks=Hooks()), look)
            _refuse_stale(request.expect, plan_of(planned))
        result = _run(job, context)
        hold.let_go_if_empty()
    return result


@dataclass(frozen=True)
class _Job:
    """The components of a run. `described`: `components` and those that were not selected."""

    components: Sequence[Component]
    described: Sequence[Component]
    concurrency: int
    hooks: Hooks

    @property
    def takes_cluster(self) -> bool:
        """Whether the cluster itself is to be deleted."""
        return any(component.kubernetes and component.state == "absent" for component in self.components)

    @property
    def leaves_nothing(self) -> bool:
        return all(component.state == "absent" for component in self.components)

    @property
    def needs_cluster(self) -> bool:
        """Whether something is to be written to a cluster that this run does not make."""
        present = [component for component in self.components if component.state == "present"]
        return not any(component.kubernetes for component in present) and any(map(is_in_kubernetes, present))


def _client_of(aws: AwsAccess, job: _Job) -> Client | None:
    """A client of the account's cluster; None while there is none. Raises NoClusterError where the run needs one."""
    try:
        client = aws.client()
    except ConnectionError as error:
        if not job.takes_cluster:
            raise
        job.hooks.say(f"{error}; everything in the cluster is deleted with it")
        return None
    if client is None and job.needs_cluster:
        raise NoClusterError(aws.missing)
    return client


class _Hold:
    """Allows one run per cluster at a time: by the cluster's Lease, and by the bucket's lock while there is no cluster."""

    def __init__(self, context: Context, job: _Job, wait_s: float) -> None:
        self.context, self.job, self.wait_s = context, job, wait_s
        self._locks = contextlib.ExitStack()
        self._lease: lease.Held | None = None

    def __enter__(self) -> _Hold:
        context, aws = self.context, self.context.run.aws
        context.run.enter, context.run.leave = self._enter, self._leave
        if aws:
            aws.connection.stop = context.run.stop
            aws.connection.say = self.job.hooks.say
        try:
            if aws and aws.lock_bucket and (context.run.client is None or self.job.takes_cluster):
                held = bucket_lock.held(
                    *(aws.connection, aws.lock_bucket, aws.cluster),
                    wait_s=self.wait_s,
                    stop=context.run.stop,
                    say=self.job.hooks.say,
                )
                self._locks.enter_context(held)
                # The previous holder may have created or deleted the cluster.
                context.run.client = _client_of(aws, self.job)
            if context.run.client is not None:
                self._enter(context.run.client)
        except BaseException:  # Also Ctrl-C: locks are released, whatever ended the run
            self.__exit__()
            raise
        return self

    def _enter(self, client: Client) -> None:
        self._lease = lease.take(client, wait_s=self.wait_s, stop=self.context.run.stop, say=self.job.hooks.say)
        # Read only once the Lease is held: another run may have written records before.
        self.context.run.recorder = Recorder(client, self.context.run.masker)

    def _leave(self) -> None:
        client, held = self.context.run.client, self._lease
        if client is not None and held is not None:
            # Read under the Lease, when no other run can write.
            if Recorder(client).components() or remove.contents(client, NAMESPACE_SYSTEM, ours=False):
                held.let_go()
            else:
                held.end()
        self._lease = None
        self.context.run.recorder = Recorder()

    def let_go_if_empty(self) -> None:
        """When nothing of ours is left in the cluster, remove the records, too."""
        if self.context.run.client is not None and self.job.leaves_nothing:
            self._leave()

    def __exit__(self, *__: object) -> None:
        if self._lease is not None:
            self._lease.let_go()
        self._locks.close()


def run_release_tests(
    descriptors: Sequence[Any],
    names: Sequence[str],
    client: Client,
    *,
    charts: ChartOptions | None = None,
    lock_file: Path | None = None,
) -> list[str]:
    """Run the test hooks of the named components' releases, side by side; one sentence for each that fails."""
    components = [component for component in parse(descriptors) if component.name in names]
    if lock_file is not None:
        components = locked(components, lock_file)
    vertices: list[Vertex] = []
    for component in components:
        home = component.namespace.name if component.namespace else "default"
        for release in component.releases if component.state == "present" else []:
            node = ChartTests(component.name, release, release.namespace or home)
            vertices.append(Vertex(len(vertices), component.name, node))
    if not vertices:
        return []
    done = scheduler.run(vertices, context_for(client, check=False, charts=charts))
    return [f"{node.component}: {node.error}" for node in done if node.state == "failed"]


def select(components: list[Component], only: Sequence[str]) -> list[Component]:
    """The named components and what they require; all components when none is named."""
    if not only:
        return components
    known = {component.name: component for component in components}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise DescriptorError(
            f"platform_only names {unknown[0]!r}, which is not a component; known are {', '.join(known)}"
        )
    wanted: set[str] = set()
    queue = list(only)
    while queue:
        name = queue.pop()
        if name not in wanted and name in known:
            wanted.add(name)
            # A component that is removed requires nothing. Components that require it are removed too, or refused.
            queue += known[name].requires if known[name].state == "present" else []
    return [component for component in components if component.name in wanted]


def context_for(
    client: Client | None, *, check: bool, charts: ChartOptions | None = None, aws: AwsAccess | None = None
) -> Context:
    """A fresh context with the records of the client's cluster."""
    masker = Masker()
    recorder = Recorder(client, masker)
    charts = charts or ChartOptions()
    return context_of(Run(client, check=check, masker=masker, recorder=recorder, charts=charts, aws=aws))


def _run(job: _Job, context: Context) -> Result:
    started = time.monotonic()
    components, hooks = job.components, job.hooks
    context.desired.claim(homes_of(job.described))
    for component in components:
        for release in component.releases:
            context.run.masker.learn_values(release.values)
        for document in component.manifests:
            context.run.masker.learn_document(document)
        context.desired.claim(claims_of(component))
    installed = context.run.recorder.components()
    components = [*components, *lapsed(components, installed)]
    # Before the run learns more secrets: the same descriptors have the same digests then.
    results = {
        component.name: ComponentResult(component.state, described=digest(component, context.run.masker))
        for component in components
    }
    vertices = build(components, installed, job.described, lapsed_on_aws(components, context.run.recorder))
    nodes = scheduler.run(
        vertices,
        context,
        concurrency=job.concurrency,
        finished=lambda done: hooks.finished(done, context.run.check, context.run.masker),
        running=hooks.running,
    )
    for node in nodes:
        # A component outside the run that was only looked up gets a row only when that failed.
        if node.component not in results and node.state == "ok":
            continue
        results.setdefault(node.component, ComponentResult("skip")).add(node)
    return Result(results, nodes, time.monotonic() - started, context)


def _refuse_stale(expected: Plan, now: Plan) -> None:
    if expected.allows(now):
        return
    raise StalePlanError(
        f"the plan is stale: {expected.difference(now)}; nothing was changed. Plan again with playbooks/plan.yml"
    )
