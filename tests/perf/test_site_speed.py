# SPDX-License-Identifier: Apache-2.0
"""What `site.yml` costs on a whole local cluster where there is nothing to do: CPU-seconds, wall time and AWS calls."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "collections"), str(Path(sys.prefix) / "collections")]

from tests.support.cluster_names import cluster_name  # noqa: E402
from tests.support.emulated_aws import EmulatedAws  # noqa: E402
from tests.support.local_platform import converged, recap  # noqa: E402

pytestmark = [pytest.mark.perf, pytest.mark.timeout(3600)]
RUNS = 3


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with converged(cluster_name("site"), tmp_path_factory.mktemp("inventory")) as made:
        yield made


def test_a_site_that_has_nothing_to_do(platform, table):
    account = EmulatedAws()
    account.url = platform.endpoint["aws_endpoint_url"]
    costs = []
    for __ in range(RUNS):
        account.admin("DELETE", "calls")
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        said = platform.playbook("site.yml").stdout
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
        assert recap(said)["changed"] == 0
        costs.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds))
    cpu_s, wall_s = sorted(costs)[RUNS // 2]
    calls = account.admin("GET", "calls")
    table.add("no-op of site.yml, whole local cluster", f"{cpu_s:.1f} CPU-s, {wall_s:.0f} s wall", "<= 10 CPU-s")
    most = sorted(calls.items(), key=lambda item: -item[1])[:6]
    number = sum(calls.values())
    table.add("  AWS calls, preflight's among them", f"{number}: " + ", ".join(f"{name} {n}" for name, n in most))
