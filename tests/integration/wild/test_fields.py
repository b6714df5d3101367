# SPDX-License-Identifier: Apache-2.0
"""Changes of fields that a three-way merge gets wrong: on our own object, on one that kubectl applied, after a hand's edit.

Each case names the public report that it comes from.
"""

from __future__ import annotations

import copy

import pytest

from tests.support.cluster_client import apply, component, deployment, read

pytestmark = pytest.mark.apiserver


def web(change):
    made = deployment("web", replicas=0)
    change(made["spec"], made["spec"]["template"]["spec"], made["spec"]["template"]["spec"]["containers"][0])
    return made


def service(**spec):
    whole = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": whole}


def rolling(spec, pod, container):
    spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}


def recreating(spec, pod, container):
    spec["strategy"] = {"type": "Recreate"}


def nothing(spec, pod, container):
    pass


def probed(handler):
    def change(spec, pod, container):
        container["livenessProbe"] = {handler: {"port": 8080}}

    return change


def volume(**source):
    def change(spec, pod, container):
        pod["volumes"] = [{"name": "data", **source}]

    return change


def env(*entries):
    def change(spec, pod, container):
        container["env"] = list(entries)

    return change


PLAIN = {"name": "A", "value": "1"}
FROM = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
DNS = {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}
# what -> (before, after)
CASES = {
    # https://github.com/kubernetes/kubernetes/issues/24198, https://github.com/pulumi/pulumi-kubernetes/issues/2843
    "strategy with defaults": (web(nothing), web(recreating)),
    "strategy with values": (web(rolling), web(recreating)),
    # https://github.com/fluent/helm-charts/issues/146
    "probe": (web(probed("httpGet")), web(probed("tcpSocket"))),
    "volume": (web(volume(emptyDir={})), web(volume(configMap={"name": "x"}))),
    "env to reference": (web(env(PLAIN)), web(env(FROM))),
    "env to value": (web(env(FROM)), web(env(PLAIN))),
    "env taken out of the middle": (
        web(env(*({"name": n, "value": n} for n in "ABC"))),
        web(env(*({"name": n, "value": n} for n in "CA"))),
    ),
    "balancer to plain": (service(type="LoadBalancer", externalTrafficPolicy="Local"), service()),
    "node port to plain": (service(type="NodePort"), service(type="ClusterIP")),
    # https://github.com/kubernetes/kubernetes/issues/39188
    "same port twice": (service(ports=list(DNS)), service(ports=[DNS[1]])),
}


# An entry that a hand adds to a list is no other form: it stays, and drift reports it.
ADDED = ("env taken out of the middle", "same port twice")


@pytest.fixture
def home(kubectl, name):
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def named(what, document):
    made = copy.deepcopy(document)
    made["metadata"]["name"] = what.replace(" ", "-")
    return made


def all_of(index, *besides):
    """Every case before (0) or after (1) its change, each as an object of its own."""
    return [named(what, case[index]) for what, case in CASES.items() if what not in besides]


def hold_to_new_form(client, name, *besides, **more):
    """One run brings every object to its new form, as planned; the next changes nothing."""
    apply(client, [component(name, *all_of(1, *besides), **more)])
    for one in all_of(1, *besides):
        live = read(client, one["apiVersion"], one["kind"], one["metadata"]["name"], name)
        assert holds(one["spec"], live["spec"]), one["metadata"]["name"]


def wait_for_controllers(kubectl, home, *besides):
    """The Deployment controller has annotated what a hand wrote; a plan made before would not be what a run then finds."""
    for one in all_of(0, *besides):
        if one["kind"] == "Deployment":
            annotated = "jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}"
            kubectl("-n", home, "wait", f"deployment/{one['metadata']['name']}", f"--for={annotated}", "--timeout=90s")


def holds(wanted, live):
    """Whether the live value is what was wanted, and nothing of the earlier form is left."""
    if isinstance(wanted, dict):
        return all(holds(value, (live or {}).get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) == len(live or []) and all(map(holds, wanted, live))
    return wanted == live


def test_our_own_objects_take_a_new_form(client, home):
    apply(client, [component(home, *all_of(0))])
    hold_to_new_form(client, home)


def test_objects_that_kubectl_applied_take_the_described_form(client, kubectl, home):
    kubectl("-n", home, "apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": all_of(0)})
    wait_for_controllers(kubectl, home)
    hold_to_new_form(client, home, adopt=True)


def test_objects_that_a_hand_gave_another_form_are_set_back(client, kubectl, home):
    apply(client, [component(home, *all_of(1, *ADDED))])
    kubectl("-n", home, "replace", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": all_of(0, *ADDED)})
    wait_for_controllers(kubectl, home, *ADDED)
    hold_to_new_form(client, home, *ADDED)
