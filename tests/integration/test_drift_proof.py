# SPDX-License-Identifier: Apache-2.0
"""Edits planted by hand in every kind of object: drift names each of them, with its field, and nothing else.

A round plants ten edits in ten objects; its report must have exactly these. By default one round, in full all.
"""

import copy
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import drift
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import config_map, kubectl, new_client, read, unique
from tests.support.random_manifests import CLUSTER_WIDE, MAKERS, foreign_patch, thing_crd
from tests.support.simulated_node import SimulatedNode

pytestmark = pytest.mark.apiserver
PER_ROUND = 10
ROUNDS = 10


@dataclass(frozen=True)
class Edit:
    """What a person does (`kubectl` and its arguments) to one object, and what drift must say: the kind of finding and the field."""

    object: str
    arguments: Sequence[str]
    finding: str
    path: str = ""
    given: dict | None = None

    def __str__(self):
        return f"{self.object}: kubectl {' '.join(self.arguments)}"


def described(name):
    """A component with one object of each kind."""
    rng = random.Random(4)
    manifests = []
    for kind, make in MAKERS.items():
        own = f"{name}-{kind.lower()}" if kind in CLUSTER_WIDE else kind.lower()
        manifests.append(make(rng, own))
    web = next(one for one in manifests if one["kind"] == "Deployment")
    web["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "MODE", "value": "a"},
        {"name": "LEVEL", "value": "b"},
    ]
    web["spec"]["replicas"] = 2
    service = next(one for one in manifests if one["kind"] == "Service")
    service["spec"]["ports"] = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "metrics", "port": 9000}]
    manifests += [config_map("several", one="1", two="2")]
    group = f"{name}.example.com"
    manifests.append(
        {
            "apiVersion": f"{group}/v1",
            "kind": "Thing",
            "metadata": {"name": "thing"},
            "spec": {"size": 3, "words": ["a"]},
        }
    )
    waits = [
        {"kind": one["kind"], "name": one["metadata"]["name"], "condition": "Exists"}
        for one in manifests
        if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet")
    ]
    return {
        "name": name,
        "namespace": {"name": name, "pod_security": "privileged"},
        "manifests": manifests,
        "crds": [thing_crd(group)],
        "wait": waits,
        "secrets": [{"name": "generated", "generate": {"key": 24}}],
    }


def edits(component):
    """Every edit that is planted, over all kinds."""
    name = component["name"]
    made = []

    def of(kind, document=None):
        document = document or next(one for one in component["manifests"] if one["kind"] == kind)
        own = document["metadata"]["name"]
        return kind.lower() if kind != "Thing" else f"things.{name}.example.com", own

    def add(kind, verb, finding, path="", *more, own=None, given=None):
        resource, found = of(kind)
        target = own or found
        arguments = [verb[0], *([verb[1]] if len(verb) > 1 else []), resource, target, *more]
        if given is not None:
            arguments = [*verb, *more]
        subject = f"{kind} {target}" if kind in CLUSTER_WIDE else f"{kind} {name}/{target}"
        made.append(Edit(subject, arguments, finding, path, given))

    def merge(kind, patch, finding, path, own=None):
        add(kind, ["patch"], finding, path, "--type=merge", "-p", json.dumps(patch), own=own)

    def patch(kind, operations, finding, path, own=None):
        add(kind, ["patch"], finding, path, "--type=json", "-p", json.dumps(operations), own=own)

    # The same few edits in every kind.
    for document in component["manifests"]:
        kind = document["kind"]
        own = document["metadata"]["name"]
        if own == "several":
            continue
        add(kind, ["label"], "extra", "metadata.labels[example.com/theirs]", "example.com/theirs=1", own=own)
        add(kind, ["annotate"], "extra", "metadata.annotations[example.com/theirs]", "example.com/theirs=1", own=own)
        add(kind, ["label"], "changed", "metadata.labels[llm.on-eks/component]", "llm.on-eks/component-", own=own)
        add(
            kind,
            ["label"],
            "changed",
            "metadata.labels[app.kubernetes.io/managed-by]",
            "--overwrite",
            "app.kubernetes.io/managed-by=them",
            own=own,
        )
        add(kind, ["delete"], "missing", "", "--wait=true", own=own)
        change = foreign_patch(random.Random(1), document)
        if change is not None:
            merge(kind, change, "changed", "", own=own)
    add("Secret", ["delete"], "missing", own="generated")

    # Workloads, by the commands people use.
    image = "spec.template.spec.containers[app]"
    add("Deployment", ["scale"], "changed", "spec.replicas", "--replicas=5")
    add("StatefulSet", ["scale"], "changed", "spec.replicas", "--replicas=0")
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        add(kind, ["set", "image"], "changed", f"{image}.image", "app=registry.test/evil:1")
        add(kind, ["set", "env"], "extra", f"{image}.env[DEBUG]", "DEBUG=1")
        add(kind, ["set", "resources"], "changed", f"{image}.resources.limits.memory", "--limits=memory=3Gi")
    add("Deployment", ["set", "env"], "changed", f"{image}.env[MODE]", "MODE=z")
    add("Deployment", ["set", "env"], "changed", f"{image}.env[LEVEL]", "LEVEL-")
    add("Deployment", ["set", "serviceaccount"], "extra", "spec.template.spec.serviceAccount", "theirs")
    add("Deployment", ["rollout", "pause"], "extra", "spec.paused")
    sidecar = {"name": "theirs", "image": "registry.test/theirs:1"}
    patch(
        "Deployment",
        [{"op": "add", "path": "/spec/template/spec/containers/-", "value": sidecar}],
        "extra",
        "spec.template.spec.containers[theirs]",
    )
    patch(
        "Deployment",
        [{"op": "remove", "path": "/spec/template/spec/containers/0/resources"}],
        "changed",
        f"{image}.resources",
    )
    patch(
        "Deployment", [{"op": "remove", "path": "/spec/template/spec/containers/0/ports"}], "changed", f"{image}.ports"
    )
    merge(
        "Deployment", {"spec": {"template": {"spec": {"hostNetwork": True}}}}, "extra", "spec.template.spec.hostNetwork"
    )
    merge(
        "Deployment",
        {"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}},
        "extra",
        "spec.template.spec.nodeSelector",
    )
    merge(
        "Deployment",
        {"spec": {"template": {"spec": {"tolerations": [{"operator": "Exists"}]}}}},
        "extra",
        "spec.template.spec.tolerations",
    )
    merge(
        "Deployment",
        {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 3}}}},
        "changed",
        "spec.strategy.rollingUpdate.maxSurge",
    )
    merge("Deployment", {"spec": {"revisionHistoryLimit": 1}}, "extra", "spec.revisionHistoryLimit")
    merge(
        "DaemonSet",
        {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}},
        "extra",
        "spec.updateStrategy.type",
    )

    # Data, services and rights.
    merge("ConfigMap", {"data": {"theirs": "1"}}, "extra", "data.theirs", own="several")
    merge("ConfigMap", {"data": {"one": None}}, "changed", "data.one", own="several")
    merge("Secret", {"data": {"value": None}}, "changed", "data.value")
    merge("Secret", {"data": {"theirs": "dGhlaXJz"}}, "extra", "data.theirs")
    patch(
        "Service",
        [{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 9999}],
        "changed",
        "spec.ports[http].targetPort",
    )
    patch("Service", [{"op": "remove", "path": "/spec/ports/1"}], "changed", "spec.ports[metrics]")
    patch(
        "Service",
        [{"op": "add", "path": "/spec/ports/-", "value": {"name": "debug", "port": 7000}}],
        "extra",
        "spec.ports",
    )
    merge("Service", {"spec": {"type": "NodePort"}}, "extra", "spec")  # with what the server sets along with it
    merge("Service", {"spec": {"sessionAffinity": "ClientIP"}}, "extra", "spec.sessionAffinity")
    merge(
        "RoleBinding",
        {"subjects": [{"kind": "User", "name": "them", "apiGroup": "rbac.authorization.k8s.io"}]},
        "changed",
        "subjects",
    )
    merge("NetworkPolicy", {"spec": {"ingress": [{}]}}, "changed", "spec.ingress")
    merge("Ingress", {"spec": {"rules": [{"host": "theirs.example.com"}]}}, "changed", "spec.rules")
    merge(
        "HorizontalPodAutoscaler",
        {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}},
        "extra",
        "spec.behavior",
    )
    merge("CronJob", {"spec": {"suspend": False}}, "changed", "spec.suspend")
    merge("Thing", {"spec": {"words": ["theirs"]}}, "changed", "spec.words")
    merge("Thing", {"spec": {"mode": "slow"}}, "extra", "spec.mode")
    merge("ServiceAccount", {"imagePullSecrets": [{"name": "theirs"}]}, "extra", "imagePullSecrets")

    # By other ways of writing: apply on the server, on the client, replace.
    several = next(one for one in component["manifests"] if one["metadata"]["name"] == "several")
    theirs = copy.deepcopy(several)
    theirs["metadata"]["namespace"] = name
    theirs["data"]["two"] = "theirs"
    server = ["apply", "--server-side", "--force-conflicts", "--field-manager=them", "-f", "-"]
    add("ConfigMap", server, "changed", "data.two", own="several", given=theirs)
    add("ConfigMap", ["apply", "-f", "-"], "changed", "data.two", own="several", given=theirs)
    labels = {"llm.on-eks/component": name, "app.kubernetes.io/managed-by": "llm.on_eks"}
    whole = {
        **theirs,
        "metadata": {**theirs["metadata"], "labels": labels},
        "data": {"one": "1", "two": "2", "three": "3"},
    }
    add("ConfigMap", ["replace", "-f", "-"], "extra", "data.three", own="several", given=whole)
    return made


@pytest.fixture(scope="module")
def live(api_server):
    client = new_client(api_server)
    with SimulatedNode(client):
        component = described(unique("drift"))
        result = engine.converge(engine.Request(lose_data=("all",), descriptors=[component], client=client))
        assert not result.errors, result.errors
        yield client, component


def rounds(component, count):
    """`count` lists of ten edits, no object twice in one list; all kinds of edits get their turn."""
    rng = random.Random(11)
    pool = edits(component)
    rng.shuffle(pool)
    for __ in range(count):
        chosen: list[Edit] = []
        for edit in list(pool):
            if len(chosen) < PER_ROUND and edit.object not in {one.object for one in chosen}:
                chosen.append(edit)
                pool.remove(edit)
        yield chosen


def report(client, component):
    return drift.report_of(
        engine.converge(engine.Request(lose_data=("all",), descriptors=[component], client=client, check=True)), "here"
    )


@pytest.mark.parametrize("count", [1, pytest.param(ROUNDS, marks=pytest.mark.full)])
def test_every_planted_edit_is_found_and_nothing_else(live, api_server, count):
    client, component = live
    missed, false, planted = [], [], 0
    for chosen in rounds(component, count):
        for edit in chosen:
            place = ["-n", component["name"]] if "/" in edit.object else []
            kubectl(api_server, *place, *edit.arguments, given=edit.given)
        found = report(client, component)
        assert not found.errors, found.errors
        planted += len(chosen)
        by_object = {edit.object: edit for edit in chosen}
        for edit in chosen:
            mine = [one for one in found.findings if one.object == edit.object]
            if not any(one.kind == edit.finding and _names(one, edit.path) for one in mine):
                missed.append((str(edit), mine))
        for one in found.findings:
            edit = by_object.get(one.object)
            wrong = [
                field.path
                for field in one.fields
                if edit and edit.path and not field.path.startswith(edit.path.split("[")[0])
            ]
            if edit is None or one.kind != edit.finding or wrong:
                false.append((str(edit), one))
        heal(client, component, chosen)
        assert report(client, component).state == "none", [str(edit) for edit in chosen]
    print(f"\n{planted} edits planted, {len(missed)} missed, {len(false)} false")
    assert not missed and not false, "\n".join(map(str, [*missed, "false:", *false]))


def _names(finding, path):
    return not path or any(one.path.startswith(path) or path.startswith(one.path) for one in finding.fields)


def heal(client, component, chosen):
    """What was edited is made anew: a run leaves fields that others added, on purpose."""
    for edit in chosen:
        kind, __, rest = edit.object.partition(" ")
        namespace, __, own = rest.rpartition("/")
        resource = client.resource_of_kind(kind)
        if kind == "Thing":
            resource = client.resource(f"{component['name']}.example.com/v1", kind)
        client.delete(resource, own, namespace, policy="Background")
        deadline = time.monotonic() + 30
        # Finalizers of Kubernetes' own are cleared a moment later.
        while client.get(resource, own, namespace) is not None:
            assert time.monotonic() < deadline, f"{edit.object} does not go"
            time.sleep(0.05)
    result = engine.converge(engine.Request(lose_data=("all",), descriptors=[component], client=client))
    assert not result.errors, result.errors


def test_what_controllers_do_is_no_drift(live, api_server):
    client, component = live
    name = component["name"]
    kubectl(api_server, "-n", name, "rollout", "restart", "deployment/deployment")
    kubectl(api_server, "-n", name, "rollout", "status", "deployment/deployment", "--timeout=60s")
    resource = client.resource("apps/v1", "Deployment")
    scale = json.dumps({"spec": {"replicas": 4}}).encode()
    for manager in ("kube-controller-manager",):
        client._json(
            "PATCH",
            f"{resource.path(name, 'deployment')}/scale",
            query={"fieldManager": manager},
            body=scale,
            content_type="application/merge-patch+json",
        )
    status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}).encode()
    ingress = client.resource("networking.k8s.io/v1", "Ingress")
    client.request(
        "PATCH", f"{ingress.path(name, 'ingress')}/status", body=status, content_type="application/merge-patch+json"
    )
    assert read(client, "apps/v1", "Deployment", "deployment", name)["spec"]["replicas"] == 4
    found = report(client, component)
    assert found.findings == [] and found.state == "none"
