# SPDX-License-Identifier: Apache-2.0
"""Roles of charts with the real charts, from a folder that LLM_ON_EKS_TEST_CHARTS names (NAME-VERSION.tgz, or .yaml for manifests).

On a control plane with a node that runs nothing, and with what operators would say of their objects: rendered, accepted,
ready, the same at a second run, gone without a trace. What AWS would have made is a word in its place.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.charts import uids
from tests.support.cluster_client import absent, new_client
from tests.support.described import REPO, describe_roles
from tests.support.simulated_node import SimulatedNode
from tests.support.simulated_operators import SimulatedOperators

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
TRIALS = sorted(REPO.glob("roles/*/tests/trial.yml"))
# Namespaces of the platform's own, which systems put something into.
HOMES = [
    {"name": "models", "namespace": {"name": "llm-engines", "pod_security": "baseline"}},
    {"name": "gateway", "namespace": {"name": "llm-gateway", "pod_security": "restricted"}},
]
pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.full,
    pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts"),
]


@pytest.fixture(scope="module")
def client(api_server):
    return new_client(api_server)


@pytest.fixture(scope="module")
def node(client, api_server):
    with SimulatedNode(client) as node, SimulatedOperators(new_client(api_server)):
        yield node


@pytest.fixture(scope="module")
def described():
    platform = {
        "platform_cluster_name": "demo",
        "platform_provider": "eks",
        "platform_aws_region": "us-west-2",
        "model_catalog": [],
    }
    settings = {file.parent.parent.name: yaml.safe_load(file.read_text())["settings"] for file in TRIALS}
    return describe_roles({role: (role, {**platform, **given}) for role, given in settings.items()})


def alone(components):
    """Without AWS's part: its resources are none, and what they would be called is a word."""
    text = re.sub(r"\$\{out:([^}]+)\}", _stand_in, json.dumps(components))
    names = {one["name"] for one in [*components, *HOMES]}
    found = [{key: value for key, value in one.items() if key not in ("aws", "outputs")} for one in json.loads(text)]
    return [{**one, "requires": [name for name in one.get("requires", []) if name in names]} for one in found]


def _stand_in(reference):
    """An id of the form that CRDs ask for."""
    output = reference[1]
    kinds = {"security_group_id": "sg-0", "network.private": "subnet-0", "network.vpc": "vpc-0"}
    return next((said for part, said in kinds.items() if part in output), "simulated")


def stood_on(described, components):
    """The components of other trials that these require, and those that these stand on in turn."""
    owners = {one["name"]: role for role, found in described.items() for one in found}
    wanted = {owners[name] for one in components for name in one.get("requires", []) if name in owners}
    roles = [role for role in wanted if described[role] is not components]
    return [one for role in roles for one in [*stood_on(described, described[role]), *described[role]]]


def files_of(components):
    charts = [release["chart"] for component in components for release in component.get("releases", [])]
    return [f"{one['name']}-{one['version']}{'.yaml' if one.get('manifests') else '.tgz'}" for one in charts]


@pytest.mark.parametrize("role", [file.parent.parent.name for file in TRIALS])
def test_a_role_with_its_real_chart_is_accepted_stays_and_leaves_nothing(client, node, described, role, tmp_path):
    standing = alone([*stood_on(described, described[role]), *described[role]])
    missing = [file for file in files_of(standing) if not (Path(MIRROR) / file).is_file()]
    if missing:
        pytest.skip(f"{MIRROR} has no {', '.join(missing)}")
    charts = ChartOptions(mirror=Path(MIRROR))

    def run(wanted, **options):
        result = engine.converge(engine.Request(descriptors=wanted, client=client, charts=charts, **options))
        assert not result.errors, result.errors
        return result

    before = uids(client)
    run(HOMES)
    all_of_it = [*HOMES, *standing]
    planned = run(all_of_it, check=True)
    done = run(all_of_it)
    assert done.actions
    assert {str(action.subject) for action in planned.actions} == {str(action.subject) for action in done.actions}
    assert [str(action.subject) for action in run(all_of_it).actions] == []
    run(absent(*all_of_it), lose_data=["all"])
    assert uids(client) - before == set()
