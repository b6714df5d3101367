# SPDX-License-Identifier: Apache-2.0
"""A refusal says what helps: rights where rights are missing, and the quota, the policy or the namespace where it is these.

Seen in: helm/helm, kubernetes/kubernetes, hashicorp/terraform-provider-kubernetes.
"""

import json
import time

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import ApiError, Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import connect
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import component, config_map

pytestmark = pytest.mark.apiserver
RIGHTS = "give these credentials the right"


def refused(client, *manifests, name, **options):
    described = component(name, *manifests)
    begun = time.monotonic()
    errors = engine.converge(engine.Request(descriptors=[described], client=client, **options)).errors
    assert time.monotonic() - begun < 10
    assert len(errors) == 1
    return errors[0]


@pytest.fixture
def home(kubectl, name):
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def test_a_quota_is_no_missing_right(client, kubectl, home):
    kubectl("-n", home, "create", "quota", "q", "--hard=count/services=0")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    time.sleep(1)
    error = refused(client, service, name=home)
    assert "exceeded quota" in error and "raise the quota" in error and RIGHTS not in error


def test_pod_security_is_no_missing_right(client, kubectl, home):
    kubectl("label", "namespace", home, "pod-security.kubernetes.io/enforce=restricted")
    container = {"name": "c", "image": "x", "securityContext": {"privileged": True}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
    error = refused(client, pod, name=home)
    assert "violates PodSecurity" in error and "`namespace.pod_security`" in error and RIGHTS not in error


def test_a_limit_range_is_no_missing_right(client, kubectl, home):
    limits = {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}
    kubectl(
        "-n", home, "create", "-f", "-",
        given={"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": limits},
    )  # fmt: skip
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "v"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
    }
    error = refused(client, claim, name=home)
    assert "maximum storage usage" in error and "LimitRange" in error and RIGHTS not in error


def test_a_namespace_that_goes_is_no_missing_right(client, kubectl, home):
    kubectl("-n", home, "create", "configmap", "held")
    hold = ["-n", home, "patch", "configmap", "held", "--type=merge", "-p"]
    kubectl(*hold, '{"metadata":{"finalizers":["example.com/hold"]}}')
    kubectl("delete", "namespace", home, "--wait=false")
    described = {"name": f"{home}-b", "manifests": [config_map("x", home)]}
    (error,) = engine.converge(engine.Request(descriptors=[described], client=client)).errors
    kubectl(*hold, '{"metadata":{"finalizers":[]}}')
    assert "being terminated" in error and "wait until" in error and RIGHTS not in error


def test_a_missing_right_is_one(api_server, kubectl, home):
    client = Client(connect(kubeconfig=str(api_server), impersonate_user="jane"))
    with pytest.raises(ApiError, match=f'User "jane" cannot list resource .*{RIGHTS}'):
        engine.converge(engine.Request(descriptors=[component(home, config_map("a"))], client=client, check=True))


@pytest.mark.parametrize(
    ("field", "entries", "word"),
    [
        ("env", [{"name": "FOO", "value": "a"}, {"name": "FOO", "value": "b"}], "FOO"),
        ("ports", [{"containerPort": 93}, {"containerPort": 93}], "93"),
        ("volumeMounts", [{"name": "a", "mountPath": "/x"}, {"name": "b", "mountPath": "/x"}], "/x"),
    ],
)
def test_entries_that_are_there_twice_are_refused_at_once_and_by_the_plan(client, name, field, entries, word):
    from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError

    pod = {
        "containers": [{"name": "app", "image": "registry.test/app:1", field: entries}],
        "volumes": [{"name": one, "emptyDir": {}} for one in "ab"],
    }
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod},
        },
    }
    with pytest.raises(DescriptorError, match=f"Deployment {name}/app: .*{field} has .* {word} twice"):
        refused(client, workload, name=name, check=True)


def test_what_the_api_refuses_by_its_nature_is_not_asked_again(client, kubectl, home):
    """A 500 that is about the request: six attempts give the same answer."""
    resource = client.resource("apps/v1", "Deployment")
    env = [{"name": "FOO", "value": "a"}, {"name": "FOO", "value": "b"}]
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": home},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "app", "image": "x", "env": env}]},
            },
        },
    }
    begun = time.monotonic()
    with pytest.raises(Exception, match="duplicate entries"):
        client.apply(resource, json.loads(json.dumps(document)))
    assert time.monotonic() - begun < 2
