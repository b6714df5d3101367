# SPDX-License-Identifier: Apache-2.0
"""All of a front door at once, by one `site.yml`: client, Kong, ambient mesh with strict mTLS, gateway, mesh, llama.cpp, Jaeger, network policies.

Programs: as test_kong.py, test_mesh.py and test_traces.py have them.
"""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path

import pytest

from tests.e2e.test_kong import answers, at_kong, at_the_gateway, in_moments, streamed
from tests.e2e.test_mesh import ABSENT, AMBIENT, ENGINES, GATEWAY, PARTS, SERVING, SOCKETS, ZTUNNEL, Mesh, first_process
from tests.e2e.test_traces import CLIENT, gateways, reached
from tests.support import istio_images, jaeger, kong_images, program_image
from tests.support.local_platform import names, recap
from tests.support.policy_enforcer import enforcing
from tests.support.waiting import until

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
MISSING = [
    "" if MIRROR else "LLM_ON_EKS_TEST_CHARTS names no folder of charts",
    "" if ZTUNNEL else "LLM_ON_EKS_TEST_ZTUNNEL names no folder with the program ztunnel",
    kong_images.missing(),
    ABSENT and f"made by: {ABSENT}",
    jaeger.missing() and f"made by: {jaeger.missing()}",
]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(any(MISSING), reason="; ".join(filter(None, MISSING))),
]
# A node port stands in for the load balancer.
KONG = {"kong_service_type": "NodePort", "kong_replicas": 1}
# Policies are enforced where LLM_ON_EKS_TEST_KUBE_ROUTER names the folder with kube-router.
SYSTEMS = ("gateway_api", "kong", "istio", "jaeger", "network_policies")


class Whole(Mesh):
    """A platform with all of it."""

    def __init__(self, platform):
        super().__init__(platform, ambient=True)
        parts = ["gateway_api", "kong", "kong_route", "jaeger", "network_policies", *PARTS, *AMBIENT, *SERVING]
        self.settings |= KONG | {f"{system}_state": "present" for system in SYSTEMS} | {"platform_only": parts}


@pytest.fixture(scope="module")
def whole(platform, tmp_path_factory):
    """Nothing of it is left afterwards."""
    before, folder = names(platform), tmp_path_factory.mktemp("images")
    given = (
        kong_images.written(folder),
        istio_images.written_mesh(folder, Path(ZTUNNEL, "ztunnel")),
        jaeger.written(folder),
    )
    for images in given:
        program_image.given(platform.name, images)
    with first_process(platform), enforcing(platform, folder):
        made = Whole(platform)
        # Its image has no digest: no registry has it here.
        made.converge("playbooks/lock.yml", jaeger_state="skip")
        made.converge()
        yield made
        gone = made.converge(**{f"{system}_state": "absent" for system in SYSTEMS})
        assert recap(gone)["failed"] == 0
        assert not [pod for whose in (GATEWAY, ENGINES) for pod in made.pods(whose) if made.joined(pod)]
        until(lambda: names(platform) <= before, seconds=60)
        for file in (one for folder in SOCKETS for one in folder.glob("*")):
            file.unlink()


@pytest.fixture(scope="module")
def kong(whole):
    """Host and port of Kong, once it has been told its route."""
    ports = json.loads(whole.platform.kubectl("-n", "kong", "get", "service", "kong-gateway-proxy", "-o", "json"))
    node = whole.platform.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    address = node, next(one["nodePort"] for one in ports["spec"]["ports"] if one["port"] == 80)
    until(lambda: answers(whole.platform, (*address, 0)), seconds=60, pause=1)
    return address


def test_one_request_is_found_in_every_log_and_in_the_trace(whole, kong):
    platform, traces = whole.platform, []

    def ask():
        traces.append(os.urandom(16).hex())
        parent = f"00-{traces[-1]}-{CLIENT}-01"
        return streamed(platform, http.client.HTTPConnection(*kong, timeout=120), traceparent=parent)

    answer = in_moments(platform, ask)
    request = answer.headers["x-request-id"]
    [seen] = until(lambda: at_kong(platform, request), seconds=30)
    assert (seen["request"], seen["status"]) == ("POST /v1/completions HTTP/1.1", "200")
    [told] = until(lambda: at_the_gateway(platform, request), seconds=30)
    assert (told["status"], told["trace_id"]) == (200, traces[-1])
    with reached(platform) as found:
        span = gateways(found, traces[-1])
    assert span.tags["llm_gateway.request_id"] == request
    assert span.events == ["engine chosen", "first token"]


def test_the_mesh_carries_it_to_the_engine(whole, kong):
    assert all(whole.joined(pod) for whose in (GATEWAY, ENGINES) for pod in whole.pods(whose))
    log = whole.platform.kubectl("-n", "istio-system", "logs", "daemonset/ztunnel", "--tail=4000")
    spiffe = "spiffe://cluster.local/ns/"
    engines = [line for line in log.splitlines() if f'dst.identity="{spiffe}llm-engines/' in line]
    assert any(f'src.identity="{spiffe}llm-gateway/sa/llm-gateway"' in line for line in engines)


def test_a_second_run_changes_nothing_and_nothing_drifts(whole, kong, tmp_path):
    assert recap(whole.converge())["changed"] == 0
    whole.converge("playbooks/drift.yml", drift_out=str(tmp_path))
    assert json.loads((tmp_path / "drift.json").read_text())["state"] == "none"
