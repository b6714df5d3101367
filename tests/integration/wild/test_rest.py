# SPDX-License-Identifier: Apache-2.0
"""A second run changes nothing, whatever controllers do in between.

Seen in: argoproj/argo-cd (aggregated ClusterRoles out of sync), helmfile and terraform (Jobs with a time to live).
"""

import threading

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import drift
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import absent, component, config_map, kubectl, read, subjects
from tests.support.waiting import until

pytestmark = pytest.mark.apiserver


def run(client, components, **options):
    return engine.converge(engine.Request(descriptors=components, client=client, **options))


def cluster_role(name, **more):
    meta = {"name": name, **more.pop("metadata", {})}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, **more}


@pytest.mark.parametrize("rules", [None, [], [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]])
def test_rules_that_the_aggregation_controller_fills_are_its_own(client, name, rules):
    whole = cluster_role(name, aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"part-of": name}}]})
    if rules is not None:
        whole["rules"] = rules
    read_pods = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    part = cluster_role(f"{name}-part", metadata={"labels": {"part-of": name}}, rules=read_pods)
    described = [{"name": name, "manifests": [whole, part]}]
    assert not run(client, described).errors
    until(lambda: read(client, "rbac.authorization.k8s.io/v1", "ClusterRole", name).get("rules") == read_pods)
    again = run(client, described)
    assert not again.errors and not again.actions
    assert read(client, "rbac.authorization.k8s.io/v1", "ClusterRole", name)["rules"] == read_pods
    looked = run(client, described, check=True, lose_data=["all"])
    assert drift.report_of(looked, "test").state == "none"
    run(client, absent(*described))


def finish(kubeconfig, namespace, ended):
    """Stands in for a kubelet: pods of Jobs end well."""
    while not ended.wait(0.3):
        for pod in kubectl(kubeconfig, "-n", namespace, "get", "pods", "-o", "name", check=False).split():
            patch = ["-n", namespace, "patch", pod, "--subresource=status", "--type=merge", "-p"]
            kubectl(kubeconfig, *patch, '{"status":{"phase":"Succeeded"}}', check=False)


@pytest.fixture
def jobs_end(api_server, name):
    ended = threading.Event()
    thread = threading.Thread(target=finish, args=(api_server, name, ended))
    thread.start()
    yield
    ended.set()
    thread.join()


def seed(image="registry.test/app:1", **spec):
    pod = {"restartPolicy": "Never", "containers": [{"name": "seed", "image": image}]}
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "seed"},
        "spec": {**spec, "template": {"spec": pod}},
    }
    return {"manifest": manifest, "timeout": 60}


# Longer than a loaded machine takes to see that a Job has ended.
TTL_S = 5


def test_a_job_with_a_time_to_live_runs_once_for_each_content(client, name, jobs_end):
    described = component(name, jobs=[seed(ttlSecondsAfterFinished=TTL_S)])
    assert subjects(run(client, [described]), "run") == [f"Job {name}/seed"]
    until(lambda: read(client, "batch/v1", "Job", "seed", name) is None)
    assert not run(client, [described], check=True).actions
    again = run(client, [described])
    assert not again.errors and not again.actions
    other = component(name, jobs=[seed(image="registry.test/app:2", ttlSecondsAfterFinished=TTL_S)])
    assert subjects(run(client, [other], check=True), "run") == [f"Job {name}/seed"]
    assert subjects(run(client, [other]), "run") == [f"Job {name}/seed"]
    run(client, absent(other))


def test_a_job_without_one_that_somebody_deleted_runs_again(client, kubectl, name, jobs_end):
    described = component(name, jobs=[seed()])
    assert not run(client, [described]).errors
    kubectl("-n", name, "delete", "job", "seed")
    assert subjects(run(client, [described], check=True), "run") == [f"Job {name}/seed"]
    run(client, absent(described))


def test_a_job_of_a_chart_that_has_ended_runs_anew_when_its_text_changes(client, name, jobs_end, tmp_path):
    """Helm's charts name such Jobs by the release's revision, which is always the first where Helm only renders."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: wild\nversion: 0.1.0\n")
    (tmp_path / "templates" / "job.yaml").write_text(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: 'setup-{{ .Release.Revision }}'}\nspec:\n  template:\n    spec:\n"
        "      restartPolicy: Never\n      containers: [{name: a, image: 'registry.test/app:{{ .Values.tag }}'}]\n"
    )
    for tag in ("1", "2", "3"):
        release = {"name": "wild", "chart": {"path": str(tmp_path)}, "timeout": 60, "values": {"tag": tag}}
        described = {"name": name, "namespace": {"name": name}, "releases": [release]}
        done = run(client, [described])
        assert not done.errors
        job = read(client, "batch/v1", "Job", "setup-1", name)
        assert job["spec"]["template"]["spec"]["containers"][0]["image"] == f"registry.test/app:{tag}"
        assert not run(client, [described]).actions
    run(client, absent(described))


def test_a_workload_that_waits_for_its_own_later_hook_does_not_hold_it_up(client, name, jobs_end, tmp_path):
    """Helm without --wait installs such a chart: its migration runs after what needs it was made."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: wild\nversion: 0.1.0\n")
    (tmp_path / "templates" / "all.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: none}\nspec: {containers: [{name: a, image: 'registry.test/app:1'}]}\n"
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {a: b}}\n"
        "  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: 'registry.test/app:1'}]}}\n"
        "---\napiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {helm.sh/hook: post-install}\n"
        "spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'registry.test/app:1'}]}}}\n"
    )
    release = {"name": "wild", "chart": {"path": str(tmp_path)}, "timeout": 8}
    described = {"name": name, "namespace": {"name": name}, "releases": [release]}
    (error,) = run(client, [described]).errors
    # There is no node: the Deployment never gets ready. What counts is that its hook ran.
    assert f"Deployment {name}/web not Available after 8 s" in error
    assert read(client, "batch/v1", "Job", "migrate", name)["status"].get("succeeded") == 1
    run(client, absent(described))


def test_an_exported_manifest_is_applied_without_what_the_server_wrote(client, kubectl, name):
    import json

    described = component(name, config_map("a"))
    assert not run(client, [described]).errors
    kubectl("-n", name, "create", "configmap", "b", "--from-literal=x=y")
    exported = json.loads(kubectl("-n", name, "get", "configmap", "b", "-o", "json", "--show-managed-fields"))
    kubectl("-n", name, "delete", "configmap", "b")
    described = component(name, config_map("a"), exported)
    assert not run(client, [described], check=True).errors
    assert not run(client, [described]).errors
    again = run(client, [described])
    assert not again.errors and not again.actions
    run(client, absent(described))


def test_an_object_without_a_namespace_is_refused_in_plain_words(client, name):
    described = {"name": name, "manifests": [config_map("a")]}
    for check in (True, False):
        (error,) = run(client, [described], check=check).errors
        assert "ConfigMap a has no namespace; write metadata.namespace" in error
