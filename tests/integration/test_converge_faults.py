# SPDX-License-Identifier: Apache-2.0
"""Converge when things fail around it: it recovers or says what is wrong, and never says `ok` where it is not."""

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ansible_collections.llm.on_eks.plugins.module_utils.names import NAMESPACE_SYSTEM
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes import client as client_module
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import connect
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import (
    component,
    config_map,
    deployment,
    kubectl,
    new_client,
    plan,
    read,
    subjects,
    unique,
)
from tests.support.faulty_proxy import After, Drop, FaultyProxy, Slow, Status
from tests.support.random_manifests import thing_crd
from tests.support.webhook import Webhook, allow, patch, refuse

pytestmark = pytest.mark.apiserver
FULL = pytest.mark.full


@pytest.fixture
def client(api_server):
    return new_client(api_server)


@pytest.fixture
def name():
    return unique("f")


@pytest.fixture
def impatient(monkeypatch):
    """Pauses between two tries are short: what is tested is that there is a next try."""
    real = client_module._pause
    monkeypatch.setattr(client_module, "_pause", lambda attempt, asked_s=0: real(min(attempt, 1), min(asked_s, 0.3)))
    monkeypatch.setattr(client_module, "PATIENCE_S", 3)


def described(name):
    return [
        component(
            name, config_map("a"), config_map("b"), deployment("web"), secrets=[{"name": "key", "generate": {"k": 24}}]
        )
    ]


def assert_whole(client, components, name):
    """All of it is there, and a run without faults has nothing to do."""
    assert plan(client, components).actions == []
    for kind, version, own in (("ConfigMap", "v1", "a"), ("Deployment", "apps/v1", "web"), ("Secret", "v1", "key")):
        assert read(client, version, kind, own, name) is not None


# --- the network and the API server


@pytest.mark.parametrize(
    "fault",
    [
        Status(429, "1"),
        pytest.param(Status(500), marks=FULL),
        pytest.param(Status(503), marks=FULL),
        pytest.param(Drop(), marks=FULL),
        Drop(carried_out=True),
        pytest.param(Slow(0.5), marks=FULL),
    ],
    ids=str,
)
def test_a_fault_that_passes_is_got_over(client, api_server, name, impatient, fault):
    # Each third request fails once; among them the Lease's, the records' and the objects' writes.
    with FaultyProxy(api_server, lambda request: fault if request.number % 3 == 1 else None) as proxy:
        result = engine.converge(engine.Request(descriptors=described(name), client=proxy.client()))
        assert proxy.faults > 5
    assert not result.errors
    assert_whole(client, described(name), name)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=FULL) for seed in range(2, 11))])
def test_random_faults_end_in_the_same_state_or_in_an_error(client, api_server, name, impatient, seed):
    rng = random.Random(seed)
    kinds = [Status(429), Status(500), Status(503), Drop(), Drop(carried_out=True)]
    with FaultyProxy(api_server, lambda request: rng.choice(kinds) if rng.random() < 0.3 else None) as proxy:
        result = engine.converge(engine.Request(descriptors=described(name), client=proxy.client()))
    if result.errors:
        assert re.search("injected|unavailable|too many|does not answer", result.errors[0]), result.errors
    rerun = engine.converge(engine.Request(descriptors=described(name), client=client, lock_timeout_s=40))
    assert not rerun.errors
    assert bool(result.errors) or not rerun.actions, f"seed {seed}: it said ok, but {subjects(rerun)} was not done"
    assert_whole(client, described(name), name)


def test_a_lease_whose_answer_was_lost_is_still_ours(client, api_server, name, impatient):
    lost = []

    def fault(request):
        if request.writes and "/leases" in request.path and len(lost) < 2:
            lost.append(request)
            return Drop(carried_out=True)
        return None

    with FaultyProxy(api_server, fault) as proxy:
        result = engine.converge(engine.Request(descriptors=described(name), client=proxy.client(), lock_timeout_s=5))
    assert lost and not result.errors


@pytest.mark.parametrize(
    "fault", [Status(500), *(pytest.param(one, marks=FULL) for one in (Status(429, "1"), Drop()))], ids=str
)
def test_a_fault_that_stays_is_an_error_that_names_the_object(client, api_server, name, impatient, fault):
    def only_b(request):
        return fault if request.method == "PATCH" and "/configmaps/b" in request.path else None

    with FaultyProxy(api_server, only_b) as proxy:
        result = engine.converge(engine.Request(descriptors=described(name), client=proxy.client()))
    assert result.errors[0].startswith(f"{name}: ConfigMap {name}/b: ")
    assert f"ConfigMap {name}/a" in subjects(result) and f"ConfigMap {name}/b" not in subjects(result)
    assert not engine.converge(engine.Request(descriptors=described(name), client=client)).errors
    assert_whole(client, described(name), name)


def test_an_api_server_that_is_killed_in_the_middle_of_a_run_is_waited_for(control_plane, client, api_server, name):
    components = [component(name, *(config_map(f"c{n}") for n in range(30)))]
    killed = []

    def kill(data):
        pid = control_plane.supervisor._call("getProcessInfo", "kube-apiserver")["pid"]
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        return data

    def at_the_tenth(request):
        return After(kill) if "/configmaps/c10" in request.path and request.writes and not killed else None

    with FaultyProxy(api_server, at_the_tenth) as proxy:
        result = engine.converge(engine.Request(descriptors=components, client=proxy.client()))
    assert killed
    assert not result.errors
    assert len(subjects(result, "create")) == 31
    assert plan(client, components).actions == []


# --- credentials


def test_a_token_that_the_server_refuses_in_the_run_is_renewed(api_server, client, name, tmp_path):
    given = []

    def fault(request):
        if request.token not in given:
            given.append(request.token)
        # The first token is good for ten requests.
        return Status(401) if request.token == given[0] and request.number >= 10 else None

    with FaultyProxy(api_server, fault) as proxy:
        result = engine.converge(
            engine.Request(descriptors=described(name), client=_client_of(proxy, tmp_path, life_s=900))
        )
        refused = [request for request in proxy.requests if request.number >= 10 and request.token == given[0]]
    assert not result.errors
    assert len(given) == 2 and 1 <= len(refused) <= 4  # requests that were under way side by side
    assert_whole(client, described(name), name)


def test_a_token_is_renewed_before_it_ends(api_server, client, name, tmp_path):
    # Asked for anew a minute before its end: this one after half a second.
    with FaultyProxy(api_server, lambda request: Slow(0.05)) as proxy:
        result = engine.converge(
            engine.Request(descriptors=described(name), client=_client_of(proxy, tmp_path, life_s=60.5))
        )
        tokens = {request.token for request in proxy.requests}
    assert not result.errors
    assert len(tokens) > 1


def test_a_token_that_ends_for_good_is_one_clear_error(api_server, client, name):
    with FaultyProxy(api_server, lambda request: Status(401) if request.number >= 20 else None) as proxy:
        fixed = client_module.Client(connect(host=proxy.address, api_key="token-fixed"))
        result = engine.converge(engine.Request(descriptors=described(name), client=fixed))
    # The dead run could not let go of its Lease, and this process lives on.
    kubectl(api_server, "-n", NAMESPACE_SYSTEM, "delete", "lease", "converge")
    assert "Unauthorized; give these credentials the right, or use others" in result.errors[0]
    assert not engine.converge(engine.Request(descriptors=described(name), client=client, lock_timeout_s=40)).errors
    assert_whole(client, described(name), name)


def _client_of(proxy, folder, life_s):
    """By a kubeconfig whose command makes a token at each call, as EKS does it."""
    program = folder / "token.py"
    program.write_text(
        "import datetime, json, uuid\n"
        f"end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds={life_s})\n"
        "status = {'token': str(uuid.uuid4()), 'expirationTimestamp': end.isoformat().replace('+00:00', 'Z')}\n"
        "print(json.dumps({'kind': 'ExecCredential', 'apiVersion': 'client.authentication.k8s.io/v1', 'status': status}))\n"
    )
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-S", str(program)]}
    content = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": proxy.address}}],
        "users": [{"name": "x", "user": {"exec": command}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(content))
    return new_client(folder / "kubeconfig")


# --- admission webhooks


@pytest.fixture
def hook(control_plane, api_server, tmp_path, name, client):
    """Makes a webhook for the namespace of `name`, which is there before it asks anybody."""
    engine.converge(engine.Request(descriptors=[component(name, config_map("first"))], client=client))
    yield lambda answer, **options: Webhook(
        api_server, control_plane.config.host_address, tmp_path, name, answer, **options
    )


def test_a_webhook_that_refuses_is_named_with_its_words(client, name, hook):
    other = unique("f")
    wanted = [component(name, config_map("first"), config_map("second")), component(other, config_map("beside"))]
    with hook(refuse("not on a Friday")):
        planned = engine.converge(engine.Request(descriptors=wanted, client=client, check=True))
        result = engine.converge(engine.Request(descriptors=wanted, client=client))
    for run in (planned, result):
        assert (
            run.components[name].errors and "not on a Friday" in run.errors[0] and "policy.example.com" in run.errors[0]
        )
    assert read(client, "v1", "ConfigMap", "second", name) is None
    assert not result.components[other].errors


def test_a_webhook_that_refuses_the_write_but_not_the_plan_is_an_error(client, name, hook):
    wanted = [component(name, config_map("first"), config_map("second"))]
    with hook(lambda request: allow(request) if request.get("dryRun") else refuse("not for real")(request)):
        assert plan(client, wanted).actions
        result = engine.converge(engine.Request(descriptors=wanted, client=client))
    assert "not for real" in result.errors[0]
    assert subjects(result) == []


def test_what_a_webhook_adds_is_planned_and_is_no_change_in_the_next_run(client, name, hook):
    wanted = [component(name, config_map("first"), config_map("second"))]
    with hook(patch({"op": "add", "path": "/metadata/annotations", "value": {"added": "1"}}), mutating=True):
        planned = plan(client, wanted)
        result = engine.converge(engine.Request(descriptors=wanted, client=client))
        assert sorted(subjects(result)) == sorted(one.subject for one in planned.actions)
        assert engine.converge(engine.Request(descriptors=wanted, client=client)).actions == []


def test_a_webhook_that_overrules_what_is_described_is_never_silent(client, name, hook):
    wanted = [component(name, config_map("first"), config_map("second", key="ours"))]
    with hook(patch({"op": "replace", "path": "/data/key", "value": "theirs"}), mutating=True):
        for __ in range(2):
            result = engine.converge(engine.Request(descriptors=wanted, client=client))
            assert any("the server changes data.key: ours → theirs" in note for note in result.components[name].notes)
        assert result.actions == []


def test_a_webhook_that_changes_the_write_but_not_the_plan_is_noted(client, name, hook):
    change = patch({"op": "replace", "path": "/data/key", "value": "theirs"})
    wanted = [component(name, config_map("first"), config_map("second", key="ours"))]
    with hook(lambda request: allow(request) if request.get("dryRun") else change(request), mutating=True):
        result = engine.converge(engine.Request(descriptors=wanted, client=client))
    assert any("the server changed 1 fields, data.key: ours → theirs" in note for note in result.components[name].notes)


def test_a_webhook_that_does_not_answer_is_an_error_that_names_it(client, name, hook, impatient):
    def late(request):
        time.sleep(1.5)
        return allow(request)

    wanted = [component(name, config_map("first"), config_map("second"))]
    with hook(late, timeout_s=1):
        result = engine.converge(engine.Request(descriptors=wanted, client=client, check=True))
    assert "policy.example.com" in result.errors[0]
    assert not engine.converge(engine.Request(descriptors=wanted, client=client)).errors


def test_a_webhook_with_side_effects_only_on_a_write_bears_a_plan(client, name, hook):
    wanted = [component(name, config_map("first"), config_map("second"))]
    with hook(allow, side_effects="NoneOnDryRun"):
        assert plan(client, wanted).actions
        assert not engine.converge(engine.Request(descriptors=wanted, client=client)).errors


# --- definitions and controllers


def _things(name):
    group = f"{name}.example.com"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"size": 1}}
    return component(name, thing, crds=[thing_crd(group)])


def test_a_definition_that_is_established_late_is_waited_for(client, api_server, name):
    looks = []

    def unready(data):
        document = json.loads(data)
        document.pop("status", None)
        return json.dumps(document).encode()

    def late(request):
        if request.method == "GET" and "/customresourcedefinitions/" in request.path:
            looks.append(request.number)
            # The first look is the plan's own, before it exists.
            return After(unready) if 1 < len(looks) < 5 else None
        return None

    with FaultyProxy(api_server, late) as proxy:
        result = engine.converge(engine.Request(descriptors=[_things(name)], client=proxy.client()))
        things = [request.number for request in proxy.requests if "/things/one" in request.path]
    assert not result.errors
    assert len(looks) >= 5 and min(things) > looks[4]


def test_a_kind_that_discovery_shows_late_is_waited_for(client, api_server, name):
    before = client.request("GET", "/apis", accept=client_module._DISCOVERY)
    asked = []

    def stale(request):
        if request.path == "/apis":
            asked.append(request.number)
            return After(lambda data: before) if len(asked) < 6 else None
        return None

    with FaultyProxy(api_server, stale) as proxy:
        result = engine.converge(engine.Request(descriptors=[_things(name)], client=proxy.client()))
    assert not result.errors
    assert len(asked) >= 6
    assert plan(client, [_things(name)]).actions == []


def test_what_is_deleted_as_soon_as_it_is_applied_is_an_error(client, api_server, name):
    def away(data):
        kubectl(api_server, "-n", name, "delete", "configmap", "b")
        return data

    def controller(request):
        return After(away) if request.writes and request.method == "PATCH" and "/configmaps/b" in request.path else None

    with FaultyProxy(api_server, controller) as proxy:
        result = engine.converge(engine.Request(descriptors=described(name), client=proxy.client()))
    assert f"ConfigMap {name}/b: the API accepted it, but it is not there" in result.errors[0]
    assert f"ConfigMap {name}/b" not in subjects(result)
