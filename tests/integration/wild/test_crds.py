# SPDX-License-Identifier: Apache-2.0
"""CRDs that drop a version which is still stored. Seen in: kubernetes-sigs/gateway-api, cert-manager, helm/helm."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import absent, apply, component, read

pytestmark = pytest.mark.apiserver


def version(name, *, storage):
    schema = {"openAPIV3Schema": {"type": "object"}}
    return {"name": name, "served": True, "storage": storage, "schema": schema}


def crd(group, *versions):
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": list(versions),
        },
    }


@pytest.mark.parametrize("check", [True, False])
def test_a_version_that_is_still_stored_is_not_dropped_and_the_migration_is_named(client, name, check):
    group = f"{name}.example.com"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
    old = component(name, thing, crds=[crd(group, version("v1alpha1", storage=True), version("v1", storage=False))])
    apply(client, [old])
    new = component(name, thing, crds=[crd(group, version("v1", storage=True))])
    (error,) = engine.converge(engine.Request(descriptors=[new], client=client, check=check)).errors
    assert f"CustomResourceDefinition things.{group}" in error and "storage migration" in error
    gone = engine.converge(engine.Request(descriptors=absent(new), client=client))
    assert not gone.errors
    assert read(client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"things.{group}") is None
