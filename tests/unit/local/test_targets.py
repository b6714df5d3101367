# SPDX-License-Identifier: Apache-2.0
"""What the plain Prometheus scrapes: the same pods, with the same labels, as the PodMonitors of role prometheus name."""

from __future__ import annotations

import json

from local.observe import targets


def pod(name, namespace, labels, *, phase="Running", address="10.0.0.1", ports=(("http", 8080),)):
    given = [{"name": port, "containerPort": number} for port, number in ports]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "main", "ports": given}, {"name": "beside"}]},
        "status": {"phase": phase, **({"podIP": address} if address else {})},
    }


def test_a_pod_of_the_gateway_is_scraped_at_its_port_http():
    labels = {"app.kubernetes.io/name": "llm-gateway"}
    both = [pod("a", "llm-gateway", labels, ports=(("admin", 1), ("http", 8080))), pod("b", "llm-gateway", {})]
    own = {"namespace": "llm-gateway", "pod": "a", "container": "main"}
    assert list(targets.gateways(both)) == [{"targets": ["10.0.0.1:8080"], "labels": own}]


def test_an_engine_has_its_model_and_kind_as_labels():
    labels = {"llm.on-eks/engine": "vllm", "llm.on-eks/model": "m"}
    [found] = targets.engines([pod("e", "llm-engines", labels, address="fd00::1"), pod("sync", "llm-engines", {})])
    assert found["targets"] == ["[fd00::1]:8080"]
    assert found["labels"] == {
        "namespace": "llm-engines",
        "pod": "e",
        "container": "main",
        "model": "m",
        "engine": "vllm",
    }


def test_opencost_is_scraped_at_its_port_http_and_not_at_its_pages():
    labels = {"app.kubernetes.io/name": "opencost"}
    found = list(targets.opencosts([pod("o", "opencost", labels, ports=(("http", 9003), ("http-ui", 9090)))]))
    assert [one["targets"] for one in found] == [["10.0.0.1:9003"]]


def test_pods_that_ended_or_have_no_address_yet_are_left_out():
    labels = {"llm.on-eks/engine": "vllm"}
    ended = pod("e", "llm-engines", labels, phase="Succeeded")
    assert list(targets.engines([ended, pod("e", "llm-engines", labels, phase="Pending", address="")])) == []


def test_a_node_is_scraped_at_its_internal_address():
    node = {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}}
    assert list(targets.kubelets([node])) == [{"targets": ["10.0.0.9:10250"], "labels": {"node": "n"}}]


def test_a_file_is_only_written_when_its_content_changes(tmp_path):
    file = tmp_path / "job.json"
    targets.write(file, [{"targets": ["a:1"]}])
    before = file.stat().st_ino
    targets.write(file, [{"targets": ["a:1"]}])
    assert file.stat().st_ino == before
    targets.write(file, [])
    assert json.loads(file.read_text()) == []
