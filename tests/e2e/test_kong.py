# SPDX-License-Identifier: Apache-2.0
"""Kong as the front door, as role kong installs it with its real chart and programs: client, Kong, gateway, llama.cpp."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.parse
import uuid
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import kong_images, program_image
from tests.support.local_platform import names, recap
from tests.support.waiting import until

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts"),
    pytest.mark.skipif(bool(kong_images.missing()), reason=kong_images.missing()),
]
TOKENS = 8
PARTS = ["gateway_api", "kong", "kong_route"]
# A node port stands in for the load balancer; one pod of Kong, which each test asks.
SYSTEMS = {
    "gateway_api_state": "present",
    "kong_state": "present",
    "kong_service_type": "NodePort",
    "kong_replicas": 1,
    "platform_only": PARTS,
    "platform_chart_mirror": MIRROR,
}


def site(platform, **settings):
    return recap(platform.playbook("site.yml", "-e", json.dumps(SYSTEMS | settings)).stdout)


@pytest.fixture(scope="module")
def kong(platform, tmp_path_factory):
    """Host and ports (HTTP, HTTPS) of Kong. Nothing of it is left afterwards."""
    before = names(platform)
    program_image.given(platform.name, kong_images.written(tmp_path_factory.mktemp("images")))
    platform.playbook("playbooks/lock.yml", "-e", json.dumps(SYSTEMS))
    site(platform)
    ports = json.loads(platform.kubectl("-n", "kong", "get", "service", "kong-gateway-proxy", "-o", "json"))
    of = {one["port"]: one["nodePort"] for one in ports["spec"]["ports"]}
    node = platform.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    yield node, of[80], of[443]
    site(platform, gateway_api_state="absent", kong_state="absent")
    until(lambda: names(platform) <= before, seconds=60)


@pytest.fixture
def front_door(platform, kong):
    """Host and port of Kong, once it has been told its route."""
    until(lambda: answers(platform, kong), seconds=60, pause=1)
    return kong[:2]


def answers(platform, kong):
    with suppress(OSError, http.client.HTTPException):
        return asked(platform, kong[:2], timeout=10)[0] == 200


def headers(platform, **more):
    return {"authorization": f"Bearer {platform.endpoint['api_key']}", "content-type": "application/json", **more}


def question(**more):
    return {"model": "tiny", "prompt": "This is a cake", "max_tokens": 4, **more}


def asked(platform, address, body=None, timeout=200, **more):
    """Status, headers and body of one answer."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    text = body if isinstance(body, bytes) else json.dumps(question(**(body or {})))
    connection.request("POST", "/v1/completions", text, headers(platform, **more))
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, answer.headers, read


def streamed(platform, connection, **more):
    """The answer's headers, and when each piece of it came: seconds after the question."""
    start = time.monotonic()
    text = json.dumps(question(max_tokens=TOKENS, stream=True, ignore_eos=True))
    connection.request("POST", "/v1/completions", text, headers(platform, **more))
    answer = connection.getresponse()
    came = [time.monotonic() - start for line in iter(answer.readline, b"") if line.startswith(b"data:")]
    connection.close()
    return answer, came


def json_lines(platform, *what):
    lines = platform.kubectl("logs", "--tail=400", *what).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def logged(platform, request, *what):
    """The lines of a log that are of this request."""
    return [one for one in json_lines(platform, *what) if one.get("request_id") == request]


def at_kong(platform, request):
    return logged(platform, request, "-n", "kong", "deployment/kong-gateway", "-c", "proxy")


def with_id(platform, request):
    """Kong's own lines of requests that were sent with this id."""
    lines = json_lines(platform, "-n", "kong", "deployment/kong-gateway", "-c", "proxy")
    return [one for one in lines if one.get("sent_id") == request]


def at_the_gateway(platform, request):
    # Of all its pods: one may be on its way out.
    return logged(platform, request, "-n", "llm-gateway", "-l", "app.kubernetes.io/name=llm-gateway")


def engines(platform):
    """The engines' processes, as the host numbers them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            if b"llamacpp_engine" in command and f"/llm-{platform.name}/" in (process / "cgroup").read_text():
                found.append(int(process.name))
    assert found
    return found


@contextmanager
def slow_engines(platform, pause=1.0):
    """Engines that get a moment of the processor every `pause` seconds: they answer probes, and make a few tokens a second."""
    stop, pids = threading.Event(), engines(platform)

    def send(what):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    def throttle():
        while not stop.is_set():
            send(signal.SIGSTOP)
            stop.wait(pause)
            send(signal.SIGCONT)
            stop.wait(0.003)

    thread = threading.Thread(target=throttle, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        send(signal.SIGCONT)


@contextmanager
def admin_api(platform):
    """What Kong holds: a function of a path of its admin API."""
    with platform.port_forward("kong", "deployment/kong-gateway", 8444) as port:

        def ask(path):
            untrusted = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=untrusted)
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

        yield ask


def condition(platform, kind, name, namespace, path, wanted):
    where = ["-n", namespace] if namespace else []
    found = json.loads(platform.kubectl(*where, "get", kind, name, "-o", "json"))["status"]
    conditions = path(found)
    return {one["type"]: one["status"] for one in conditions}.items() >= dict.fromkeys(wanted, "True").items()


def test_the_controller_takes_class_gateway_and_route(platform, front_door):
    def own(status):
        return status["conditions"]

    def of_parent(status):
        return status["parents"][0]["conditions"]

    assert condition(platform, "gatewayclass", "kong", "", own, ["Accepted"])
    assert condition(platform, "gateway", "kong", "kong", own, ["Accepted", "Programmed"])
    wanted = ["Accepted", "ResolvedRefs", "Programmed"]
    assert condition(platform, "httproute", "llm-gateway", "llm-gateway", of_parent, wanted)
    said = platform.kubectl("-n", "kong", "logs", "deployment/kong-controller")
    assert not [line for line in said.splitlines() if "forbidden" in line.lower()]


def test_kong_holds_what_the_role_says_of_streams(platform, front_door):
    with admin_api(platform) as ask:
        [service] = ask("/services")["data"]
        [route] = ask("/routes")["data"]
        [upstream] = ask("/upstreams")["data"]
    assert (service["read_timeout"], service["write_timeout"], service["retries"]) == (600_000, 600_000, 0)
    assert service["connect_timeout"] == 5000
    assert (route["request_buffering"], route["response_buffering"], route["strip_path"]) == (False, False, False)
    assert upstream["algorithm"] == "least-connections"


def in_moments(platform, ask):
    """An answer that came at two moments at least. Its few tokens fill no buffer of a proxy: with one they come all at once."""

    def look():
        answer, came = ask()
        assert len(came) >= TOKENS, "a piece for each token"
        return answer if max(later - one for one, later in pairwise(came)) > 0.05 else None

    with slow_engines(platform, pause=0.1):
        return until(look, seconds=90, pause=0)


def test_tokens_come_one_by_one_and_one_id_is_in_every_log(platform, front_door):
    answer = in_moments(platform, lambda: streamed(platform, http.client.HTTPConnection(*front_door, timeout=120)))
    request = answer.headers["x-request-id"]
    [seen] = until(lambda: at_kong(platform, request), seconds=30)
    assert (seen["request"], seen["status"]) == ("POST /v1/completions HTTP/1.1", "200")
    [told] = until(lambda: at_the_gateway(platform, request), seconds=30)
    assert (told["model"], told["status"]) == ("tiny", 200)


def test_tokens_come_one_by_one_with_tls(platform, kong, front_door):
    def ask():
        untrusted = ssl._create_unverified_context()
        return streamed(platform, http.client.HTTPSConnection(kong[0], kong[2], timeout=120, context=untrusted))

    assert in_moments(platform, ask).status == 200


def test_kong_passes_keys_on_and_the_gateway_judges_them(platform, front_door):
    status, __, said = asked(platform, front_door, authorization="Bearer sk-wrong")
    assert status == 401
    assert json.loads(said)["error"]["code"] == "invalid_api_key"


def test_an_answer_outlives_a_minute_of_silence_and_the_pod_of_kong_that_goes(platform, front_door):
    """Kong gives up after 60 s by default, and a pod of its chart that goes cuts answers off after 25 s."""
    body = {"max_tokens": 900, "ignore_eos": True}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        with slow_engines(platform):
            slow = [pool.submit(asked, platform, front_door, body) for __ in range(4)]
            time.sleep(1)
            platform.kubectl("-n", "kong", "rollout", "restart", "deployment/kong-gateway")
            time.sleep(64)
            assert not [one.result()[0] for one in slow if one.done()]
        assert {one.result()[0] for one in slow} == {200}
    platform.kubectl("-n", "kong", "rollout", "status", "deployment/kong-gateway", "--timeout=110s")


def test_large_prompts_get_the_gateways_own_answer(platform, front_door):
    direct = urllib.parse.urlsplit(platform.endpoint["url"])
    for size, wanted in ((8 << 20, 400), (33 << 20, 413), (65 << 20, 413)):
        body = json.dumps(question(prompt="x" * size)).encode()
        status, __, said = asked(platform, front_door, body)
        itself = asked(platform, (direct.hostname, direct.port), body)
        assert (status, itself[0]) == (wanted, wanted)
        assert json.loads(said)["error"]["code"] == json.loads(itself[2])["error"]["code"]
    assert "buffered to a temporary file" not in platform.kubectl("-n", "kong", "logs", "deployment/kong-gateway")


def test_a_client_that_is_gone_frees_its_place(platform, front_door):
    request = uuid.uuid4().hex
    with slow_engines(platform):
        connection = http.client.HTTPConnection(*front_door, timeout=120)
        text = json.dumps(question(max_tokens=900, stream=True, ignore_eos=True))
        connection.request("POST", "/v1/completions", text, headers(platform, **{"x-request-id": request}))
        time.sleep(2)
        assert not at_the_gateway(platform, request)
        connection.close()
        [told] = until(lambda: at_the_gateway(platform, request), seconds=15)
    assert told["status"] == 499


def kill(platform, program):
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            if program in command and f"/llm-{platform.name}/" in (process / "cgroup").read_text():
                os.kill(int(process.name), signal.SIGKILL)


def test_an_answer_whose_engine_dies_is_asked_for_once_and_says_so(platform, front_door):
    connection = http.client.HTTPConnection(*front_door, timeout=120)
    text = json.dumps(question(max_tokens=900, stream=True, ignore_eos=True))
    with slow_engines(platform, pause=0.3):
        connection.request("POST", "/v1/completions", text, headers(platform))
        answer = connection.getresponse()
        assert answer.readline()
        kill(platform, b"llamacpp_engine")
        # An error's event, and no end of the body: no client takes it for a whole answer.
        with pytest.raises(http.client.IncompleteRead) as cut:
            answer.read()
    assert b'"error"' in cut.value.partial
    request = answer.headers["x-request-id"]
    until(lambda: at_the_gateway(platform, request), seconds=30)
    until(lambda: answers(platform, (*front_door, 0)), seconds=180, pause=1)
    assert len(at_the_gateway(platform, request)) == len(at_kong(platform, request)) == 1


def test_nothing_is_asked_twice(platform, front_door):
    """The gateway dies while Kong waits for its answer; another one is there soon after."""
    request = uuid.uuid4().hex
    with concurrent.futures.ThreadPoolExecutor(1) as pool, slow_engines(platform):
        answer = pool.submit(asked, platform, front_door, {"max_tokens": 900}, **{"x-request-id": request})
        time.sleep(2)
        kill(platform, b"llm-gateway serve")
        status = answer.result()[0]
    assert status == 502
    [seen] = until(lambda: with_id(platform, request), seconds=30)
    assert (seen["request"], seen["status"]) == ("POST /v1/completions HTTP/1.1", "502")
    until(lambda: answers(platform, (*front_door, 0)), seconds=120, pause=1)
    assert not at_the_gateway(platform, request)


def test_kongs_own_key_is_asked_for_and_never_passed_on(platform, front_door):
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "team-a-key",
            "namespace": "llm-gateway",
            "labels": {"konghq.com/credential": "key-auth"},
        },
        "stringData": {"key": "of-team-a"},
    }
    consumers = [{"name": "team-a", "secret": "team-a-key"}]
    file = Path(platform.inventory).parent / "secret.json"
    file.write_text(json.dumps(secret))
    platform.kubectl("apply", "-f", str(file))
    try:
        site(platform, kong_key_auth=True, kong_consumers=consumers)
        until(lambda: asked(platform, front_door)[0] == 401, seconds=60, pause=1)
        assert asked(platform, front_door, apikey="of-nobody")[0] == 401
        assert asked(platform, front_door, apikey="of-team-a")[0] == 200
        assert asked(platform, front_door, apikey="of-team-a", authorization="Bearer sk-wrong")[0] == 401
    finally:
        site(platform)
        platform.kubectl("delete", "-f", str(file))
    until(lambda: answers(platform, (*front_door, 0)), seconds=60, pause=1)


def test_the_controllers_webhook_refuses_a_plugin_with_a_setting_that_kong_does_not_know(
    platform, front_door, tmp_path
):
    plugin = {
        "apiVersion": "configuration.konghq.com/v1",
        "kind": "KongPlugin",
        "metadata": {"name": "bad", "namespace": "llm-gateway"},
        "plugin": "key-auth",
        "config": {"key_nams": ["apikey"]},
    }
    file = tmp_path / "plugin.json"
    file.write_text(json.dumps(plugin))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        platform.kubectl("create", "-f", str(file))
    assert "config.key_nams: unknown field" in refused.value.stderr


def test_a_second_run_changes_nothing_and_nothing_has_drifted(platform, front_door, tmp_path):
    assert site(platform)["changed"] == 0
    chosen = json.dumps(SYSTEMS | {"drift_out": str(tmp_path)})
    platform.playbook("playbooks/drift.yml", "-e", chosen)
    assert json.loads((tmp_path / "drift.json").read_text())["state"] == "none"


def test_the_walkthroughs_ingress_serves_too(platform, kong, front_door):
    """The last one: what follows removes either variant."""
    seed = {"kong_variant": "seed"}
    site(platform, **seed)
    assert not platform.kubectl("get", "gateways,httproutes", "-A", "-o", "name").split()
    until(lambda: answers(platform, kong), seconds=60, pause=1)
    with admin_api(platform) as ask:
        [service] = ask("/services")["data"]
        [route] = ask("/routes")["data"]
    assert (service["read_timeout"], service["retries"], route["response_buffering"]) == (600_000, 0, False)
    answer, came = streamed(platform, http.client.HTTPConnection(*front_door, timeout=120))
    assert answer.status == 200
    assert len(came) >= TOKENS
    assert site(platform, **seed)["changed"] == 0
