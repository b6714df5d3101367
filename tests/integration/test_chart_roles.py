# SPDX-License-Identifier: Apache-2.0
"""Roles of charts with the real charts, from a folder that LLM_ON_EKS_TEST_CHARTS names (NAME-VERSION.tgz, or .yaml for manifests).

On a control plane with a node that runs nothing: rendered, accepted, ready, the same at a second run, gone without a trace.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.charts import uids
from tests.support.cluster_client import absent, new_client
from tests.support.described import REPO, describe_roles
from tests.support.simulated_node import SimulatedNode

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
TRIALS = sorted(REPO.glob("roles/*/tests/trial.yml"))
pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.full,
    pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts"),
]


@pytest.fixture(scope="module")
def client(api_server):
    return new_client(api_server)


@pytest.fixture(scope="module")
def node(client):
    with SimulatedNode(client) as node:
        yield node


@pytest.fixture(scope="module")
def described():
    platform = {"platform_cluster_name": "demo", "platform_provider": "existing", "model_catalog": []}
    settings = {file.parent.parent.name: yaml.safe_load(file.read_text())["settings"] for file in TRIALS}
    return describe_roles({role: (role, {**platform, **given}) for role, given in settings.items()})


def files_of(components):
    charts = [release["chart"] for component in components for release in component.get("releases", [])]
    return [f"{one['name']}-{one['version']}{'.yaml' if one.get('manifests') else '.tgz'}" for one in charts]


@pytest.mark.parametrize("role", [file.parent.parent.name for file in TRIALS])
def test_a_role_with_its_real_chart_is_accepted_stays_and_leaves_nothing(client, node, described, role, tmp_path):
    components = described[role]
    missing = [file for file in files_of(components) if not (Path(MIRROR) / file).is_file()]
    if missing:
        pytest.skip(f"{MIRROR} has no {', '.join(missing)}")
    charts = ChartOptions(mirror=Path(MIRROR))

    def run(wanted, **options):
        result = engine.converge(engine.Request(descriptors=wanted, client=client, charts=charts, **options))
        assert not result.errors, result.errors
        return result

    before = uids(client)
    planned = run(components, check=True)
    done = run(components)
    assert done.actions
    assert {str(action.subject) for action in planned.actions} == {str(action.subject) for action in done.actions}
    assert [str(action.subject) for action in run(components).actions] == []
    run(absent(*components), lose_data=["all"])
    assert uids(client) - before == set()
