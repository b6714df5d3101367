# SPDX-License-Identifier: Apache-2.0
"""What the server deals out, and what it makes against the words of a description."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.references import UNKNOWN
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.admission_changes import admission_changes
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.server_assigned import as_planned


def service(**spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


def test_an_address_that_a_dry_run_deals_out_is_known_only_after_apply():
    dry = service(clusterIP="198.19.128.7", clusterIPs=["198.19.128.7"], ports=[{"port": 80, "nodePort": 30001}])
    planned = as_planned(dry, None, service(ports=[{"port": 80}]))
    assert planned["spec"]["clusterIP"] == UNKNOWN
    assert planned["spec"]["clusterIPs"] == [UNKNOWN]
    assert planned["spec"]["ports"][0]["nodePort"] == UNKNOWN


def test_an_address_that_is_described_or_there_already_is_known():
    dry = service(clusterIP="198.19.128.7", ports=[{"port": 80, "nodePort": 30001}])
    assert as_planned(dry, dry, service(ports=[{"port": 80}])) == dry
    assert as_planned(dry, None, dry) == dry
    headless = service(clusterIP="None", clusterIPs=["None"])
    assert as_planned(headless, None, service(clusterIP="None")) == headless


@pytest.mark.parametrize(
    ("described", "made"),
    [("1000m", "1"), ("1024Mi", "1Gi"), (0.5, "500m"), ("80", 80), ("", None), ([], None), ({}, None), (None, "x")],
)
def test_another_spelling_is_not_overruling(described, made):
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert admission_changes({**kind, "x": described}, {**kind, "x": made}) == []


def test_another_value_is_overruling_and_what_nobody_described_is_not():
    kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
    described = {**kind, "spec": {"replicas": 1, "containers": [{"name": "a", "image": "x:1"}]}}
    made = {
        **kind,
        "spec": {"replicas": 1, "paused": True, "containers": [{"name": "b"}, {"name": "a", "image": "mirror/x:1"}]},
    }
    assert [str(change) for change in admission_changes(described, made)] == [
        "spec.containers[a].image: x:1 → mirror/x:1"
    ]
