# SPDX-License-Identifier: Apache-2.0
"""`ansible-playbook` stopped at random points, and two of them at once, on a real API server."""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.record import Recorder
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import absent, component, config_map, deployment, new_client, plan, unique
from tests.support.observed import bare, look
from tests.support.playbooks import Playbooks

pytestmark = pytest.mark.apiserver
# A tenth by default: both ways of stopping, a few points each.
SEEDS = [seed if seed < 2 else pytest.param(seed, marks=pytest.mark.full) for seed in range(50)]


@pytest.fixture(scope="module")
def client(api_server):
    return new_client(api_server)


@pytest.fixture
def playbooks(api_server, tmp_path):
    return Playbooks(tmp_path, api_server)


def old(name):
    return [
        component(f"{name}-a", *(config_map(f"c{n}", key="old") for n in range(15)), deployment("web")),
        component(f"{name}-b", *(config_map(f"c{n}", key="old") for n in range(15))),
    ]


def new(name):
    """Changes, additions, things that go, and a component more."""
    return [
        component(f"{name}-a", *(config_map(f"c{n}", key="new") for n in range(5, 25)), deployment("web", replicas=2)),
        component(
            f"{name}-b",
            *(config_map(f"c{n}", key="new") for n in range(10)),
            secrets=[{"name": "made", "generate": {"k": 24}}],
        ),
        component(f"{name}-c", *(config_map(f"c{n}") for n in range(10)), requires=[f"{name}-a"]),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_playbook_that_is_stopped_anywhere_is_mended_by_a_rerun(client, playbooks, seed):
    rng, name = random.Random(seed), unique(f"int{seed}")
    assert not engine.converge(engine.Request(lose_data=("all",), descriptors=old(name), client=client)).errors
    before = look(client, name)
    process = playbooks.start("converge", new(name))
    wait_for_the_first_change(client, name, before, process)
    time.sleep(rng.uniform(0, 1.2))  # the point at which it is stopped
    how = (signal.SIGINT, signal.SIGKILL)[seed % 2]
    if process.poll() is None:
        os.killpg(process.pid, how)
    said, __ = process.communicate(timeout=60)
    assert "Traceback" not in said, said[-2000:]
    part = len([one for one, was in before.items() if bare(look(client, name).get(one, was)) != bare(was)])
    print(f"\nseed {seed}: {how.name} with {part} of {len(before)} objects changed, exit code {process.returncode}")

    # The inventory's end state by the rerun, and by the same descriptors on a fresh place, are the same.
    began = time.monotonic()
    result = engine.converge(
        engine.Request(lose_data=("all",), descriptors=new(name), client=client, lock_timeout_s=60)
    )
    assert not result.errors
    assert time.monotonic() - began < 25, "a dead run's Lease was waited for"
    assert plan(client, new(name)).actions == []
    wanted = {
        f"ConfigMap {one['name']}/{document['metadata']['name']}"
        for one in new(name)
        for document in one["manifests"]
        if document["kind"] == "ConfigMap"
    }
    there = look(client, name)
    assert {one for one in there if one.startswith("ConfigMap ")} == wanted
    assert all(Recorder(client).history(one["name"])[-1].state == "applied" for one in new(name))
    if seed < 2:
        assert not engine.converge(
            engine.Request(lose_data=("all",), descriptors=absent(*new(name)), client=client)
        ).errors
        assert look(client, name) == {}


def wait_for_the_first_change(client, name, before, process):
    resource = client.resource("v1", "ConfigMap")
    versions = {one: document["metadata"]["resourceVersion"] for one, document in before.items()}
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        for document in client.list(resource, f"{name}-a"):
            key = f"ConfigMap {name}-a/{document['metadata']['name']}"
            if (
                document["metadata"]["name"] != "kube-root-ca.crt"
                and versions.get(key) != document["metadata"]["resourceVersion"]
            ):
                return
        time.sleep(0.02)
    raise AssertionError("the run changed nothing")


def test_a_second_playbook_waits_for_the_first_and_both_end_well(client, api_server, playbooks, tmp_path):
    name = unique("two")
    (tmp_path / "second").mkdir()
    other = Playbooks(tmp_path / "second", api_server)
    slow = component(
        name,
        config_map("a", key="first"),
        wait=[{"kind": "ConfigMap", "name": "signal", "condition": "Exists", "timeout": 120}],
    )
    first = playbooks.start("converge", [slow])
    resource = client.resource("v1", "ConfigMap")
    end = time.monotonic() + 90
    while client.get(resource, "a", name) is None and time.monotonic() < end:
        time.sleep(0.05)
    # The first holds the cluster and waits; a run that does not want to wait is refused, with the holder's name.
    code, refused = other.run("converge", [component(name, config_map("a", key="second"))], lock_timeout=0)
    assert code == 2 and re.search(rf"\S+@\S+ \(process {pid_of(first)}", refused.replace("\\n", " ")), refused[-1500:]
    second = other.start("converge", [component(name, config_map("a", key="second"))], lock_timeout=120)
    said = ""
    while "waiting for" not in said:
        line = second.stdout.readline()
        assert line, said
        said += line
    assert client.get(resource, "a", name)["data"] == {"key": "first"}
    client.create(
        resource, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "signal", "namespace": name}}
    )
    for process in (first, second):
        rest, __ = process.communicate(timeout=120)
        assert process.returncode == 0, rest
    assert client.get(resource, "a", name)["data"] == {"key": "second"}


def pid_of(process):
    """Which of ansible-playbook's own children does the work is its business."""
    children = [
        int(one)
        for task in os.scandir(f"/proc/{process.pid}/task")
        for one in Path(task.path, "children").read_text().split()
    ]
    return f"({'|'.join(map(str, [process.pid, *children]))})"
