# SPDX-License-Identifier: Apache-2.0
"""A platform's first week on an account by whole runs: plans, locks, records and removals, as site.yml and destroy.yml have them."""

from __future__ import annotations

import contextlib

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import AwsAccess
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.aws_account import LOCKS
from tests.support.aws_week import DAYS, HELD, PACE, Week, described
from tests.support.cluster_names import CONTROL_PLANE
from tests.support.emulated_aws import REGION
from tests.support.emulated_cluster import gone

pytestmark = [pytest.mark.apiserver, pytest.mark.full]


# Of role models no more than what claims of others need.
MODELS = {"name": "models", "state": "present", "namespace": {"name": "llm-engines"}}


@pytest.fixture(scope="module")
def days():
    return {day: [MODELS, *components] for day, components in described(CONTROL_PLANE).items()}


class RunWeek(Week):
    """Runs of the engine."""

    def apply(self, components):
        done = self._run(components)
        return [f"{action.verb} {action.subject} {action.changes}" for action in done.actions]

    def remove(self, components, ends=None):
        with contextlib.suppress(KeyboardInterrupt):
            self._run(gone(components), hooks=engine.Hooks(finished=_interrupting(ends)))

    def _run(self, components, **options):
        access = AwsAccess(self.connection(), self.cluster, LOCKS)
        request = engine.Request(lose_data=("all",), descriptors=components, aws=access, lock_timeout_s=60, **options)
        done = engine.converge(request)
        if done.errors:
            raise LlmOnEksError("; ".join(done.errors))
        return done


def _interrupting(ends):
    """Ctrl-C when so many parts of a run have ended; None: never."""
    ended = []

    def finished(*__):
        ended.append(1)
        if len(ended) == ends:
            raise KeyboardInterrupt

    return finished


@pytest.mark.parametrize("seed", range(5))
def test_nobody_mends_anything_by_hand(eks, days, seed, capsys):
    with eks.account(*PACE, HELD, CONTROL_PLANE) as aws:
        aws.client("s3").create_bucket(Bucket=LOCKS, CreateBucketConfiguration={"LocationConstraint": REGION})
        aws.admin("PUT", "leaking", {"interfaces": True})
        week = RunWeek(aws, CONTROL_PLANE, seed)
        week.live([days[name] for name in DAYS])
    with capsys.disabled():
        print(f"\n  seed {seed}: {week.runs} runs")
