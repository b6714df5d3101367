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
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.drift import report_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.charts import new_since, uids
from tests.support.cluster_client import absent, new_client
from tests.support.described import REPO, describe_roles
from tests.support.simulated_backends import SimulatedBackends
from tests.support.simulated_node import SimulatedNode
from tests.support.simulated_operators import SimulatedOperators

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
# A folder with an older version of each chart, by the same kind of names.
OLDER = os.environ.get("LLM_ON_EKS_TEST_OLDER_CHARTS", "")
# `trial.yml` is a role's default, `trial_seed.yml` the walk-through's choice.
TRIALS = sorted(REPO.glob("roles/*/tests/trial*.yml"))
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
def node(client, control_plane, tmp_path_factory):
    """Pods are at an address where webhooks and aggregated APIs answer, or refuse at once."""
    address = str(control_plane.config.host_address)
    with (
        SimulatedNode(client, pod_ip=address) as node,
        SimulatedBackends(address, tmp_path_factory.mktemp("backends")) as backends,
        SimulatedOperators(new_client(control_plane.kubeconfig), backends.authority),
    ):
        yield node


@pytest.fixture(scope="module")
def described():
    platform = {
        "platform_cluster_name": "demo",
        "platform_provider": "eks",
        "platform_aws_region": "us-west-2",
        "model_catalog": [],
    }
    settings = {case_of(file): yaml.safe_load(file.read_text())["settings"] for file in TRIALS}
    return describe_roles({case: (case.split("-")[0], {**platform, **given}) for case, given in settings.items()})


def case_of(file):
    """`cost`, `cost-seed`."""
    return file.parent.parent.name + file.stem.removeprefix("trial").replace("_", "-")


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
    """The components of other trials that these require, and those that these stand on in turn; CRDs of monitors, too."""
    owners = {one["name"]: role for role, found in described.items() if "-" not in role for one in found}
    own = {one["name"] for one in components}
    wanted = {
        owners[name] for one in components for name in one.get("requires", []) if name in owners and name not in own
    }
    found = [one for role in wanted for one in [*stood_on(described, described[role]), *described[role]]]
    if any("prometheus_crds" in one.get("after", []) for one in components):
        found += [one for one in described["prometheus"] if one["name"] == "prometheus_crds"]
    return list({one["name"]: one for one in found}.values())


def files_of(components):
    charts = [release["chart"] for component in components for release in component.get("releases", [])]
    return [f"{one['name']}-{one['version']}{'.yaml' if one.get('manifests') else '.tgz'}" for one in charts]


def converger(client):
    """A run on the control plane that must end well: of components, with charts of this folder."""

    def run(wanted, mirror=MIRROR, **options):
        request = engine.Request(descriptors=wanted, client=client, charts=ChartOptions(mirror=Path(mirror)), **options)
        result = engine.converge(request)
        assert not result.errors, result.errors
        return result

    return run


def standing_of(described, role):
    """The role's components with what they stand on. Skips where the folder lacks a chart."""
    standing = alone([*stood_on(described, described[role]), *described[role]])
    missing = [file for file in files_of(standing) if not (Path(MIRROR) / file).is_file()]
    if missing:
        pytest.skip(f"{MIRROR} has no {', '.join(missing)}")
    return standing


ROLES = [case_of(file) for file in TRIALS]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_with_its_real_chart_is_accepted_stays_and_leaves_nothing(client, node, described, role):
    all_of_it = [*HOMES, *standing_of(described, role)]
    run = converger(client)
    before = uids(client)
    run(HOMES)
    planned = run(all_of_it, check=True)
    done = run(all_of_it)
    assert done.actions
    assert {str(action.subject) for action in planned.actions} == {str(action.subject) for action in done.actions}
    assert [str(action.subject) for action in run(all_of_it).actions] == []
    assert report_of(run(all_of_it, check=True), "demo").findings == []
    run(absent(*all_of_it), lose_data=["all"])
    assert new_since(client, before) == []


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A folder with the charts of both, and name → older version."""
    folder = tmp_path_factory.mktemp("charts")
    for file in [*Path(MIRROR).iterdir(), *Path(OLDER).iterdir()]:
        (folder / file.name).symlink_to(file)
    found = (re.fullmatch(r"(.+?)-(\d.*)\.tgz", file.name) for file in Path(OLDER).iterdir())
    return folder, {name[1]: name[2] for name in found if name}


def of_before(components, versions):
    """The same, with the older version of each chart that there is one of; how many these are."""
    text = [json.loads(json.dumps(one)) for one in components]
    older = [
        one["chart"] for component in text for one in component.get("releases", []) if one["chart"]["name"] in versions
    ]
    for chart in older:
        chart["version"] = versions[chart["name"]]
    return text, len(older)


def late_crds(result):
    """CRDs that a release changed after it had changed something else."""
    found = []
    for node in result.nodes:
        kinds = [str(action.subject).startswith("CustomResourceDefinition ") for action in node.outcome.actions]
        first = kinds.index(False) if False in kinds else len(kinds)
        if node.node.startswith("release "):
            found += [
                str(action.subject) for action in node.outcome.actions[first:] if action.subject.startswith("CustomR")
            ]
    return found


@pytest.mark.skipif(not OLDER, reason="LLM_ON_EKS_TEST_OLDER_CHARTS names no folder of older charts")
@pytest.mark.parametrize("role", ROLES)
def test_a_role_comes_up_from_the_version_before(client, node, described, both, role):
    mirror, versions = both
    all_of_it = [*HOMES, *standing_of(described, role)]
    older, count = of_before(all_of_it, versions)
    if not count:
        pytest.skip(f"{OLDER} has no older chart of {role}")
    run = converger(client)
    before = uids(client)
    run(older, mirror)
    planned = run(all_of_it, mirror, check=True)
    done = run(all_of_it, mirror)
    assert {str(action.subject) for action in planned.actions} == {str(action.subject) for action in done.actions}
    assert any(action.verb == "update" for action in done.actions)
    assert late_crds(done) == []
    assert report_of(run(all_of_it, mirror, check=True), "demo").findings == []
    run(absent(*all_of_it), mirror, lose_data=["all"])
    assert new_since(client, before) == []
