# SPDX-License-Identifier: Apache-2.0
"""Public reports about tools that do this job, tried on converge. Each test names where it comes from."""

from __future__ import annotations

import base64
import json
import os
import time

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import absent, apply, component, config_map, deployment, read, subjects
from tests.support.waiting import until

pytestmark = pytest.mark.apiserver


def converge(client, *components, **options):
    return engine.converge(engine.Request(descriptors=components, client=client, **options))


@pytest.fixture
def home(kubectl, name):
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


# --- prune


def denial_of_deletion(name):
    """A policy by which nobody deletes a ConfigMap of the namespace `name`."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"]}
    where = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    spec = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": where},
        "validations": [{"expression": "false", "message": "kept by policy"}],
    }
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    bound = {"policyName": name, "validationActions": ["Deny"]}
    yield {**head, "kind": "ValidatingAdmissionPolicy", "spec": spec}
    yield {**head, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound}


# https://github.com/fluxcd/kustomize-controller/issues/1664
def test_what_could_not_be_pruned_is_pruned_by_a_later_run(client, kubectl, home):
    apply(client, [component(home, config_map("a"), config_map("b"))])
    kubectl("-n", home, "create", "configmap", "probe")
    for one in denial_of_deletion(home):
        kubectl("apply", "-f", "-", given=one)
    denied = ("-n", home, "delete", "configmap", "probe", "--dry-run=server")
    until(lambda: not kubectl(*denied, check=False))
    (error,) = converge(client, component(home, config_map("a"))).errors
    assert f"ConfigMap {home}/b: " in error and "kept by policy" in error
    kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", home)
    until(lambda: kubectl(*denied, check=False))
    again = converge(client, component(home, config_map("a")))
    assert not again.errors and subjects(again, "delete") == [f"ConfigMap {home}/b"]


def webhook(name, namespace):
    """A webhook for new ConfigMaps of a namespace, which nobody serves."""
    hook = {
        "name": "check.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"service": {"name": "no", "namespace": namespace}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
    }
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    return {**head, "metadata": {"name": name}, "webhooks": [hook]}


# https://github.com/argoproj/argo-cd/issues/19803, https://github.com/kubernetes/kubernetes/pull/67743
def test_a_webhook_that_is_no_longer_described_is_pruned_before_what_serves_it(client, name):
    apply(client, [component(name, deployment("serves", replicas=0), webhook(name, name))])
    result = apply(client, [component(name)])
    gone = [f"ValidatingWebhookConfiguration {name}", f"Deployment {name}/serves"]
    assert subjects(result, "delete") == gone


def definition(group, *versions, storage, served=True):
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    made = [
        {"name": one, "served": served or one == storage, "storage": one == storage, "schema": schema}
        for one in versions
    ]
    names = {"kind": "Thing", "plural": "things"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": made},
    }


def thing(group, version):
    return {"apiVersion": f"{group}/{version}", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"a": version}}


# https://github.com/helm/helm/issues/8413, https://github.com/rancher/rancher/issues/32694
def test_objects_whose_kind_is_gone_stop_neither_a_run_nor_a_removal(client, kubectl, name):
    group = f"{name}.example.com"
    kubectl("create", "-f", "-", given=definition(group, "v1", storage="v1"))
    kubectl("wait", "crd", f"things.{group}", "--for=condition=Established", "--timeout=30s")
    client.forget_resources()
    until(lambda: client.forget_resources() or client.resource(f"{group}/v1", "Thing"))
    described = component(name, thing(group, "v1"), config_map("a"))
    apply(client, [described])
    kubectl("delete", "crd", f"things.{group}")
    client.forget_resources()
    apply(client, [component(name, config_map("a"))])
    gone = converge(client, *absent(described))
    assert not gone.errors and f"ConfigMap {name}/a" in subjects(gone, "delete")


# https://github.com/helm/helm/issues/7219, https://github.com/helm/helm/issues/7361
def test_an_object_in_a_newer_version_of_its_kind_stays_the_same_object(client, name):
    group = f"{name}.example.com"
    old = definition(group, "v1beta1", "v1", storage="v1beta1")
    apply(client, [component(name, thing(group, "v1beta1"), crds=[old])])
    uid = read(client, f"{group}/v1", "Thing", "one", name)["metadata"]["uid"]
    for served in (True, False):
        new = definition(group, "v1beta1", "v1", storage="v1", served=served)
        described = component(name, thing(group, "v1"), crds=[new])
        assert not converge(client, described).errors
        assert not converge(client, described).actions
        assert read(client, f"{group}/v1", "Thing", "one", name)["metadata"]["uid"] == uid
    assert not converge(client, *absent(described), lose_data=("all",)).errors


# https://github.com/pipe-cd/pipecd/issues/5213
def test_an_object_that_moves_to_another_namespace_leaves_the_old_one(client, kubectl, home):
    kubectl("create", "namespace", f"{home}-o")
    apply(client, [component(home, config_map("a", home))])
    apply(client, [component(home, config_map("a", f"{home}-o"))])
    assert read(client, "v1", "ConfigMap", "a", home) is None


@pytest.mark.full
def test_a_namespace_that_somebody_deleted_comes_back_with_all_in_it(client, kubectl, name):
    described = component(name, config_map("a"), secrets=[{"name": "k", "generate": {"key": 32}}])
    apply(client, [described])
    kubectl("delete", "namespace", name)
    apply(client, [described])
    kubectl("delete", "namespace", name, "--wait=false")
    assert not converge(client, *absent(described)).errors


# https://github.com/helm/helm/issues/7126, https://github.com/prometheus-community/helm-charts/issues/3654
def test_a_component_larger_than_one_object_can_be_is_recorded(client, name):
    maps = [config_map(f"m{n}", big=base64.b64encode(os.urandom(700_000)).decode()) for n in range(2)]
    described = component(name, *maps)
    assert not converge(client, described).errors
    again = converge(client, described)
    assert not again.errors and not again.actions
    recorded = engine.context_for(client, check=True).run.recorder.documents(name, 1)
    assert [one["metadata"]["name"] for one in recorded] == ["m0", "m1"]
    less = converge(client, component(name, maps[0]))
    assert subjects(less, "delete") == [f"ConfigMap {name}/m1"]
    assert not converge(client, *absent(described)).errors
    resource = client.resource("v1", "ConfigMap")
    assert not [one for one in client.list(resource, "llm-system") if name in one["metadata"]["name"]]


# --- what pods say, and webhooks


# https://github.com/helm/helm/issues/3875, https://github.com/werf/kubedog/issues/398
@pytest.mark.parametrize(
    ("obstacle", "words", "within_s"),
    [
        (("create", "quota", "q", "--hard=pods=0"), "raise the quota", 12),
        (("label", "namespace", "{}", "pod-security.kubernetes.io/enforce=restricted"), "`namespace.pod_security`", 8),
    ],
    ids=["quota", "pod security"],
)
def test_a_wait_for_pods_that_may_not_be_made_says_why(client, kubectl, home, obstacle, words, within_s):
    kubectl("-n", home, *(word.format(home) for word in obstacle))
    described = {"name": home, "namespace": {"name": home}, "manifests": [deployment("web")]}
    described["wait"] = [{"kind": "Deployment", "name": "web", "timeout": 6 if words.startswith("raise") else 60}]
    begun = time.monotonic()
    (error,) = converge(client, described).errors
    assert "no pod can be made" in error and words in error
    assert time.monotonic() - begun < within_s + 20


# https://github.com/cert-manager/cert-manager/issues/5483, https://github.com/flant/cert-manager-webhook-regru/issues/11
def test_a_webhook_that_nobody_serves_is_named_with_what_helps(client, kubectl, home):
    kubectl("create", "-f", "-", given=webhook(home, home))
    asked = ("-n", home, "create", "configmap", "probe", "--dry-run=server")
    until(lambda: not kubectl(*asked, check=False))
    (error,) = converge(client, component(home, config_map("a")), check=True).errors
    kubectl("delete", "validatingwebhookconfiguration", home)
    assert "the webhook check.example.com does not answer: mend what serves it" in error


# --- Jobs, replicas, fields


def chart(folder, text):
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: wild\nversion: 0.1.0\n")
    (folder / "templates" / "all.yaml").write_text(text)
    return {"name": folder.name, "chart": {"path": str(folder)}, "timeout": 20}


# https://github.com/argoproj/argo-cd/issues/8586, https://github.com/hashicorp/terraform-provider-kubernetes/issues/2531
@pytest.mark.parametrize("place", ["manifests", "releases"])
def test_a_job_with_a_time_to_live_runs_once_wherever_it_is_described(client, kubectl, name, tmp_path, place):
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "registry.test/app:1"}]}
    spec = {"ttlSecondsAfterFinished": 3, "suspend": False, "template": {"spec": pod}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}
    described = {"name": name, "namespace": {"name": name}}
    described[place] = [job] if place == "manifests" else [chart(tmp_path / "wild", json.dumps(job))]

    def ends():
        for one in kubectl("-n", name, "get", "pods", "-o", "name", check=False).split():
            patch = ("--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Succeeded"}}')
            kubectl("-n", name, "patch", one, *patch, check=False)
        return read(client, "batch/v1", "Job", "j", name) is None

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(converge, client, described)
        until(lambda: read(client, "batch/v1", "Job", "j", name))
        until(ends)
        assert not first.result().errors
    assert not converge(client, described, check=True).actions
    again = converge(client, described)
    assert not again.errors and not again.actions
    (job if place == "manifests" else {})["spec"] = {**spec, "backoffLimit": 1}
    if place == "manifests":
        assert subjects(converge(client, described, check=True)) == [f"Job {name}/j"]


# https://github.com/kubernetes/kubernetes/issues/25238, https://github.com/kubernetes/website/pull/29739
def test_replicas_that_pass_to_an_autoscaler_keep_their_number(client, name):
    apply(client, [component(name, deployment("web", replicas=3))])
    free = deployment("web", replicas=3)
    del free["spec"]["replicas"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    scaler["spec"] = {"minReplicas": 2, "maxReplicas": 5, "scaleTargetRef": target}
    result = apply(client, [component(name, free, scaler)])
    assert subjects(result) == [f"HorizontalPodAutoscaler {name}/web"]
    assert any("spec.replicas is left to its autoscaler" in one for one in result.components[name].notes)
    assert read(client, "apps/v1", "Deployment", "web", name)["spec"]["replicas"] == 3
    # Without an autoscaler, what is no longer described goes back to the API's default, as the plan says.
    apply(client, [component(f"{name}-b", deployment("web", replicas=3))])
    apply(client, [component(f"{name}-b", free)])
    assert read(client, "apps/v1", "Deployment", "web", f"{name}-b")["spec"]["replicas"] == 1


# https://github.com/argoproj/argo-cd/issues/21135, .../15898, https://github.com/hashicorp/terraform-provider-kubernetes/issues/1376
def test_other_spellings_of_the_same_object_are_no_change(client, name):
    amounts = {"requests": {"memory": "1000M", "cpu": "1000m", "ephemeral-storage": "0.5Gi"}, "limits": {"cpu": 2}}
    made = deployment("web", replicas=0)
    made["metadata"]["annotations"] = {}
    made["spec"]["revisionHistoryLimit"] = 10
    pod = made["spec"]["template"]["spec"]
    pod |= {"nodeSelector": None, "affinity": {}, "tolerations": [], "volumes": None, "securityContext": {}}
    pod["containers"][0] |= {"env": [], "resources": amounts, "args": None, "livenessProbe": None}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1000Mi"}}}
    whole = deployment("db", replicas=0, serviceName="db")
    whole["kind"] = "StatefulSet"
    whole["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "d"}, "spec": claim}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    role |= {"metadata": {"name": f"system:{name}:x"}, "rules": []}
    described = component(name, made, whole, role)
    apply(client, [described])


# The API's answer about a claim holds a difference of many lines.
def test_a_refusal_is_one_line(client, name):
    def claim(size):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": spec}

    apply(client, [component(name, claim("2Gi"))])
    (error,) = converge(client, component(name, claim("1Gi")), check=True).errors
    assert "\n" not in error and "@@" not in error and "`recreate`" in error


# --- charts


# https://github.com/argoproj/argo-cd/issues/22607: a resource of two applications
def test_two_releases_of_one_component_with_one_object_are_refused(client, name, tmp_path):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {from: '{{ .Release.Name }}'}\n"
    described = {"name": name, "namespace": {"name": name}}
    described["releases"] = [chart(tmp_path / one, text) for one in ("first", "second")]
    for check in (True, False):
        (error,) = converge(client, described, check=check).errors
        assert f"release first and release second of component {name} both make ConfigMap {name}/shared" in error
    assert read(client, "v1", "ConfigMap", "shared", name)["data"] == {"from": "first"}


HOOKED = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: wipe, annotations: {helm.sh/hook: pre-delete}}
spec: {restartPolicy: Never, containers: [{name: a, image: 'registry.test/app:1'}]}
"""


# https://github.com/helm/helm/issues/10820, https://github.com/helm/helm/issues/9241: deletion protection with pre-delete hooks
def test_a_refused_removal_runs_no_hook(client, name, tmp_path):
    described = {"name": name, "namespace": {"name": name}, "releases": [chart(tmp_path / "wild", HOOKED)]}
    assert not converge(client, described).errors
    (error,) = converge(client, *absent(described)).errors
    assert f"PersistentVolumeClaim {name}/files would be deleted, which loses data" in error
    assert read(client, "v1", "Pod", "wipe", name) is None


FAILING = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kept}
---
apiVersion: v1
kind: Pod
metadata: {name: farewell, annotations: {helm.sh/hook: pre-delete}}
spec: {restartPolicy: Never, containers: [{name: a, image: 'registry.test/app:1'}]}
"""


# https://github.com/helm/helm/issues/9700, https://github.com/fluxcd/helm-controller/issues/1327
def test_a_removal_whose_hook_fails_keeps_all_and_goes_on_once_the_hook_is_off(client, name, tmp_path):
    release = chart(tmp_path / "wild", FAILING)
    described = {"name": name, "namespace": {"name": name}, "releases": [release | {"timeout": 3}]}
    assert not converge(client, described).errors
    (error,) = converge(client, *absent(described)).errors
    assert f"pre-delete hook Pod {name}/farewell did not end within 3 s" in error
    assert read(client, "v1", "ConfigMap", "kept", name)
    (tmp_path / "wild" / "templates" / "all.yaml").write_text(FAILING.partition("---")[0])
    gone = converge(client, *absent(described))
    assert not gone.errors and f"ConfigMap {name}/kept" in subjects(gone, "delete")
