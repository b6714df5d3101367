# SPDX-License-Identifier: Apache-2.0
"""Envoy as the front door, told by Istio's control plane, by the route of role kong: client, Envoy, gateway, llama.cpp."""

from __future__ import annotations

import http.client
import json
import os
import time
from contextlib import contextmanager, suppress

import pytest

from tests.support import istio_images, jaeger, program_image
from tests.support.described import describe
from tests.support.local_platform import names
from tests.support.serving import asking
from tests.support.waiting import until

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts"),
    pytest.mark.skipif(bool(istio_images.missing()), reason=f"made by: {istio_images.missing()}"),
]
HOME, TOKENS = "front-door", 400
# Where Jaeger was built, too. Envoy begins a trace for each request that comes without one.
TRACED = {} if jaeger.missing() else {"jaeger_state": "present", "istio_trace_share": 100}


@pytest.fixture(scope="module")
def istio(platform, tmp_path_factory):
    """The roles' control plane, with its real charts. Nothing of it is left afterwards."""
    before = names(platform)
    folder = tmp_path_factory.mktemp("images")
    program_image.given(platform.name, istio_images.written(folder) | (jaeger.written(folder) if TRACED else {}))
    systems = {"gateway_api_state": "present", "istio_state": "present", "istio_values": istio_images.VALUES}
    chosen = {"platform_only": ["gateway_api", "istio"], "platform_chart_mirror": MIRROR}
    platform.playbook("playbooks/lock.yml", "-e", json.dumps(systems | chosen))
    # Jaeger has an image and no chart: there is nothing of it to lock here.
    only = ["gateway_api", "istio", *(["jaeger", "gateway"] if TRACED else [])]
    platform.playbook("site.yml", "-e", json.dumps(systems | TRACED | chosen | {"platform_only": only}))
    yield
    gone = {"gateway_api_state": "absent", "istio_state": "absent", **({"jaeger_state": "absent"} if TRACED else {})}
    chosen = {**chosen, "platform_only": [*only, "istio_base"]}
    platform.playbook("site.yml", "-e", json.dumps(gone | chosen))
    until(lambda: names(platform) <= before, seconds=60)


def routed():
    """Role kong's Gateway, Service and route, with Istio's class in a namespace of its own."""
    settings = {"platform_cluster_name": "demo", "platform_provider": "existing", "model_catalog": []}
    described = describe({"here": {**settings, "kong_state": "present", "gateway_api_state": "present"}})["here"]
    [kong] = [one for one in described if one["name"] == "kong_route"]
    kinds = {one["kind"]: one for one in kong["manifests"]}
    gateway, route, service = (kinds[kind] for kind in ("Gateway", "HTTPRoute", "Service"))
    annotations = {"networking.istio.io/service-type": "ClusterIP"}
    gateway["metadata"] = {"name": "front", "namespace": HOME, "annotations": annotations}
    gateway["spec"]["gatewayClassName"] = "istio"
    route["spec"]["parentRefs"] = [{"name": "front", "namespace": HOME}]
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}
    return [home, service, gateway, route]


@contextmanager
def opened(platform, folder):
    """The port of a way to Envoy. `folder`: for the objects that make it."""
    file = folder / "front.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": routed()}))
    try:
        platform.kubectl("apply", "--server-side", "-f", str(file))
        platform.kubectl("-n", HOME, "wait", "--for=condition=Programmed", "gateway/front", "--timeout=110s")
        platform.kubectl("-n", HOME, "rollout", "status", "deployment/front-istio", "--timeout=110s")
        with platform.port_forward(HOME, "service/front-istio", 80) as port:
            yield port
    finally:
        platform.kubectl("delete", "--ignore-not-found", "-f", str(file))


@pytest.fixture(scope="module")
def front_door(platform, istio, tmp_path_factory):
    with opened(platform, tmp_path_factory.mktemp("front")) as port:
        yield port


def streamed(platform, port, **more):
    """The answer's headers, and when each piece of it came: seconds after the question. `more`: headers."""
    asked = {"model": "tiny", "prompt": "This is a cake", "max_tokens": TOKENS, "stream": True, "ignore_eos": True}
    headers = {"authorization": f"Bearer {platform.endpoint['api_key']}", "content-type": "application/json", **more}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    start = time.monotonic()
    connection.request("POST", "/v1/completions", json.dumps(asked), headers)
    answer = connection.getresponse()
    came = [time.monotonic() - start for line in iter(answer.readline, b"") if line.startswith(b"data:")]
    connection.close()
    return answer, came


def answers(platform, port):
    """Whether Envoy has been told its route."""
    with suppress(OSError, http.client.HTTPException):
        return streamed(platform, port)[0].status == 200


def logged(platform, request, *what):
    """The line of a log that is of this request; Envoy writes once a second."""

    def found():
        lines = platform.kubectl("logs", "--tail=100", *what).splitlines()
        said = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in said if one.get("request_id") == request]

    [line] = until(found, seconds=30, pause=0.5)
    return line


def test_tokens_come_one_by_one_through_the_front_door_and_one_id_is_in_every_log(platform, front_door):
    until(lambda: answers(platform, front_door), seconds=60, pause=1)
    # The tiny model alone has all tokens in some hundredths of a second.
    with asking(lambda: streamed(platform, front_door), clients=16):
        answer, came = streamed(platform, front_door)
    assert len(came) >= TOKENS, "a piece for each token"
    first, last = came[0], came[-1]
    assert last - first > 0.2, "the first token did not wait for the last one"
    assert 0.2 < (came[len(came) // 2] - first) / (last - first) < 0.8

    request = answer.headers["x-request-id"]
    seen = logged(platform, request, "-n", HOME, "deployment/front-istio")
    assert (seen["path"], seen["response_code"]) == ("/v1/completions", 200)
    told = logged(platform, request, "-n", "llm-gateway", "deployment/llm-gateway")
    assert (told["model"], told["status"]) == ("tiny", 200)


def test_envoy_is_told_to_wait_for_silent_models_and_to_ask_nobody_twice(platform, front_door):
    said = platform.kubectl(
        "-n", HOME, "exec", "deployment/front-istio", "--", "pilot-agent", "request", "GET", "config_dump"
    )
    # The agent warns before it answers.
    configs = json.loads(said[said.index("{") :])["configs"]
    [dump] = [one for one in configs if one["@type"].endswith(".RoutesConfigDump")]
    hosts = [host for one in dump["dynamic_route_configs"] for host in one["route_config"]["virtual_hosts"]]
    told = [one.get("route", {}) for host in hosts for one in host.get("routes", [])]
    routes = [route for route in told if "llm-gateway-front" in route.get("cluster", "")]
    assert {route["timeout"] for route in routes} == {"0s"}
    assert not [route for route in routes if route.get("retry_policy", {}).get("num_retries", 0)]


@pytest.mark.skipif(not TRACED, reason=f"made by: {jaeger.missing()}")
@pytest.mark.parametrize("client", ["b7ad6b7169203331", ""], ids=["of the client", "of Envoy"])
def test_envoys_span_and_the_gateways_are_one_trace(platform, front_door, client):
    until(lambda: answers(platform, front_door), seconds=60, pause=1)
    trace = os.urandom(16).hex()
    answer, __ = streamed(platform, front_door, **({"traceparent": f"00-{trace}-{client}-01"} if client else {}))
    request = answer.headers["x-request-id"]
    with platform.port_forward("jaeger", "service/jaeger", 16686) as port:
        made = jaeger.Jaeger(f"http://127.0.0.1:{port}", "")
        [found] = until(lambda: made.traces("llm-gateway", **{"llm_gateway.request_id": request}), seconds=60, pause=1)
        # Envoy has one span for what it heard, and one for what it asked.
        spans = until(lambda: len(there := made.trace(found)) > 2 and there, seconds=60, pause=1)
    [gateway] = [span for span in spans.values() if span.service == "llm-gateway"]
    envoys = {name: span for name, span in spans.items() if span.service == f"front-istio.{HOME}"}
    asked = envoys[gateway.parents[0]]
    heard = envoys[asked.parents[0]]
    assert heard.parents == ([client] if client else [])
    assert (len(envoys), len(spans)) == (2, 3)
    assert heard.tags["guid:x-request-id"] == request
    assert gateway.events == ["engine chosen", "first token"]
    if client:
        assert found == trace
