# SPDX-License-Identifier: Apache-2.0
"""The mesh by role istio, with sidecars and as ambient mesh: client, front door, mesh, gateway, mesh, llama.cpp.

Control plane, CNI agent and CNI plugin are of Istio's Go module, Envoy is of PyPI. The ambient mesh needs the program ztunnel, which
no registry has: LLM_ON_EKS_TEST_ZTUNNEL names the folder with it.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from local.kubernetes import network
from local.kubernetes.config import ClusterConfig
from tests.e2e.test_front_door import HOME, TOKENS, answers, opened, streamed
from tests.support import istio_images, program_image
from tests.support.asking_pod import asking_pod
from tests.support.local_platform import names, recap
from tests.support.serving import asking
from tests.support.waiting import until

MIRROR, ZTUNNEL = (os.environ.get(f"LLM_ON_EKS_TEST_{name}", "") for name in ("CHARTS", "ZTUNNEL"))
ABSENT = istio_images.missing("install-cni", "istio-cni")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts"),
    pytest.mark.skipif(bool(ABSENT), reason=f"made by: {ABSENT}"),
]
PARTS = ["istio_base", "istio", "istio_nodes", "istio_llm_gateway", "istio_llm_engines"]
AMBIENT = ["istio_ztunnel", "istio_tunnel"]
SERVING = ["models", "model-tiny", "engine-tiny", "gateway"]
GATEWAY, ENGINES = ("llm-gateway", "app.kubernetes.io/name=llm-gateway"), ("llm-engines", "llm.on-eks/engine=llamacpp")
# As role prometheus labels its pods with strict mTLS.
SCRAPER = {True: {"istio.io/dataplane-mode": "ambient"}, False: {"sidecar.istio.io/inject": "true"}}
# Folders of the machine that the agent of every ambient mesh uses.
SOCKETS = [Path("/run/istio-cni"), Path("/run/ztunnel")]


class Mesh:
    """A platform in the mesh. `ambient`: of which kind."""

    def __init__(self, platform, ambient):
        self.platform, self.ambient = platform, ambient
        self.settings = {
            "gateway_api_state": "present",
            "istio_state": "present",
            "istio_variant": "ambient" if ambient else "seed",
            "istio_mtls": "strict",
            "istio_values": istio_images.VALUES,
            "platform_chart_mirror": MIRROR,
            "platform_only": ["gateway_api", *PARTS, *(AMBIENT if ambient else []), *SERVING],
        }

    def converge(self, playbook="site.yml", **more):
        return self.platform.playbook(playbook, "-e", json.dumps(self.settings | more)).stdout

    def pods(self, whose):
        """Those that serve, which no deletion is under way of."""
        space, labels = whose
        found = json.loads(self.platform.kubectl("-n", space, "get", "pods", "-l", labels, "-o", "json"))["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def joined(self, pod):
        if self.ambient:
            return pod["metadata"].get("annotations", {}).get("ambient.istio.io/redirection") == "enabled"
        sidecars = {one["name"]: one.get("restartPolicy") for one in pod["spec"].get("initContainers", [])}
        return sidecars.get("istio-proxy") == "Always"

    def envoy(self, where, path):
        """What the Envoy of a Deployment says of itself; the agent warns before it."""
        space, name = where
        container = "istio-proxy"
        said = self.platform.kubectl(
            "-n", space, "exec", f"deployment/{name}", "-c", container, "--", "pilot-agent", "request", "GET", path
        )
        return said[said.index("{") :] if "{" in said else said


@contextmanager
def first_process(platform):
    """The mesh's agent looks at the network of a node's first process: the kubelet's stands for it where the machine's is closed to root."""
    if os.access("/proc/1/ns/net", os.F_OK):
        yield
        return
    [kubelet] = platform.pids("kubelet")
    inside = ("nsenter", f"--mount={network.mount_namespace(ClusterConfig(platform.name))}", "--")
    network.run(*inside, "mount", "--bind", f"/proc/{kubelet}", "/proc/1")
    try:
        yield
    finally:
        network.run(*inside, "umount", "/proc/1")


@pytest.fixture(scope="module", params=["sidecars", "ambient"])
def mesh(request, platform, tmp_path_factory):
    """Nothing of it is left afterwards, and its pods have left it."""
    with first_process(platform):
        yield from meshed(request, platform, tmp_path_factory)


def meshed(request, platform, tmp_path_factory):
    ambient = request.param == "ambient"
    if ambient and not ZTUNNEL:
        pytest.skip("LLM_ON_EKS_TEST_ZTUNNEL names no folder with the program ztunnel")
    before = names(platform)
    program = Path(ZTUNNEL, "ztunnel") if ambient else None
    program_image.given(platform.name, istio_images.written_mesh(tmp_path_factory.mktemp("images"), program))
    made = Mesh(platform, ambient)
    made.converge("playbooks/lock.yml")
    with clients(platform, node_port(platform)) as made.joining:
        made.converge()
    yield made
    with clients(platform, node_port(platform)) as leaving:
        gone = made.converge(gateway_api_state="absent", istio_state="absent")
    assert recap(gone)["failed"] == 0
    assert outcomes(leaving) == {(200, True)}
    until(lambda: names(platform) <= before, seconds=60)
    assert not [pod for whose in (GATEWAY, ENGINES) for pod in made.pods(whose) if made.joined(pod)]
    assert json.loads(_asked(platform))["choices"]
    for folder in SOCKETS:
        for file in folder.glob("*"):
            file.unlink()


@contextmanager
def clients(platform, port):
    """Four that stream all the time; what became of their questions: (status or error, whether all tokens came, address of the engine)."""
    told, stop = Counter(), threading.Event()

    def client():
        while not stop.is_set():
            try:
                answer, came = streamed(platform, port)
                told[answer.status, len(came) >= TOKENS, answer.getheader("x-llm-gateway-engine")] += 1
            except (OSError, http.client.HTTPException) as error:
                told[type(error).__name__, False, None] += 1

    threads = [threading.Thread(target=client, daemon=True) for __ in range(4)]
    for one in threads:
        one.start()
    try:
        yield told
    finally:
        stop.set()
        for one in threads:
            one.join(130)


def outcomes(told):
    """(status or error, whether all tokens came) of what clients were told."""
    return {(status, whole) for status, whole, __ in told}


def node_port(platform):
    return int(platform.endpoint["url"].rpartition(":")[2].partition("/")[0])


def _asked(platform):
    with_key = {"authorization": f"Bearer {platform.endpoint['api_key']}", "content-type": "application/json"}
    host = platform.endpoint["url"].removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request(
        "POST", "/v1/completions", json.dumps({"model": "tiny", "prompt": "a", "max_tokens": 4}), with_key
    )
    return connection.getresponse().read()


@pytest.fixture(scope="module")
def front_door(mesh, tmp_path_factory):
    """The port of a way to Envoy, which has joined the mesh as all of Istio's front doors do."""
    with opened(mesh.platform, tmp_path_factory.mktemp("front")) as port:
        until(lambda: answers(mesh.platform, port), seconds=60, pause=1)
        yield port


def address(pod):
    return f"http://{pod['status']['podIP']}:8080"


def test_the_pods_of_gateway_and_engines_have_joined_and_no_answer_was_cut(mesh):
    assert outcomes(mesh.joining) == {(200, True)}
    pods = [pod for whose in (GATEWAY, ENGINES) for pod in mesh.pods(whose)]
    assert len(pods) == 3
    assert all(mesh.joined(pod) for pod in pods)


def test_a_second_run_changes_nothing_and_nothing_drifts(mesh, tmp_path):
    assert recap(mesh.converge())["changed"] == 0
    mesh.converge("playbooks/drift.yml", drift_out=str(tmp_path))
    assert json.loads((tmp_path / "drift.json").read_text())["state"] == "none"


def test_tokens_come_one_by_one_from_the_front_door_through_the_mesh(mesh, front_door):
    def one_by_one():
        """Whether the first token did not wait for the last one, and nobody gathered tokens. This reader, too, may be late."""
        answer, came = streamed(mesh.platform, front_door)
        assert answer.status == 200
        assert len(came) >= TOKENS, "a piece for each token"
        span = came[-1] - came[0]
        return span > 0.1 and max(later - one for one, later in itertools.pairwise(came)) < 0.8 * span

    # The tiny model alone has all tokens in some hundredths of a second.
    with asking(lambda: streamed(mesh.platform, front_door), clients=6):
        assert any(one_by_one() for __ in range(5))


def asked_for(mesh, whose):
    """What callers named in their TLS handshakes, by the logs of the proxies that they reached; None where they spoke plainly."""
    space, labels = whose
    log = mesh.platform.kubectl("-n", space, "logs", "-l", labels, "-c", "istio-proxy", "--tail=400")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    arrived = [line for line in lines if line["upstream_cluster"] == "inbound|8080||"]
    return {line["requested_server_name"] for line in arrived}


def encrypted(mesh):
    """Who opened connections to whom with certificates of the mesh, by the counters of ztunnel."""
    pod = mesh.platform.kubectl("-n", "istio-system", "get", "pods", "-l", "app=ztunnel", "-o", "name").strip()
    path = f"/api/v1/namespaces/istio-system/pods/{pod.removeprefix('pod/')}:15020/proxy/metrics"
    lines = mesh.platform.kubectl("get", "--raw", path).splitlines()
    mutual = [line for line in lines if 'connection_security_policy="mutual_tls"' in line and "_opened_total" in line]
    return {tuple(re.findall(r'_principal="([^"]*)"', line)) for line in mutual}


def test_both_hops_are_encrypted_by_the_mesh(mesh, front_door):
    spiffe = "spiffe://cluster.local/ns"
    gateway = f"{spiffe}/llm-gateway/sa/llm-gateway"
    if mesh.ambient:
        streamed(mesh.platform, front_door)
        hops = {(f"{spiffe}/{HOME}/sa/front-istio", gateway), (gateway, f"{spiffe}/llm-engines/sa/default")}
        assert hops <= encrypted(mesh)
        return
    # Proxies write their logs once a second.
    front, engine = (
        f"outbound_.8080_._.{service}.svc.cluster.local"
        for service in ("llm-gateway-front.llm-gateway", "engine-tiny.llm-engines")
    )
    until(lambda: streamed(mesh.platform, front_door) and front in asked_for(mesh, GATEWAY), seconds=30, pause=1)
    # Until the gateway had its sidecar, it spoke plainly.
    assert engine in asked_for(mesh, ENGINES)


def test_a_stranger_is_refused_by_engines_and_whoever_joined_is_not(mesh):
    engine, gateway = address(mesh.pods(ENGINES)[0]), address(mesh.pods(GATEWAY)[0])
    with asking_pod(mesh.platform, "strangers", {}) as stranger:
        assert "200" not in stranger.ask(f"{engine}/v1/models")
        # Clients of the gateway are outside of the mesh.
        assert stranger.ask(f"{gateway}/healthz") == "200"
    with asking_pod(mesh.platform, "monitoring", SCRAPER[mesh.ambient]) as scraper:
        assert scraper.ask(f"{engine}/metrics") == "200"
        assert scraper.ask(f"{gateway}/metrics") == "200"


def test_the_ways_around_the_mesh_are_still_open(mesh):
    """The node's port, a way through the API, the kubelet's probes, and the playbook that asks for a token."""
    assert json.loads(_asked(mesh.platform))["choices"]
    with mesh.platform.port_forward("llm-gateway", "service/llm-gateway", 8080) as port:
        assert streamed(mesh.platform, port)[0].status == 200
    for whose in (GATEWAY, ENGINES):
        for pod in mesh.pods(whose):
            assert all(one["ready"] and not one["restartCount"] for one in pod["status"]["containerStatuses"])
    mesh.converge("playbooks/verify.yml")


def test_a_rolling_restart_of_the_gateway_drops_no_request(mesh, front_door):
    kubectl = mesh.platform.kubectl
    with clients(mesh.platform, front_door) as told:
        kubectl("-n", "llm-gateway", "rollout", "restart", "deployment/llm-gateway")
        kubectl("-n", "llm-gateway", "rollout", "status", "deployment/llm-gateway", "--timeout=110s")
        until(lambda: len(mesh.pods(GATEWAY)) == 1, seconds=60)
    assert outcomes(told) == {(200, True)}
    assert all(mesh.joined(pod) for pod in mesh.pods(GATEWAY))


def test_a_canary_gets_its_share_through_the_mesh_and_costs_no_request(mesh, front_door, tmp_path):
    """A second entry comes, takes half, then all, and goes, while clients ask for the first one's name."""
    file = tmp_path / "next.yml"
    canary = {**mesh.platform.model, "name": "tiny-next", "replicas": {"min": 1, "max": 1}}
    file.write_text(yaml.safe_dump({"model_catalog": [canary]}))
    only = [*mesh.settings["platform_only"], "model-tiny-next", "engine-tiny-next"]
    next_engine = ("llm-engines", "llm.on-eks/engine,llm.on-eks/model=tiny-next")
    gateways = {pod["metadata"]["name"] for pod in mesh.pods(GATEWAY)}

    def given(**weights):
        mesh.converge(models_extra=str(file), platform_only=only, gateway_models={"tiny": {"split": weights}})

    def share(told):
        """Of the next 24 answers, those of the canary, which the gateway names by its pod."""
        [pod] = mesh.pods(next_engine)
        before = told.copy()
        until(lambda: (told - before).total() >= 24, seconds=180)
        since = told - before
        mine = sum(count for (*__, engine), count in since.items() if pod["metadata"]["name"] in str(engine))
        return mine / since.total()

    with clients(mesh.platform, front_door) as told:
        given(**{"tiny": 1, "tiny-next": 1})
        assert all(mesh.joined(pod) for pod in mesh.pods(next_engine))
        # The kubelet shows a pod the changed ConfigMap within about a minute.
        until(lambda: share(told), seconds=180)
        assert 0.2 < share(told) < 0.8
        given(**{"tiny": 0, "tiny-next": 1})
        until(lambda: share(told) == 1, seconds=240)
        mesh.converge()
        until(lambda: not mesh.pods(next_engine), seconds=60)
    assert outcomes(told) == {(200, True)}
    assert {pod["metadata"]["name"] for pod in mesh.pods(GATEWAY)} == gateways


def told_to_wait(config):
    """Every time limit of routes and streams, and of connections that nothing passes, anywhere in a configuration; in seconds."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key in ("stream_idle_timeout", "timeout", "idle_timeout", "max_stream_duration") and isinstance(
                value, str
            ):
                yield key, float(value.removesuffix("s"))
            yield from told_to_wait(value)
    elif isinstance(config, list):
        for value in config:
            yield from told_to_wait(value)


def found(config, key):
    """What has this key, anywhere in a configuration."""
    inside = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for name, value in inside:
        if name == key:
            yield value
        yield from found(value, key)


def test_nothing_of_the_mesh_ends_a_silent_stream_or_asks_twice(mesh, front_door):
    if mesh.ambient:
        pytest.skip("ztunnel has no setting of that kind: it passes on connections")
    dump = json.loads(mesh.envoy(("llm-gateway", "llm-gateway"), "config_dump"))["configs"]
    kinds = {one["@type"].rpartition(".")[2]: one for one in dump}
    listeners = [
        one
        for one in kinds["ListenersConfigDump"]["dynamic_listeners"]
        if one["name"].endswith("_8080") or one["name"] == "virtualInbound"
    ]
    limits = list(told_to_wait(listeners))
    assert ("stream_idle_timeout", 0) in limits
    assert not [(key, seconds) for key, seconds in limits if 0 < seconds < 3600]
    # Istio's only one: of a request of which nothing was sent yet.
    retries = [one for one in found(kinds["RoutesConfigDump"], "retry_policy") if one.get("num_retries")]
    assert {one["retry_on"] for one in retries} <= {"reset-before-request"}
