# SPDX-License-Identifier: Apache-2.0
"""What AWS costs in a run: CPU-seconds and calls of one that finds nothing to do, wall time of a first create against its critical path."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "collections"), str(Path(sys.prefix) / "collections")]

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine  # noqa: E402
from local.aws.config import REALISTIC_S  # noqa: E402
from tests.support.described import describe  # noqa: E402
from tests.support.emulated_aws import REGION, EmulatedAws  # noqa: E402
from tests.support.emulated_cluster import access, emulated_cluster  # noqa: E402

pytestmark = [pytest.mark.perf, pytest.mark.timeout(3600)]
NAME = "bench"
PACE = 0.1
VARIABLES = {
    "platform_provider": "eks",
    "platform_cluster_name": NAME,
    "platform_aws_region": REGION,
    "karpenter_aws_state": "present",
    "model_catalog": [],
}


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    """The AWS parts of all roles; what is in Kubernetes is measured elsewhere."""
    [made] = describe({"bench": VARIABLES}).values()
    kept = ("name", "state", "aws")
    return [{key: one[key] for key in kept if key in one} for one in made if one.get("aws")]


@pytest.fixture
def account(request, tmp_path):
    with emulated_cluster(NAME, tmp_path, "--pace", str(getattr(request, "param", 0))) as aws:
        yield aws


def test_a_run_that_finds_nothing_to_do(account, components, table, tmp_path):
    done = engine.converge(engine.Request(lose_data=("all",), descriptors=components, aws=access(account, NAME)))
    assert not done.errors, done.errors
    account.admin("DELETE", "calls")
    file = tmp_path / "components.json"
    file.write_text(json.dumps(components))
    said = subprocess.run(
        [sys.executable, __file__, account.url, file], capture_output=True, text=True, check=True, cwd=REPO
    )
    cost = json.loads(said.stdout)
    assert not cost["actions"], cost
    calls = account.admin("GET", "calls")
    number = sum(calls.values())
    resources = sum(len(one["aws"]) for one in components if one.get("state", "present") == "present")
    text = f"{cost['cpu_s']:.2f} CPU-s ({cost['start_up_cpu_s']:.2f} of it start), {cost['wall_s']:.1f} s wall"
    table.add(f"AWS part of a no-op, {resources} resources", text, "<= 3 CPU-s")
    most = sorted(calls.items(), key=lambda item: -item[1])[:6]
    table.add("  calls", f"{number}: " + ", ".join(f"{name} {count}" for name, count in most))


@pytest.mark.parametrize("account", [PACE], indirect=True)
def test_a_first_create_follows_its_critical_path(account, components, table):
    done = engine.converge(engine.Request(lose_data=("all",), descriptors=components, aws=access(account, NAME)))
    assert not done.errors, done.errors
    longest: dict[int, float] = {}
    for node in sorted(done.nodes, key=lambda node: node.started):
        longest[node.index] = node.seconds + max((longest.get(index, 0.0) for index in node.after), default=0.0)
    path = max(longest.values())
    text = f"{done.seconds:.1f} s, critical path {path:.1f} s: {done.seconds / path - 1:+.0%}"
    table.add(f"first create, AWS's delays x {PACE}", text, "<= +15 %")
    least = (REALISTIC_S["cluster"] + REALISTIC_S["nodegroup"]) * PACE
    table.add("  cluster and node group alone", f"{least:.1f} s: {done.seconds / least - 1:+.0%}")


def _one_run(url: str, file: str) -> None:
    components = json.loads(Path(file).read_text())
    started, start_up = time.monotonic(), time.process_time()
    aws = EmulatedAws()
    aws.url = url
    result = engine.converge(engine.Request(lose_data=("all",), descriptors=components, aws=access(aws, NAME)))
    used = resource.getrusage(resource.RUSAGE_SELF)
    said = {
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": time.monotonic() - started,
        "start_up_cpu_s": start_up,
        "actions": [action.subject for action in result.actions],
        "errors": result.errors,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    _one_run(sys.argv[1], sys.argv[2])
