# SPDX-License-Identifier: Apache-2.0
"""What tests of converge share: a client, small descriptors, and edits by other hands than ours."""

from __future__ import annotations

import itertools
import json
import os
import subprocess

import msgspec

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import connect
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.run_plan import plan_of
from tests.support.content_cache import REPO, cache_root

_numbers = itertools.count()


def unique(prefix: str) -> str:
    """A name that no other test of this process uses."""
    return f"{prefix}-{os.getpid() % 10000}-{next(_numbers)}"


def new_client(kubeconfig) -> Client:
    return Client(connect(kubeconfig=str(kubeconfig)))


def config_map(name, namespace=None, **data):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"key": "value"}}


def deployment(name, replicas=1, image="registry.test/app:1", **spec):
    labels = {"app": name}
    pod = {"containers": [{"name": "app", "image": image, "ports": [{"containerPort": 8080}]}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


def component(name, *manifests, **more):
    """A component in a namespace of its own name; workloads only have to exist, for there is no node."""
    waits = [
        {"kind": document["kind"], "name": document["metadata"]["name"], "condition": "Exists"}
        for document in manifests
        if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet")
    ]
    return {"name": name, "namespace": {"name": name}, "manifests": list(manifests), "wait": waits, **more}


def absent(*components):
    return [{**one, "state": "absent"} for one in components]


def plan(client, components, **options):
    result = engine.converge(engine.Request(descriptors=components, client=client, check=True, **options))
    assert not result.errors, result.errors
    return plan_of(result)


def apply(client, components, **options):
    """Apply, hold the result to the plan made just before, and to an empty plan just after."""
    planned = plan(client, components)
    result = engine.converge(engine.Request(descriptors=components, client=client, **options))
    assert not result.errors, result.errors
    assert actions(plan_of(result)) == actions(planned), set(actions(plan_of(result))) ^ set(actions(planned))
    again = engine.converge(engine.Request(descriptors=components, client=client, **options))
    assert [str(action.subject) for action in again.actions] == []
    return result


def actions(planned):
    """(component, verb, object, fields) of a plan, without what only exists once it is applied."""
    return sorted(
        (one.component, one.verb, one.subject, tuple(change.path for change in one.changes)) for one in planned.actions
    )


def subjects(result, verb=None):
    return [action.subject for action in result.actions if verb in (None, action.verb)]


def kubectl_program():
    """Of the version that tools/versions.json names; `make test-programs` obtains it."""
    version = json.loads((REPO / "tools" / "versions.json").read_text())["kubectl"]["version"]
    return cache_root() / "tools" / "kubectl" / version / "kubectl"


def kubectl(kubeconfig, *arguments, given=None, check=True):
    """What a person does by hand."""
    text = None if given is None else json.dumps(given)
    done = subprocess.run(
        [kubectl_program(), "--kubeconfig", str(kubeconfig), *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout


def read(client, api_version, kind, name, namespace=""):
    return client.get(client.resource(api_version, kind), name, namespace)


def to_json(value) -> str:
    return msgspec.json.encode(value).decode()
