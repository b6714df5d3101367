# SPDX-License-Identifier: Apache-2.0
"""Whose an object is: nothing of anybody else is deleted or changed unasked, and nothing that we took over keeps old fields.

Seen in: helm/helm (foreign Jobs and hooks), fluxcd/flux2 and kubernetes/kubectl (before-first-apply), argoproj/argo-cd (two
applications with one object).
"""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import apply, component, config_map, deployment, read, subjects

pytestmark = pytest.mark.apiserver


def run(client, components, **options):
    return engine.converge(engine.Request(descriptors=components, client=client, **options))


def job(name):
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "registry.test/app:1"}]}
    spec = {"template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def secret(**texts):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": texts}


@pytest.mark.parametrize("check", [True, False])
def test_a_job_of_somebody_else_is_refused_and_lives_on(client, kubectl, name, check):
    kubectl("create", "namespace", name)
    kubectl("-n", name, "create", "job", "backup", "--image=registry.test/precious:1")
    before = read(client, "batch/v1", "Job", "backup", name)["metadata"]["uid"]
    described = {"name": name, "namespace": {"name": name}, "jobs": [{"manifest": job("backup"), "timeout": 5}]}
    (error,) = run(client, [described], check=check).errors
    assert f"Job {name}/backup exists and is not ours" in error and "`adopt: true`" in error
    assert read(client, "batch/v1", "Job", "backup", name)["metadata"]["uid"] == before
    kubectl("delete", "namespace", name, "--wait=false")


def test_a_label_that_only_the_owner_may_give_a_namespace_is_said_with_the_command(client, kubectl, name):
    """A mesh, for instance, knows its pods by their namespace's label."""
    kubectl("create", "namespace", name)
    described = component(name, config_map("a")) | {"namespace": {"name": name, "labels": {"mesh": "on"}}}
    said = run(client, [described]).components[name].notes
    assert f"kubectl label namespace {name} mesh=on" in " ".join(said)
    kubectl("label", "namespace", name, "mesh=on")
    assert not run(client, [described]).components[name].notes
    kubectl("delete", "namespace", name, "--wait=false")


def test_a_label_comes_when_what_its_component_requires_is_there_and_stays(client, name):
    first = component(f"{name}-proxies", config_map("a")) | {"namespace": {"name": f"{name}-proxies"}}
    here = {"namespace": {"name": name}}
    mesh = component(f"{name}-mesh") | {
        "requires": [f"{name}-proxies"],
        "namespace": {"name": name, "labels": {"mesh": "on"}},
    }
    app = component(f"{name}-app", config_map("b")) | here
    planned = run(client, [first, mesh, app], check=True)
    made = run(client, [first, mesh, app])
    assert not made.errors and subjects(planned) == subjects(made)
    assert read(client, "v1", "Namespace", name)["metadata"]["labels"]["mesh"] == "on"
    assert not run(client, [first, mesh, app]).actions
    assert not run(client, [app, first, mesh], only=[f"{name}-app"]).actions
    run(client, [{**one, "state": "absent"} for one in (first, mesh, app)])


@pytest.mark.parametrize("kind", ["Job", "ConfigMap"])
@pytest.mark.parametrize("check", [True, False])
def test_a_hook_never_takes_the_place_of_what_somebody_else_made(client, kubectl, name, tmp_path, kind, check):
    hook = job("setup") if kind == "Job" else config_map("setup")
    hook["metadata"]["annotations"] = {"helm.sh/hook": "pre-install"}
    chart = chart_of(tmp_path, hook, config_map("after"))
    kubectl("create", "namespace", name)
    theirs = job("setup") if kind == "Job" else config_map("setup", theirs="yes")
    kubectl("-n", name, "create", "-f", "-", given=theirs)
    api = "batch/v1" if kind == "Job" else "v1"
    before = read(client, api, kind, "setup", name)["metadata"]
    described = released(name, chart, timeout=5)
    (error,) = run(client, [described], check=check).errors
    assert f"{kind} {name}/setup exists and is not ours" in error
    after = read(client, api, kind, "setup", name)["metadata"]
    assert (after["uid"], after.get("labels")) == (before["uid"], before.get("labels"))
    kubectl("delete", "namespace", name, "--wait=false")


def test_two_texts_for_one_object_are_refused_before_anything_is_touched(client, name):
    one, other = component(f"{name}-a", config_map("a", name)), component(f"{name}-b", config_map("a", name))
    with pytest.raises(DescriptorError, match=f"{name}-a and {name}-b both describe ConfigMap {name}/a"):
        run(client, [one, other])
    with pytest.raises(DescriptorError, match=f"describes ConfigMap {name}/a twice"):
        run(client, [component(name, config_map("a"), config_map("a", other="text"))])
    wide = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [],
    }
    with pytest.raises(DescriptorError, match=f"both describe ClusterRole {name}"):
        run(client, [component(f"{name}-a", wide), component(f"{name}-b", wide)])
    assert read(client, "v1", "Namespace", name) is None


def test_a_chart_and_a_manifest_with_one_object_are_refused_naming_both(client, name, tmp_path):
    chart = chart_of(tmp_path, config_map("shared", place="chart"))
    described = [
        released(f"{name}-chart", chart, namespace=name),
        {**component(f"{name}-own", config_map("shared", place="manifest")), "namespace": {"name": name}},
    ]
    errors = run(client, described, check=True).errors
    assert [f"both describe ConfigMap {name}/shared" in error for error in errors] == [True]
    assert f"{name}-chart" in errors[0] and f"{name}-own" in errors[0]


def test_a_chart_that_makes_one_object_twice_is_refused(client, name, tmp_path):
    chart = chart_of(tmp_path, config_map("shared", level="1"), config_map("shared", level="2"))
    (error,) = run(client, [released(name, chart)], check=True).errors
    assert "makes ConfigMap shared twice" in error or f"makes ConfigMap {name}/shared twice" in error


def test_a_key_that_goes_from_string_data_goes_from_the_secret(client, name):
    apply(client, [component(name, secret(user="admin", password="sesame-77"))])
    result = apply(client, [component(name, secret(login="root", password="sesame-77"))])
    assert subjects(result, "update") == [f"Secret {name}/login"]
    assert set(read(client, "v1", "Secret", "login", name)["data"]) == {"login", "password"}


def test_a_key_that_an_earlier_version_wrote_by_string_data_goes_by_the_record(client, kubectl, name):
    """Until now stringData was applied as such: nobody held its keys."""
    described = component(name, secret(user="admin", password="sesame-77"))
    apply(client, [described])
    resource = client.resource("v1", "Secret")
    live = client.get(resource, "login", name)
    for entry in live["metadata"]["managedFields"]:
        entry["fieldsV1"].pop("f:data", None)
    client.replace(resource, live)
    assert not run(client, [described]).errors
    result = apply(client, [component(name, secret(password="sesame-77"))])
    assert [change.path for action in result.actions for change in action.changes if "user" in change.path]
    assert set(read(client, "v1", "Secret", "login", name)["data"]) == {"password"}


@pytest.mark.parametrize("how", ["apply", "create", "replace"])
def test_what_a_tool_wrote_of_an_adopted_object_goes_with_the_adoption(client, kubectl, name, how):
    kubectl("create", "namespace", name)
    theirs = deployment("web", replicas=0)
    theirs["metadata"] |= {"namespace": name, "annotations": {"example.com/old": "yes"}, "labels": {"old": "yes"}}
    theirs["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "OLD", "value": "1"}]
    kubectl("create" if how == "replace" else how, "-f", "-", given=theirs)
    if how == "replace":
        kubectl("replace", "-f", "-", given=theirs)
    described = component(name, deployment("web", replicas=0), adopt=True)
    planned = run(client, [described], check=True)
    done = run(client, [described])
    assert not done.errors
    paths = {change.path for action in done.actions for change in action.changes}
    assert {change.path for action in planned.actions for change in action.changes} == paths
    live = read(client, "apps/v1", "Deployment", "web", name)
    assert "example.com/old" not in live["metadata"].get("annotations", {})
    assert "old" not in live["metadata"]["labels"]
    assert "env" not in live["spec"]["template"]["spec"]["containers"][0]
    assert not run(client, [described]).actions
    kubectl("delete", "namespace", name, "--wait=false")


def chart_of(folder, *documents):
    """A chart with these objects and nothing to set."""
    import json

    (folder / "templates").mkdir(exist_ok=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: wild\nversion: 0.1.0\n")
    text = "\n---\n".join(json.dumps(document) for document in documents)
    (folder / "templates" / "all.yaml").write_text(text)
    return folder


def released(name, chart, *, namespace="", timeout=30, **values):
    release = {"name": "wild", "chart": {"path": str(chart)}, "timeout": timeout, "values": values}
    return {"name": name, "namespace": {"name": namespace or name}, "releases": [release]}
