# SPDX-License-Identifier: Apache-2.0
"""Releases against a real API server: as plain Helm makes them, planned exactly, kept, upgraded, adopted, removed."""

import base64
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))

from ansible_collections.llm.on_eks.plugins.module_utils.names import NAMESPACE_SYSTEM  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import render  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds import takeover  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.base import Run, context_of  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.chart import ChartTests  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.report import node_line, result_of  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.run_plan import plan_of  # noqa: E402
from tests.support.chart_server import archive  # noqa: E402
from tests.support.charts import chart_component, helm, snapshot, uids, without_generated  # noqa: E402
from tests.support.cluster_client import absent, apply, kubectl, new_client, plan, read, subjects, unique  # noqa: E402
from tests.support.simulated_node import SimulatedNode  # noqa: E402

pytestmark = pytest.mark.apiserver
FIXTURES = ["web", "secrets", "hooks", "definitions"]
REAL = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")


@pytest.fixture(scope="module")
def client(api_server):
    return new_client(api_server)


@pytest.fixture(scope="module")
def node(client):
    with SimulatedNode(client) as node:
        yield node


@pytest.fixture
def name(client, node):
    """A name for component, release and namespace; whatever the test made of it is removed."""
    made = unique("r")
    yield made
    resource = client.resource("v1", "Namespace")
    client.delete(resource, made)


def run(client, *components):
    return engine.converge(engine.Request(descriptors=list(components), client=client))


# --- as plain Helm


def proof(client, kubeconfig, name, chart, values):
    """What Helm installs, and what we make of the same chart and values in the same place, side by side."""
    before = uids(client)
    path = chart_component(name, chart)["releases"][0]["chart"]
    helm(
        kubeconfig,
        "install",
        name,
        *path.values(),
        "--namespace",
        name,
        "--create-namespace",
        "--timeout",
        "90s",
        values=values,
    )
    theirs = snapshot(client, before)
    helm(kubeconfig, "uninstall", name, "--namespace", name, "--wait", "--no-hooks")
    kubectl(kubeconfig, "delete", "namespace", name, "--wait", "--timeout=90s")
    # What Helm leaves; definitions last, for with them goes the word for their objects.
    left = [document for document in theirs.values() if not document["metadata"].get("namespace")]
    for document in sorted(left, key=lambda document: document["kind"] == "CustomResourceDefinition"):
        version, __, group = document["apiVersion"].rpartition("/")[::-1]
        kind = f"{document['kind']}.{version}.{group}" if group else document["kind"]
        kubectl(kubeconfig, "delete", kind, document["metadata"]["name"], "--ignore-not-found", "--wait")
    client.forget_resources()
    apply(client, [chart_component(name, chart, values)])
    ours = snapshot(client, before)
    both = [without_generated(found, chart, name, name, values, client) for found in (theirs, ours)]
    # A second run is told apart from a first by some charts; ours was planned, applied and run again here.
    run(client, *absent(chart_component(name, chart, values)))
    return both


@pytest.mark.parametrize(
    "chart", [pytest.param(chart, marks=[] if chart == "web" else [pytest.mark.full]) for chart in FIXTURES]
)
def test_a_release_is_object_by_object_what_helm_installs(client, api_server, name, chart):
    theirs, ours = proof(client, api_server, name, chart, {})
    assert sorted(ours) == sorted(theirs)
    for key in theirs:
        assert ours[key] == theirs[key]
    assert len(ours) >= 3


def _refuse_addresses_of_pods(control_plane):
    """Webhooks of charts are refused at once: without a node they would be waited for, ten seconds each."""
    for network in ("198.18.255.0/24", "198.19.128.0/17"):
        route = [
            "ip",
            "netns",
            "exec",
            control_plane.config.namespace,
            "ip",
            "route",
            "replace",
            "unreachable",
            network,
        ]
        subprocess.run(route, check=True)


@pytest.mark.full
@pytest.mark.skipif(not REAL, reason="LLM_ON_EKS_TEST_CHARTS names no folder of chart archives")
@pytest.mark.parametrize("archive", sorted(Path(REAL).glob("*.tgz")) if REAL else [], ids=lambda path: path.stem)
def test_a_real_chart_is_object_by_object_what_helm_installs(client, control_plane, api_server, name, archive):
    beside = archive.with_suffix(".json")
    values = json.loads(beside.read_text().replace("${NAMESPACE}", name)) if beside.exists() else {}
    _refuse_addresses_of_pods(control_plane)
    theirs, ours = proof(client, api_server, name, archive, values)
    assert sorted(ours) == sorted(theirs)
    different = {key: (theirs[key], ours[key]) for key in theirs if ours[key] != theirs[key]}
    assert not different


# --- plans


def test_a_release_is_planned_on_an_empty_cluster_without_asking_anybody(name):
    planned = engine.converge(engine.Request(descriptors=[chart_component(name, "definitions")], check=True))
    assert not planned.errors
    assert f"Widget {name}/{name}" in subjects(planned)
    assert f"Gizmo {name}" in subjects(planned)
    assert "CustomResourceDefinition gadgets.fixture.example.com" in subjects(planned)


def test_a_plan_of_generated_values_is_the_same_each_time(client, name):
    component = chart_component(name, "secrets")
    assert plan(client, [component]) == plan(client, [component])


# --- what a chart generates


def secret(client, name, kind):
    return read(client, "v1", "Secret", f"{name}-{kind}", name)["data"]


def test_generated_values_are_kept_when_the_values_change(client, name):
    apply(client, [chart_component(name, "secrets")])
    first = {kind: secret(client, name, kind) for kind in ("kept", "key", "tls")}
    apply(client, [chart_component(name, "secrets", {"user": "other"})])
    assert secret(client, name, "tls") == first["tls"]
    assert secret(client, name, "key")["key"] == first["key"]["key"]
    assert secret(client, name, "kept")["password"] == first["kept"]["password"]
    assert secret(client, name, "key")["user"] != first["key"]["user"]


def test_a_chart_that_finds_what_it_made_is_rendered_once_more(client, name, monkeypatch):
    renderings = []
    real = render.binary.run
    monkeypatch.setattr(render.binary, "run", lambda *said, **more: renderings.append(1) or real(*said, **more))
    component = chart_component(name, "secrets")
    assert not run(client, component).errors
    renderings.clear()
    assert not run(client, component).actions
    assert len(renderings) == 1
    assert not run(client, component).actions
    assert len(renderings) == 1


def test_pods_restart_when_what_their_checksum_covers_has_changed(client, name):
    def checksum():
        return read(client, "apps/v1", "Deployment", name, name)["spec"]["template"]["metadata"]["annotations"]

    apply(client, [chart_component(name, "secrets")])
    first = checksum()
    apply(client, [chart_component(name, "secrets", {"user": "other"})])
    assert checksum() != first


def test_certificates_are_made_anew_together_when_one_of_them_is_lost(client, api_server, name):
    component = chart_component(name, "secrets")
    apply(client, [component])
    first = secret(client, name, "tls")
    kubectl(api_server, "delete", "secret", f"{name}-tls", "-n", name)
    apply(client, [component])
    webhook = read(client, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", f"{name}-{name}")
    assert secret(client, name, "tls")["ca.crt"] != first["ca.crt"]
    assert webhook["webhooks"][0]["clientConfig"]["caBundle"] == secret(client, name, "tls")["ca.crt"]


def test_ignored_fields_stay_as_they_live(client, api_server, name):
    component = chart_component(name, "web", ignore=["Deployment/* spec.template.spec.containers[web].image"])
    apply(client, [component])
    kubectl(api_server, "set", "image", f"deployment/{name}", "web=registry.invalid/web:2", "-n", name)
    assert not run(client, component).actions
    containers = read(client, "apps/v1", "Deployment", name, name)["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "registry.invalid/web:2"


def test_a_field_changed_by_hand_is_taken_back(client, api_server, name):
    component = chart_component(name, "web")
    apply(client, [component])
    kubectl(api_server, "set", "image", f"deployment/{name}", "web=registry.invalid/web:2", "-n", name)
    result = apply(client, [component])
    assert subjects(result) == [f"Deployment {name}/{name}"]


# --- upgrades


def test_an_upgrade_changes_definitions_and_drops_what_the_chart_no_longer_makes(client, name):
    apply(client, [chart_component(name, "definitions")])
    result = apply(client, [chart_component(name, "definitions", {"size": 4, "second": False})])
    assert [(action.verb, action.subject) for action in result.actions] == [
        ("update", f"Widget {name}/{name}"),
        ("delete", f"ConfigMap {name}/{name}-second"),
    ]
    run(client, *absent(chart_component(name, "definitions")))


def test_a_definition_that_two_charts_ship_is_kept_by_one(client, name):
    first = chart_component(name, "definitions")
    second = {
        **chart_component(f"{name}-b", "definitions", {"second": False}, namespace=f"{name}-b"),
        "requires": [name],
    }
    apply(client, [first, second])
    owner = read(client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.fixture.example.com")
    assert owner["metadata"]["labels"]["llm.on-eks/component"] == name
    run(client, *absent(first, second))


def test_pods_selectors_carry_no_mark_of_ours(client, name):
    apply(client, [chart_component(name, "web")])
    made = read(client, "apps/v1", "Deployment", name, name)
    assert made["metadata"]["labels"]["llm.on-eks/component"] == name
    assert made["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/instance": name}
    assert made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


# --- hooks


def pods_since(node, count):
    return ["-".join(pod.split("-")[3:-1]) for pod in node.started[count:]]


def test_hooks_run_by_weight_at_an_installation_and_not_again(client, node, name):
    count = len(node.started)
    run(client, chart_component(name, "hooks"))
    assert pods_since(node, count) == ["pre-install-2", "pre-install-10", "post-install-2", "post-install-10"]
    assert not run(client, chart_component(name, "hooks")).actions
    assert len(node.started) == count + 4


def test_an_upgrade_runs_its_own_hooks_and_renders_as_one(client, node, name):
    run(client, chart_component(name, "hooks"))
    count = len(node.started)
    result = run(client, chart_component(name, "hooks", {"note": "second"}))
    assert not result.errors
    assert pods_since(node, count) == ["pre-upgrade-2", "pre-upgrade-10", "post-upgrade-2", "post-upgrade-10"]
    assert read(client, "v1", "ConfigMap", name, name)["data"] == {"note": "second", "upgrade": "true"}
    assert not run(client, chart_component(name, "hooks", {"note": "second"})).actions


def test_hooks_leave_what_their_policies_say(client, name):
    run(client, chart_component(name, "hooks"))
    assert read(client, "v1", "ServiceAccount", f"{name}-early", name)
    assert read(client, "v1", "ConfigMap", f"{name}-fleeting", name) is None
    assert read(client, "batch/v1", "Job", f"{name}-pre-install-2", name) is None
    assert read(client, "batch/v1", "Job", f"{name}-pre-install-10", name)


def test_a_failing_hook_says_why_and_nothing_after_it_happens(client, name):
    result = run(client, chart_component(name, "hooks", {"fail": "pre-install"}))
    assert f"{name}: pre-install hook Job {name}/{name}-pre-install-2 failed" in result.errors[0]
    assert "ended with 3" in result.errors[0]
    assert read(client, "v1", "ConfigMap", name, name) is None


def test_a_mended_hook_runs_again(client, node, name):
    run(client, chart_component(name, "hooks", {"fail": "post-install"}))
    count = len(node.started)
    result = run(client, chart_component(name, "hooks"))
    assert not result.errors
    assert pods_since(node, count)[:2] == ["pre-install-2", "pre-install-10"]


def test_tests_of_a_chart_run_only_when_asked_for(client, node, name):
    component = chart_component(name, "hooks")
    run(client, component)
    assert read(client, "v1", "Pod", f"{name}-test", name) is None
    release = parse([component])[0].releases[0]
    ChartTests(name, release, name).run(context_of(Run(client)))
    assert read(client, "v1", "Pod", f"{name}-test", name)["status"]["phase"] == "Succeeded"


def test_a_removal_runs_its_hooks_and_leaves_nothing(client, node, name):
    run(client, chart_component(name, "hooks"))
    count = len(node.started)
    result = run(client, *absent(chart_component(name, "hooks")))
    assert not result.errors
    assert pods_since(node, count) == ["pre-delete-2", "pre-delete-10", "post-delete-2", "post-delete-10"]
    assert read(client, "v1", "Namespace", name) is None
    assert not run(client, *absent(chart_component(name, "hooks"))).actions


def test_a_removal_keeps_what_asks_to_stay(client, name):
    apply(client, [chart_component(name, "web")])
    run(client, *absent(chart_component(name, "web")))
    assert read(client, "v1", "ConfigMap", f"{name}-stays", name)
    assert read(client, "apps/v1", "Deployment", name, name) is None


# --- adoption


@pytest.fixture
def installed(api_server, name):
    """The fixture chart `web`, installed by plain Helm."""
    path = chart_component(name, "web")["releases"][0]["chart"]["path"]
    helm(api_server, "install", name, path, "--namespace", name, "--create-namespace", values={})
    return name


def test_a_release_of_plain_helm_is_not_taken_over_unasked(client, installed):
    result = run(client, chart_component(installed, "web"))
    assert "belongs to release" in result.errors[0]
    assert "adopt: true" in result.errors[0]
    made = read(client, "apps/v1", "Deployment", installed, installed)
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_a_release_of_plain_helm_is_adopted_on_request(client, api_server, installed):
    before = read(client, "apps/v1", "Deployment", installed, installed)
    result = run(client, chart_component(installed, "web", {"replicas": 2, "sidecar": {"enabled": False}}, adopt=True))
    assert not result.errors
    made = read(client, "apps/v1", "Deployment", installed, installed)
    assert made["metadata"]["uid"] == before["metadata"]["uid"]
    assert made["spec"]["replicas"] == 2
    assert not any(key.startswith("meta.helm.sh") for key in made["metadata"].get("annotations") or {})
    assert "adopt" in {action.verb for action in result.actions}
    assert helm(api_server, "list", "--namespace", installed, "--short") == ""
    notes = [note for one in result.components.values() for note in one.notes]
    assert any(f"ConfigMap {installed}/{installed}-side" in note for note in notes)


def test_a_second_run_after_an_adoption_changes_nothing(client, installed):
    component = chart_component(installed, "web", adopt=True)
    first = run(client, component)
    assert not first.errors
    assert not run(client, component).actions


def test_an_adoption_gets_over_a_controller_that_writes_meanwhile(client, api_server, installed):
    stale = read(client, "policy/v1", "PodDisruptionBudget", installed, installed)
    kubectl(api_server, "-n", installed, "annotate", "pdb", installed, "moved=on")
    takeover.take_over(client, stale)
    now = read(client, "policy/v1", "PodDisruptionBudget", installed, installed)
    assert not [entry for entry in now["metadata"]["managedFields"] if entry["manager"] == "helm"]
    assert now["metadata"]["annotations"]["moved"] == "on"


def test_an_adopted_field_that_the_chart_no_longer_sets_goes(client, api_server, installed):
    component = chart_component(installed, "web", adopt=True)
    run(client, component)
    managers = {
        entry["manager"] for entry in read(client, "v1", "Service", installed, installed)["metadata"]["managedFields"]
    }
    assert managers == {"llm.on_eks"}


def test_two_components_do_not_share_an_object(client, name):
    apply(client, [chart_component(name, "web")])
    other = {**chart_component(name, "web"), "name": f"{name}-other"}
    result = run(client, other)
    assert f"belongs to component {name}" in result.errors[0]


# --- secrets


PLANTED = {"password": "canary-one-5d1f", "apiToken": "canary-two-8e2a"}
LEAKY = {
    "secret.yaml": 'apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}}\nstringData: {a: "{{ .Values.password }}"}\n',
    "map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"
    'data: {conf: "token={{ .Values.apiToken }} {{ .Values.word }}"}\n',
    "fail.yaml": '{{ if .Values.refuse }}{{ fail (printf "no %s" .Values.password) }}{{ end }}\n',
}


def test_planted_secrets_turn_up_nowhere(client, api_server, name, tmp_path, monkeypatch):
    (tmp_path / "leaky.tgz").write_bytes(archive(name="leaky", templates=LEAKY))
    told, commands = [], []
    real = subprocess.run
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda *given, **more: commands.append((given, more.get("env"))) or real(*given, **more),  # pylint: disable=subprocess-run-check
    )
    hooks = engine.Hooks(
        finished=lambda done, check, masker: told.append(node_line(done, check, masker)), say=told.append
    )
    for values in ({"word": "one"}, {"word": "two"}, {"refuse": True}):
        component = chart_component(name, tmp_path / "leaky.tgz", {**PLANTED, **values})
        for check in (True, False):
            result = engine.converge(engine.Request(descriptors=[component], client=client, check=check, hooks=hooks))
            told += [repr(result_of(result, diff=True)), repr(plan_of(result))]
    assert commands
    assert any("no (secret)" in line for line in told if line)
    records = kubectl(api_server, "get", "configmaps", "-n", NAMESPACE_SYSTEM, "-o", "json")
    packed = [
        zlib.decompress(base64.b64decode(item["data"]["documents"])).decode()
        for item in json.loads(records)["items"]
        if "documents" in item["data"]
    ]
    for canary in PLANTED.values():
        encoded = base64.b64encode(canary.encode()).decode()
        for text in (*told, repr(commands), records, *packed):
            assert canary not in (text or "")
            assert encoded not in (text or "")


# --- faults


def test_a_chart_that_insists_on_a_value_fails_with_its_own_words(client, name):
    result = run(client, chart_component(name, "definitions", {"size": "large"}))
    assert name in result.errors[0]
    assert "spec.size" in result.errors[0]


def test_a_release_whose_pods_do_not_come_says_so(client, name):
    component = chart_component(name, "web", timeout=1)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    client.apply(client.resource("v1", "Namespace"), namespace)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": name}}
    client.apply(client.resource("v1", "ResourceQuota"), {**quota, "spec": {"hard": {"pods": "0"}}})
    result = run(client, component)
    assert f"Deployment {name}/{name} not Available after 1 s" in result.errors[0]
