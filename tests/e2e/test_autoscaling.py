# SPDX-License-Identifier: Apache-2.0
"""Real engines go up and down on what is measured, by the programs that do it on EKS: prometheus-adapter and KEDA, from their Go modules."""

from __future__ import annotations

import json
import os
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.engines import scaling
from tests.support import metrics_adapter, program_image
from tests.support.local_platform import recap
from tests.support.serving import asking
from tests.support.waiting import until
from tools import obtain

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
pytestmark = [pytest.mark.cluster, pytest.mark.full, pytest.mark.timeout(2400)]
OBSERVED = ("-e", "@local/observe/inputs.yml")
# Of a request: as many as it asks for. Long ones stay in flight; of short ones a busy machine answers many a second, too.
LONG, SHORT = 300, 30
# Name in KEDA's images (the last part of the image's own) -> program of tools/versions.json, path in the image.
KEDA = {
    "keda": ("keda-operator", "keda"),
    "keda-metrics-apiserver": ("keda-adapter", "keda-adapter"),
    "keda-admission-webhooks": ("keda-webhooks", "keda-admission-webhooks"),
}


def program(name):
    return obtain.cached_path(obtain.load_tools()[name], obtain.default_cache())


needs_adapter = pytest.mark.skipif(
    not metrics_adapter.PROGRAM.exists(), reason="python -m tools.obtain prometheus-adapter builds it"
)
needs_keda = pytest.mark.skipif(
    not all(program(name).exists() for name, __ in KEDA.values()),
    reason=f"python -m tools.obtain {' '.join(name for name, __ in KEDA.values())} builds it",
)
needs_charts = pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts")


@contextmanager
def busy(platform, clients, tokens=LONG):
    """So many requests at once."""
    endpoint = platform.endpoint
    asked = {"model": "tiny", "prompt": "This is a cake", "max_tokens": tokens, "stream": True, "ignore_eos": True}
    with asking(lambda: ask(endpoint, asked, 120), clients):
        yield


def ask(endpoint, asked, timeout):
    headers = {"authorization": f"Bearer {endpoint['api_key']}", "content-type": "application/json"}
    request = urllib.request.Request(f"{endpoint['url']}/v1/completions", json.dumps(asked).encode(), headers)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.read()


def field(platform, kind, path, name="engine-tiny"):
    """A field of an object among the engines, as text; nothing where it has none."""
    return platform.kubectl("-n", "llm-engines", "get", kind, name, "-o", f"jsonpath={path}").strip()


@contextmanager
def adapted(platform, folder, groups, scaler):
    """Prometheus with these rules, the adapter, and an autoscaler."""
    platform.playbook("site.yml", *OBSERVED, "-e", json.dumps({"prometheus_rule_groups": groups}))
    metrics_adapter.give(platform.name, folder)
    file = folder / "objects.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*metrics_adapter.manifests(), scaler]}))
    try:
        platform.kubectl("apply", "--server-side", "-f", str(file))
        yield lambda: int(field(platform, "hpa", "{.status.desiredReplicas}") or 0)
    finally:
        platform.kubectl("delete", "--ignore-not-found", "-f", str(file))
        platform.playbook("site.yml", *OBSERVED)


@needs_adapter
def test_the_engine_is_scaled_up_and_down_on_what_the_gateway_counts(platform, tmp_path):
    """Ours are the rule, the autoscaler and the adapter's rules; the window before a pod goes is seconds here."""
    entry = {"name": "tiny", "engine": "llamacpp", "replicas": {"min": 1, "max": 3}, "autoscaling": {"target": 2}}
    models = scaling.scaled([entry])
    [scaler] = scaling.autoscalers(models, seed=False)
    scaler["spec"]["behavior"]["scaleDown"] = {
        "stabilizationWindowSeconds": 20,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}],
    }
    with adapted(platform, tmp_path, scaling.recorded(models)["spec"]["groups"], scaler) as replicas:
        until(lambda: replicas() == 1, seconds=300)
        with busy(platform, clients=6):
            until(lambda: replicas() == 3, seconds=300)
        until(lambda: replicas() == 1, seconds=300)


@needs_adapter
def test_the_walk_throughs_autoscaler_goes_up_and_down_on_half_a_request_a_second(platform, tmp_path):
    """As it is, with its behaviour. The engine is llama.cpp under TGI's metric: its tokens, by the tokens of a request."""
    entry = {"name": "tiny", "engine": "tgi", "replicas": {"min": 1, "max": 3}, "autoscaling": {"signal": "requests"}}
    [scaler] = scaling.autoscalers(scaling.scaled([entry]), seed=True)
    counted = {"record": "tgi_request_count", "expr": f"llamacpp:tokens_predicted_total / {SHORT}"}
    groups = [{"name": "tgi", "interval": "5s", "rules": [counted]}]
    with adapted(platform, tmp_path, groups, scaler) as replicas:
        until(lambda: replicas() == 1, seconds=600)
        with busy(platform, clients=4, tokens=SHORT):
            until(lambda: replicas() == 3, seconds=300)
        assert "AverageValue" in field(platform, "hpa", "{.spec.metrics[0].pods.target.type}")
        until(lambda: replicas() == 1, seconds=900)


@pytest.fixture
def keda(platform, tmp_path):
    """Arguments of a run with KEDA from a bundle; its images are on the node. Removed at the end."""
    model = {**platform.model, "replicas": {"min": 0, "max": 3}, "autoscaling": {"signal": "queue", "target": 2}}
    wanted = (*OBSERVED, "-e", json.dumps({"keda_state": "present", "model_catalog": [model]}))
    bundle, mirror = tmp_path / "bundle", ("-e", f"platform_chart_mirror={MIRROR}")
    platform.playbook("playbooks/lock.yml", *wanted, *mirror)
    platform.playbook("playbooks/bundle.yml", *wanted, *mirror, "-e", f"bundle_out={bundle}")
    platform.playbook("playbooks/bundle.yml", "-e", f"bundle_verify={bundle}")
    program_image.given(platform.name, images(bundle, tmp_path))
    yield (*wanted, "-e", f"platform_chart_mirror={bundle}/charts")
    platform.playbook("site.yml", *OBSERVED, "-e", "keda_state=absent")
    assert "keda" not in platform.kubectl("get", "namespaces,crds", "-o", "name")


def images(bundle, folder):
    """Reference -> archive, of those images of a bundle that are KEDA's."""
    found = {}
    for reference in (bundle / "images.txt").read_text().split():
        name = Path(reference.partition("@")[0].rpartition(":")[0]).name
        if name in KEDA:
            built, path = KEDA[name]
            # As in its publisher's images: pods may not run as root.
            file = folder / f"{name}.tar"
            found[reference] = program_image.written(reference, {path: program(built)}, file, user="1000:1000")
    assert len(found) == len(KEDA), (bundle / "images.txt").read_text()
    return found


@needs_keda
@needs_charts
def test_keda_takes_the_engine_from_none_to_three_and_back_while_nobody_is_refused(platform, keda):
    """The role's, from a bundle; only the times until a pod goes are seconds here."""
    platform.playbook("site.yml", *keda)
    soon = {
        "scaleDown": {"stabilizationWindowSeconds": 15, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}
    }
    change = {"cooldownPeriod": 20, "advanced": {"horizontalPodAutoscalerConfig": {"behavior": soon}}}
    patch = json.dumps({"spec": change})
    platform.kubectl("-n", "llm-engines", "patch", "scaledobject", "engine-tiny", "--type=merge", "-p", patch)

    def pods():
        return int(field(platform, "deployment", "{.spec.replicas}") or 0)

    until(lambda: pods() == 0, seconds=300)
    first = {"model": "tiny", "prompt": "This is a cake", "max_tokens": 4}
    assert json.loads(ask(platform.endpoint, first, 300))["usage"]["completion_tokens"] >= 1
    with busy(platform, clients=6):
        until(lambda: pods() == 3, seconds=300)
    until(lambda: pods() == 0, seconds=400)
    # The patch is taken back, and pods stay KEDA's.
    assert recap(platform.playbook("site.yml", *keda).stdout)["changed"] == 1
    assert recap(platform.playbook("site.yml", *keda).stdout)["changed"] == 0
