# SPDX-License-Identifier: Apache-2.0
"""Alerts fire and clear in a real Prometheus, on metrics of the real gateway and of llama.cpp, under a real fault.

docs/runbooks.md says which alerts cannot fire here, and why.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from functools import partial

import pytest

from local.kubernetes import forward
from tests.support.cluster_client import kubectl, new_client
from tests.support.live_metrics import KEY, Scene, free_port, needs_prometheus, running, shortened, slowed, wait_for
from tests.support.opencost_process import needs_opencost, node, opencost
from tests.support.simulated_node import SimulatedNode
from tests.support.tiny_model import make_tiny_gguf
from tools import obtain
from tools.debian import find

pytestmark = [pytest.mark.full, pytest.mark.timeout(600), needs_prometheus]
REDIS = find("redis-server")
STATE_METRICS = obtain.cached_path(obtain.load_tools()["kube-state-metrics"], obtain.default_cache())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", kind="bigram")


def well(scene):
    """Requests are answered and measured, and nothing fires."""
    wait_for(lambda: scene.query("model:llm_requests:rate5m > 0") and not scene.firing(), "a quiet start", 60)


def test_a_killed_engine_and_a_killed_gateway_are_told_and_their_return_too(tmp_path, model):
    scene = Scene(tmp_path, model, shortened(), ("--hold-timeout", "1", "--queue-timeout", "1"))
    broken = ("LlmErrorsMany", "LlmModelHasNoEngine", "LlmNoEngine")
    with scene.prometheus(), ExitStack() as gateways, scene.load():
        with scene.engine() as engine:
            gateways.enter_context(scene.gateway())
            well(scene)
            assert scene.query("model:llm_errors:ratio5m == 0"), "without any failure the share of failures is 0"
            engine.kill()
            scene.fires(*broken)
        with scene.engine():
            scene.clears(*broken)
            gateways.close()
            scene.fires("LlmGatewayDown")
            gateways.enter_context(scene.gateway())
            scene.clears("LlmGatewayDown")


def test_a_slow_engine_is_told_until_it_is_fast_again(tmp_path, model):
    scene = Scene(tmp_path, model, shortened(first_token_s=0.25, inter_token_s=0.16))
    slow = ("LlmFirstTokenSlow", "LlmTokensSlow")
    with scene.prometheus(), scene.engine() as engine, scene.gateway(), scene.load(2, max_tokens=60):
        well(scene)
        with slowed(engine):
            scene.fires(*slow)
        scene.clears(*slow)


def test_a_long_queue_is_told_until_it_is_short(tmp_path, model):
    scene = Scene(tmp_path, model, shortened(), ("--engine-concurrency", "1"))
    with scene.prometheus(), scene.engine() as engine, scene.gateway():
        with scene.load(1):
            well(scene)
        with slowed(engine), scene.load(30, pause=0, timeout=60):
            scene.fires("LlmQueueLong")
        scene.clears("LlmQueueLong")


def test_an_engine_that_dies_again_and_again_is_told(tmp_path, model):
    breaker = ("--breaker-failures", "1", "--breaker-cooldown", "0.5", "--probe-interval", "0.5", "--hold-timeout", "1")
    scene = Scene(tmp_path, model, shortened(), breaker)
    with scene.prometheus(), scene.gateway(), scene.load(2, pause=0.1):
        with scene.engine():
            well(scene)
        # In and out while the window of the rule lasts.
        for __ in range(6):
            with scene.engine() as engine:
                wait_for(lambda: scene.query('llm_gateway_engines{state="ready"} == 1'), "the engine's return")
                engine.kill()
            wait_for(lambda: scene.query('llm_gateway_engines{state="ejected"} == 1'), "the ejection")
            if "LlmEngineEjectedOften" in scene.firing():
                break
        scene.fires("LlmEngineEjectedOften")
        with scene.engine():
            scene.clears("LlmEngineEjectedOften")


@pytest.mark.skipif(not REDIS, reason="redis-server is missing; Debian's package of that name has it")
def test_a_dead_redis_is_told_until_it_is_back(tmp_path, model):
    port = free_port()
    redis = [REDIS, "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    options = ("--redis-url", f"redis://127.0.0.1:{port}/0", "--limit-requests-per-minute", "100000")
    scene = Scene(tmp_path, model, shortened(), options)
    with scene.prometheus(), scene.engine(), ExitStack() as server:
        server.enter_context(running(redis))
        with scene.gateway(), scene.load():
            well(scene)
            server.close()
            scene.fires("LlmLimitsDegraded")
            with running(redis):
                scene.clears("LlmLimitsDegraded")


def test_a_broken_key_file_is_told_until_it_is_mended(tmp_path, model):
    scene = Scene(tmp_path, model, shortened())
    with scene.prometheus(), scene.engine(), scene.gateway(), scene.load():
        well(scene)
        broken = tmp_path / "keys" / "second"
        broken.write_text('{"sha256": "too short"}')
        scene.fires("LlmConfigurationRefused")
        assert b"[DONE]" in scene.ask(key=KEY), "the last good configuration stays in force"
        broken.unlink()
        scene.clears("LlmConfigurationRefused")


@pytest.mark.apiserver
def test_a_gateway_that_hears_nothing_of_the_cluster_is_told(tmp_path, model, control_plane):
    """The API server is real; the way to it is cut and mended."""
    config = control_plane.config
    port = free_port()
    way = [sys.executable, forward.__file__, str(port), config.node_address, "6443"]
    kubectl(control_plane.kubeconfig, "create", "serviceaccount", "hears", "-n", "default")
    bind = ["create", "clusterrolebinding", "hears", "--clusterrole=view", "--serviceaccount=default:hears"]
    kubectl(control_plane.kubeconfig, *bind)
    token = kubectl(control_plane.kubeconfig, "create", "token", "hears", "-n", "default")
    (tmp_path / "token").write_text(token.strip())
    options = ("--kubernetes", "--kubernetes-api", f"https://127.0.0.1:{port}", "--kubernetes-resync", "2")
    options += ("--kubernetes-token-file", str(tmp_path / "token"))
    options += ("--kubernetes-ca-file", str(config.state / "pki" / "ca.crt"))
    scene = Scene(tmp_path, model, shortened(discovery_s=6), options)
    with scene.prometheus(), ExitStack() as road:
        road.enter_context(running(way))
        with scene.gateway(engines=()):
            wait_for(lambda: scene.query("llm_gateway_discovery_age_seconds < 3"), "discovery")
            road.close()
            scene.fires("LlmDiscoveryStale")
            with running(way):
                scene.clears("LlmDiscoveryStale")


@pytest.mark.apiserver
@needs_opencost
def test_nodes_that_cost_too_much_are_told_until_they_are_gone(tmp_path, model, control_plane):
    """OpenCost sees them in the API server. It looks once a minute."""
    port = free_port()
    scene = Scene(tmp_path, model, shortened(cost_per_hour=5), targets={f"127.0.0.1:{port}": {"namespace": "opencost"}})
    nodes = partial(kubectl, control_plane.kubeconfig)
    nodes("create", "-f", "-", given=node("small", "4", "16Gi"))
    try:
        way = (tmp_path, port, control_plane.kubeconfig, scene.prometheus_url)
        # As role cost has it run where the inventory has prices.
        with scene.prometheus(), opencost(*way, USE_CUSTOM_PROVIDER="true"):
            prices = partial(scene.query, '{__name__=~"up|node_total_hourly_cost|cluster:node_cost:usd_per_hour"}')
            wait_for(
                lambda: scene.query("cluster:node_cost:usd_per_hour > 0 < 5"), "the small node's price", 180, prices
            )
            nodes("create", "-f", "-", given=node("large", "192", "2Ti"))
            scene.fires("LlmCostHigh", seconds=180)
            nodes("delete", "node", "large")
            scene.clears("LlmCostHigh", seconds=240)
    finally:
        nodes("delete", "--ignore-not-found", "node", "small", "large")


@pytest.mark.apiserver
@pytest.mark.skipif(not STATE_METRICS.exists(), reason="python -m tools.obtain kube-state-metrics builds it")
def test_an_engine_that_no_node_takes_is_told_until_one_comes(tmp_path, model, control_plane):
    """API server, scheduler and kube-state-metrics are real; the node is not."""
    config, port = str(control_plane.kubeconfig), free_port()
    pod = {"nodeSelector": {"node.kubernetes.io/instance-type": "g6.xlarge"}}
    pod |= {"containers": [{"name": "engine", "image": "registry.test/engine:1"}]}
    engine = tmp_path / "pod.json"
    engine.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "engine-tiny"}, "spec": pod}))
    heard = ["--host=127.0.0.1", f"--port={port}", "--telemetry-host=127.0.0.1", f"--telemetry-port={free_port()}"]
    states = [STATE_METRICS, f"--kubeconfig={config}", "--resources=pods", "--namespaces=llm-engines", *heard]
    scene = Scene(tmp_path, model, shortened(), targets={f"127.0.0.1:{port}": {}})
    kubectl(config, "create", "namespace", "llm-engines")
    try:
        kubectl(config, "create", "serviceaccount", "default", "-n", "llm-engines", check=False)
        with scene.prometheus(), running(states):
            kubectl(config, "apply", "-n", "llm-engines", "-f", str(engine))
            scene.fires("LlmEngineWaitsForNode")
            with SimulatedNode(new_client(config), instance_type="g6.xlarge"):
                scene.clears("LlmEngineWaitsForNode")
    finally:
        kubectl(config, "delete", "namespace", "llm-engines", "--wait=true")
