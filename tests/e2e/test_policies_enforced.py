# SPDX-License-Identifier: Apache-2.0
"""Role network_policies where the network enforces it: who reaches whom, and everything that the platform does.

The filter is kube-router's, which no registry has as a program: LLM_ON_EKS_TEST_KUBE_ROUTER names the folder with it. What the policies say is
worked out for all systems in tests/unit/test_reachability.py; here packets tell.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import pytest
import yaml

from tests.support.asking_pod import GATEWAY, Asker, asking_pod
from tests.support.local_platform import REPO, recap
from tests.support.policy_enforcer import FOLDER, enforcing
from tests.support.waiting import until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not FOLDER, reason="LLM_ON_EKS_TEST_KUBE_ROUTER names no folder with the program kube-router"),
]
# With the Prometheus of `make up OBSERVE=1`.
OBSERVED = yaml.safe_load((REPO / "local" / "observe" / "inputs.yml").read_text())
SETTINGS = ("-e", json.dumps({"network_policies_state": "present", **OBSERVED}))
# Ports of a pod somewhere, which stands for all that is outside: the Kubernetes API's, and another.
OPEN, CLOSED = 6443, 8080
# Who, whom, port.
ALLOWED = {
    ("stranger", "gateway", 8080),
    ("prometheus", "gateway", 8080),
    ("gateway", "engine", 8080),
    ("prometheus", "engine", 8080),
    ("gateway", "stranger", OPEN),
    ("job", "stranger", OPEN),
    ("prometheus", "stranger", OPEN),
    ("prometheus", "stranger", CLOSED),
}
TARGETS = [("gateway", 8080), ("engine", 8080), ("stranger", OPEN), ("stranger", CLOSED)]


@pytest.fixture(scope="module")
def denying(platform):
    """The platform with the policies, which nobody enforces yet."""
    platform.playbook("site.yml", *SETTINGS)
    yield platform
    gone = {"network_policies_state": "absent", "prometheus_state": "absent"}
    platform.playbook("site.yml", "-e", json.dumps({**OBSERVED, **gone}))


@pytest.fixture(scope="module")
def askers(denying):
    """Name -> pod that asks and is asked."""

    def address(space, labels):
        found = denying.kubectl("-n", space, "get", "pods", "-l", labels, "-o", "jsonpath={.items[0].status.podIP}")
        return found.strip()

    job = {"batch.kubernetes.io/job-name": "sync-x", "app": "x"}
    with ExitStack() as stack:
        yield {
            "stranger": stack.enter_context(asking_pod(denying, "strangers", {}, [OPEN, CLOSED])),
            "prometheus": stack.enter_context(asking_pod(denying, "monitoring", {"app": "scraper"})),
            "job": stack.enter_context(asking_pod(denying, "llm-engines", job)),
            "gateway": Asker(denying, *GATEWAY, address("llm-gateway", "app.kubernetes.io/name=llm-gateway")),
            "engine": Asker(
                denying,
                "llm-engines",
                "deployment/engine-tiny",
                "/opt/engine/bin/python",
                address("llm-engines", "llm.on-eks/engine"),
            ),
        }


def ways(askers):
    """All that are open."""
    found = set()
    for (name, asker), (whom, port) in ((one, target) for one in askers.items() for target in TARGETS):
        if name != whom:
            path = {"gateway": "healthz", "engine": "health"}.get(whom, "")
            if asker.ask(f"http://{askers[whom].address}:{port}/{path}", timeout_s=3) == "200":
                found.add((name, whom, port))
    return found


@pytest.fixture(scope="module")
def enforced(denying, askers, tmp_path_factory):
    """Everybody reaches everybody until the filter runs, so the filter is what decides."""
    assert len(ways(askers)) == len(askers) * len(TARGETS) - 4
    with enforcing(denying, tmp_path_factory.mktemp("filter")):
        yield denying


def test_the_listed_ways_are_open_and_no_other(enforced, askers):
    assert ways(askers) == ALLOWED


def test_prometheus_reads_gateway_and_engines(enforced):
    """The real one, from its pod: all that it scrapes in the denied namespaces answers."""

    def answers():
        path = "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1/query?query=up"
        found = json.loads(enforced.kubectl("get", "--raw", path))["data"]["result"]
        values = {one["metric"]["job"]: one["value"][1] for one in found if one["metric"]["job"].startswith("llm-")}
        return values == {"llm-gateway": "1", "llm-engines": "1"}

    # Longer than between two scrapes: before, nothing was denied.
    time.sleep(60)
    until(answers, seconds=60, pause=2)


def test_clients_are_answered_and_a_second_run_changes_nothing(enforced):
    enforced.playbook("playbooks/verify.yml", *SETTINGS)
    assert recap(enforced.playbook("site.yml", *SETTINGS).stdout)["changed"] == 0


def test_a_model_comes_and_goes(enforced, tmp_path):
    """Its Job, its probes, its discovery by the gateway, which asks the API, and the Job that cleans up."""
    entry = {**enforced.model, "name": "tiny-more", "replicas": {"min": 1, "max": 1}}
    file = tmp_path / "more.yml"
    file.write_text(yaml.safe_dump({"model_catalog": [entry]}))
    said = enforced.playbook("site.yml", *SETTINGS, "-e", f"models_extra={file}").stdout
    assert recap(said)["failed"] == 0
    said = enforced.playbook("site.yml", *SETTINGS).stdout
    assert recap(said)["failed"] == 0
    assert "tiny-more" not in enforced.kubectl("-n", "llm-engines", "get", "pods", "-o", "name")
