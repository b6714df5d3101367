# SPDX-License-Identifier: Apache-2.0
"""Objects whose controller clears their finalizers go before that controller. Seen in: VictoriaMetrics/helm-charts 2726."""

import threading

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import absent, apply, component, deployment, kubectl, read

pytestmark = pytest.mark.apiserver


def thing(group):
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [version],
        },
    }


def operate(kubeconfig, namespace, group, ended):
    """Stands in for an operator: it clears the finalizer of what is being deleted, as long as its Deployment is there."""
    while not ended.wait(0.2):
        alive = kubectl(kubeconfig, "-n", namespace, "get", "deployment", "operator", "-o", "name", check=False)
        mark = "jsonpath={.metadata.deletionTimestamp}"
        going = kubectl(kubeconfig, "-n", namespace, "get", f"things.{group}", "one", "-o", mark, check=False)
        if alive and going:
            patch = ["-n", namespace, "patch", f"things.{group}", "one", "--type=merge", "-p"]
            kubectl(kubeconfig, *patch, '{"metadata":{"finalizers":[]}}', check=False)


def test_objects_with_finalizers_go_while_their_controller_still_runs(client, api_server, name):
    group = f"{name}.example.com"
    one = {
        "apiVersion": f"{group}/v1",
        "kind": "Thing",
        "metadata": {"name": "one", "finalizers": ["example.com/hold"]},
    }
    described = component(name, one, deployment("operator", replicas=0), crds=[thing(group)])
    apply(client, [described])
    ended = threading.Event()
    thread = threading.Thread(target=operate, args=(api_server, name, group, ended))
    thread.start()
    try:
        gone = engine.converge(engine.Request(descriptors=absent(described), client=client))
    finally:
        ended.set()
        thread.join()
    assert not gone.errors
    assert read(client, "v1", "Namespace", name) is None
