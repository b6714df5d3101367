# SPDX-License-Identifier: Apache-2.0
"""A run of the real AWS roles that dies at any call: the next one completes it, with nothing twice and nothing left over."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.support.aws_inventory import differences, inventory, only, shape
from tests.support.aws_process import INTERRUPTED, Cut, Runs
from tests.support.emulated_cluster import gone

pytestmark = pytest.mark.apiserver


class Baseline:
    """An account, what is described for it, and what an undisturbed run makes of it."""

    def __init__(self, account, runner: Runs, shapes) -> None:
        self.account, self.runs = account, runner
        self.components, self.older = shapes["plain"], shapes["older"]
        self.empty = inventory(account.aws)
        began = time.monotonic()
        made = runner.run(self.components)
        self.seconds = time.monotonic() - began
        assert (made.code, made.errors) == (0, ()), made
        self.making, self.shape = made.calls, self.shape_now()
        removed = runner.run(gone(self.components))
        assert (removed.code, removed.errors) == (0, ()), removed
        self.removing = removed.calls
        assert differences(self.empty, inventory(account.aws)) == []
        print(f"\nan undisturbed run: {len(self.making)} changing calls; its removal: {len(self.removing)}")

    def shape_now(self):
        """Without buckets: the lock of a run that died stays until somebody needs it."""
        return shape(only(inventory(self.account.aws), lambda kind, row: kind != "bucket"))

    def complete(self, components) -> list[str]:
        """What is wrong with a rerun."""
        self.account.aws.quiet()
        done = self.runs.run(components)
        wrong = [f"the rerun failed: {error}" for error in done.errors or (["it died"] if done.code else [])]
        return wrong + [
            f"the rerun waited for a dead run's lock: {said}" for said in done.said if "waiting for" in said
        ]

    def is_whole(self) -> list[str]:
        again = self.runs.run(self.components)
        wrong = [] if (again.code, again.errors, again.actions) == (0, (), 0) else [f"a third run is {again}"]
        now = self.shape_now()
        wrong += [f"twice or left over: {line}" for line in now if line not in self.shape]
        wrong += [f"missing: {line}" for line in self.shape if line not in now]
        if len(now) != len(self.shape):
            wrong.append(f"{len(now)} things, not {len(self.shape)}")
        return wrong

    def is_empty(self) -> list[str]:
        return differences(self.empty, inventory(self.account.aws))

    def wipe(self) -> None:
        """After a failure: a new account."""
        for __ in range(2):
            self.account.try_converge(gone(self.components))
        if self.is_empty():
            self.account.renew()


@pytest.fixture(scope="module")
def baseline(shared_account):
    account, shapes = shared_account
    if not account.is_empty():
        account.renew()
    return Baseline(account, Runs(account.aws.url, account.name), shapes)


def trial(baseline: Baseline, making: Cut, removing: Cut) -> list[str]:
    """What is wrong after a life with a cut in its making and one in its removal."""
    wrong = []
    for cut, components, check in (
        (making, baseline.components, baseline.is_whole),
        (removing, gone(baseline.components), baseline.is_empty),
    ):
        ended = baseline.runs.run(components, cut)
        expected = INTERRUPTED if cut.number == signal.SIGINT else -cut.number
        if ended.code not in (expected, 0):
            wrong.append(f"{cut}: exit code {ended.code}, {ended.errors}")
        found = baseline.complete(components)
        wrong += [f"{cut}: {problem}" for problem in found + check()]
        if wrong:
            break
    if wrong:
        baseline.wipe()
    return wrong


def report(name: str, cuts: int, wrong: list[str]) -> None:
    print(f"\n{name}: {cuts} cuts, {len(wrong)} with something twice, missing or left over")
    assert not wrong, "\n".join(line[:600] for line in wrong[:10])


def lives(baseline: Baseline, rng: random.Random, count: int, *numbers: int) -> list[str]:
    """What is wrong after so many lives with two cuts each, which lie at random calls. `numbers`: their signals."""
    wrong = []
    for __ in range(count):
        making, removing = (
            Cut(rng.randint(1, len(calls)), rng.random() < 0.5, number)
            for calls, number in zip(
                (baseline.making, baseline.removing), numbers or (signal.SIGKILL, signal.SIGKILL), strict=True
            )
        )
        wrong += trial(baseline, making, removing)[:1]
    return wrong


def test_a_run_killed_at_a_call_is_completed_and_so_is_a_removal_stopped_by_ctrl_c(baseline):
    report("killed and stopped at a call", 2, lives(baseline, random.Random(6), 1, signal.SIGKILL, signal.SIGINT))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(4))
def test_runs_killed_at_many_calls_are_completed_and_so_are_their_removals(baseline, seed):
    report(f"killed at a call, seed {seed}", 10, lives(baseline, random.Random(seed), 5))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_a_run_stopped_by_ctrl_c_is_completed(baseline, seed):
    report("Ctrl-C", 2, lives(baseline, random.Random(seed), 1, signal.SIGINT, signal.SIGINT))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(8))
def test_a_run_killed_at_a_random_moment_is_completed(baseline, seed):
    rng = random.Random(seed)
    wrong = []
    for components, check in ((baseline.components, baseline.is_whole), (gone(baseline.components), baseline.is_empty)):
        baseline.runs.run(components, kill_after_s=rng.uniform(0.3, baseline.seconds))
        wrong += baseline.complete(components) + check()
    if wrong:
        baseline.wipe()
    report(f"killed at random, seed {seed}", 2, wrong)


def again_and_again(baseline: Baseline, components, cut: Cut) -> int:
    """Run until one run comes to its end, each killed a little later than the one before; how many were killed."""
    count = 0
    while (ended := baseline.runs.run(components, cut)).code != 0:
        assert ended.code == -signal.SIGKILL, ended
        count += 1
        assert count < 250, "they do not get there"
    assert ended.errors == ()
    return count


@pytest.mark.full
@pytest.mark.parametrize("cut", [Cut(1, after=True, locks=False), Cut(2, after=False, locks=False)], ids=str)
def test_runs_that_are_killed_at_every_call_get_there(baseline, cut):
    count, wrong = 0, []
    for components, check in ((baseline.components, baseline.is_whole), (gone(baseline.components), baseline.is_empty)):
        count += again_and_again(baseline, components, cut)
        wrong += check()
    if wrong:
        baseline.wipe()
    report(f"each run gets one call further, {cut}", count, wrong)


def test_an_update_of_versions_killed_at_each_call_is_completed(baseline):
    baseline.account.converge(baseline.older)
    try:
        count = again_and_again(baseline, baseline.components, Cut(1, after=True))
        assert count >= 2, "cluster and node group have an update each"
        wrong = baseline.is_whole()
    finally:
        baseline.account.try_converge(gone(baseline.components))
    report("killed while versions move", count, wrong + baseline.is_empty())
