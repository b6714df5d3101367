# SPDX-License-Identifier: Apache-2.0
"""A whole `prod`: every system at once, by `site.yml`, with the real charts of the folder that LLM_ON_EKS_TEST_CHARTS names.

The account is emulated, the control plane is real, nodes and what runs on them are said to be ready.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.support.aws_account import inventory
from tests.support.charts import new_since, uids
from tests.support.cluster_client import new_client
from tests.support.cluster_names import cluster_name
from tests.support.emulated_cluster import emulated_eks
from tests.support.production import Production, production

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.full,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts"),
]
# Of what AWS takes: a cluster of nine minutes is there in eleven seconds.
PACE = "0.02"
# What a smaller production does without.
EXTRA = ("istio", "kiali", "jaeger", "prometheus_adapter", "storage_s3", "loki", "console", "cost")
PAGES = ("Front door", "Grafana", "Prometheus", "Alertmanager", "Jaeger", "Kiali", "Headlamp", "OpenCost")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with (
        emulated_eks(cluster_name("prod"), tmp_path_factory.mktemp("eks")) as eks,
        production(eks, tmp_path_factory.mktemp("prod"), Path(MIRROR), "--pace", PACE) as made,
    ):
        yield made


def path_s(page: str) -> float:
    """Seconds of the critical path that a run's page shows."""
    table = page.split("<h2>Critical path</h2>")[1].split("</table>")[0]
    return sum(float(found) for found in re.findall(r"([\d.]+) s", table))


def converge_s(page: str) -> float:
    return float(re.search(r"<p class=sub>([\d.]+) s,", page)[1])


def extra(state: str) -> str:
    return json.dumps({f"{system}_state": state for system in EXTRA} | {"platform_lose_data": ["all"]})


def idle(world: Production, *arguments: str) -> str:
    """What a run costs that has nothing to do."""
    run = world.run("site.yml", *arguments)
    assert run.changed == 0, run.said[-6000:]
    there = (world.inventory.parent / "report.html").read_text().count("<td>present<")
    return f"{run.wall_s:.0f} s wall, {run.cpu_s:.1f} CPU-s, {there} components"


def test_a_whole_production_comes_stays_and_goes(world, capsys):
    client = new_client(world.kubeconfig)
    before = uids(client)
    world.run("playbooks/account.yml")
    account = set(inventory(world.aws))
    world.run("playbooks/lock.yml")
    first = world.run("site.yml")
    page = (world.inventory.parent / "report.html").read_text()
    took, path = converge_s(page), path_s(page)
    assert took <= 1.15 * path
    costs = {name: idle(world) for name in ("second run", "third run")}
    drift = world.run("playbooks/drift.yml", "-e", "drift_fail=true")
    status = world.run("playbooks/status.yml")
    world.run("site.yml", "-e", extra("absent"))
    costs["a smaller production"] = idle(world, "-e", extra("skip"))
    gone = world.run("destroy.yml", "-e", f"platform_confirm={world.name}")
    for page in PAGES:
        assert re.search(rf"{page}: http://127.0.0.1:\d+ after kubectl -n [\w-]+ port-forward svc/", status.said), page
    with capsys.disabled():
        print(
            f"\nfirst run: {first.wall_s:.0f} s wall, {first.cpu_s:.1f} CPU-s; converge {took:.1f} s, path {path:.1f} s"
        )
        print("\n".join(f"{name}, nothing to do: {cost}" for name, cost in costs.items()))
        print(f"drift: {drift.wall_s:.0f} s wall; removal: {gone.wall_s:.0f} s wall")
        print(status.said)
    assert new_since(client, before) == []
    assert set(inventory(world.aws)) - account == set()
