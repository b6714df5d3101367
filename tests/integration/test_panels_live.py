# SPDX-License-Identifier: Apache-2.0
"""Every query of every panel, as Grafana's documents have it, has values in a real Prometheus after load on the real gateway and engines.

What cannot be had here is named in NOT_HERE, and only that.
"""

from __future__ import annotations

import json
import math
import sys

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import dashboards
from local.observe.dashboards import boards, metrics, system
from tests.support.described import REPO
from tests.support.live_metrics import FILES, Scene, free_port, needs_prometheus, shortened, slowed, soon, wait_for
from tests.support.tiny_model import make_tiny_gguf

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), needs_prometheus]
# The first word of a metric's name -> why it has no values here. docs/systems/prometheus.md has the same table for people.
NOT_HERE = {
    "tgi": "TGI's image",
    "container": "a kubelet; tests/e2e/test_platform.py looks at these panels",
    "kube": "kube-state-metrics",
    "karpenter": "Karpenter's controller on AWS",
    "DCGM": "a GPU",
    "neuroncore": "a Neuron device",
    "neuron": "a Neuron device",
    "node": "OpenCost",
    "cluster": "OpenCost",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", kind="bigram")


def asked(folder):
    """(dashboard, panel, query) of Grafana's documents, with windows of seconds."""
    for board in dashboards.dashboards(yaml.safe_load((FILES / "panels.yml").read_text())):
        (folder / f"{board['name']}.json").write_text(board["json"])
    return [
        (board["name"], panel["title"], soon(target["expr"]))
        for board in boards(folder)
        for panel in board["panels"]
        for target in panel["targets"]
    ]


def has_values(scene, query):
    return any(math.isfinite(float(one["value"][1])) for one in scene.query(query))


def systems(query):
    return {system(name) for name in metrics(query)}


def test_every_panel_of_the_gateway_and_of_llama_cpp_has_values_after_load(tmp_path, model):
    (tmp_path / "boards").mkdir()
    queries = asked(tmp_path / "boards")
    models = json.dumps({"other": {"fallbacks": ["tiny"]}})
    scene = Scene(tmp_path, model, shortened(), ("--models", models, "--resume"))
    other = free_port()
    not_here = NOT_HERE | {"vllm": "the test below"}
    wanted = {one for one in queries if not systems(one[2]) & set(not_here)}
    seen = set()

    def all_seen():
        seen.update(one for one in wanted - seen if has_values(scene, one[2]))
        return seen == wanted

    with scene.prometheus(), scene.engine(), scene.engine(other) as second:
        engines = [scene.engine_url, f"http://127.0.0.1:{other}"]
        with scene.gateway(engines), scene.load(3, max_tokens=300), scene.load(1, model="other"):
            wait_for(lambda: has_values(scene, "model:llm_requests:rate5m"), "the first requests")
            # Streams break off, others find nobody: both are taken by the other engine.
            with slowed(second, stopped=0.2):
                on_second = f'llm_gateway_engine_in_flight{{engine=~".*:{other}"}} > 1'
                wait_for(lambda: scene.query(on_second), "streams of the second engine")
                second.kill()
            wait_for(all_seen, "values of every panel", 180, lambda: sorted(wanted - seen))
            for board, panel, query in set(queries) - wanted:
                assert not has_values(scene, query), f"{board}, {panel} has values: take it out of NOT_HERE"
    assert len(wanted) >= 20


def test_every_panel_of_vllm_has_values_and_a_full_cache_is_told(tmp_path, model):
    sys.path.insert(0, str(REPO / "gateway" / "tests"))
    from gateway_support.vllm import serving

    (tmp_path / "boards").mkdir()
    wanted = {one for one in asked(tmp_path / "boards") if "vllm" in systems(one[2])}
    assert len(wanted) >= 7
    (tmp_path / "vllm").mkdir()
    # Two requests fill this cache.
    with serving(tmp_path / "vllm", slots=4, cache_mib=4) as vllm:
        labels = {"namespace": "llm-engines", "pod": "engine-tiny-0", "model": "tiny", "engine": "vllm"}
        scene = Scene(tmp_path, model, shortened(kv_cache=0.5), targets={vllm.url.removeprefix("http://"): labels})
        seen = set()

        def all_seen():
            seen.update(one for one in wanted - seen if has_values(scene, one[2]))
            return seen == wanted

        with scene.prometheus(), scene.gateway([f"{vllm.url}?kind=vllm"]):
            with scene.load(6, pause=0, max_tokens=900, timeout=120):
                wait_for(all_seen, "values of every panel of vLLM", 300, lambda: sorted(wanted - seen))
                scene.fires("LlmCacheFull", seconds=300)
            scene.clears("LlmCacheFull", seconds=180)
