# SPDX-License-Identifier: Apache-2.0
"""What converge costs: wall time against the critical path, CPU-seconds of a run that finds nothing to do, and kubernetes.core beside it.

The control plane is real; pods become ready by a simulated node. Everything compared is measured in one session.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine  # noqa: E402
from local.kubernetes.cluster import Cluster  # noqa: E402
from local.kubernetes.config import ClusterConfig  # noqa: E402
from tests.support.charts import chart_component  # noqa: E402
from tests.support.cluster_client import absent, component, config_map, deployment, new_client, unique  # noqa: E402
from tests.support.cluster_names import cluster_name  # noqa: E402
from tests.support.playbooks import Playbooks  # noqa: E402
from tests.support.simulated_node import SimulatedNode  # noqa: E402

pytestmark = [pytest.mark.perf, pytest.mark.apiserver, pytest.mark.timeout(3600)]
PROGRAM = REPO / "tests" / "support" / "converge_process.py"
READY_S = 5.0


@pytest.fixture(scope="module")
def kubeconfig():
    cluster = Cluster(ClusterConfig(name=cluster_name("bench"), node=False))
    cluster.down()
    cluster.up()
    yield cluster.kubeconfig
    cluster.down()


@pytest.fixture(scope="module")
def client(kubeconfig):
    return new_client(kubeconfig)


def measured(kubeconfig, folder, components) -> dict:
    """One converge in a process of its own; the second of two, so that caches are warm and nothing is to be done."""
    file = folder / "descriptors.json"
    file.write_text(json.dumps(components))
    said: dict = {}
    for __ in range(2):
        done = subprocess.run([sys.executable, PROGRAM, kubeconfig, file], capture_output=True, text=True, check=True)
        said = json.loads(done.stdout)
        assert not said["errors"], said["errors"]
    assert said["actions"] == 0
    return said


def many(count, objects):
    """`count` components with so many objects in all, of the usual mix."""
    made = []
    for number in range(count):
        share = objects // count + (number < objects % count) - 1  # the namespace is one, too
        documents = [config_map(f"c{n}", **{f"key{k}": "x" * 40 for k in range(5)}) for n in range(share)]
        for n in range(min(2, share)):
            documents[n] = deployment(f"web{n}")
        made.append(component(unique("many"), *documents))
    return made


def test_wall_time_follows_the_critical_path(client, table):
    names = [unique("slow") for __ in range(6)]
    components = [
        {"name": name, "namespace": {"name": name}, "manifests": [deployment("web")], "requires": needs}
        for name, needs in zip(names, ([], [], [], [], names[:1], names[1:2]), strict=True)
    ]
    with SimulatedNode(client, after_s=READY_S) as node:
        result = engine.converge(engine.Request(descriptors=components, client=client))
        begun = time.monotonic() - result.seconds
        assert not result.errors, result.errors
        engine.converge(engine.Request(descriptors=absent(*components), client=client))
    applied = {done.component: done.started + done.seconds for done in result.nodes if done.node == "objects"}
    took = {name: node.reported[name] - begun - applied[name] for name in names}
    path = max(
        took[name] + sum(took[need] for need in one["requires"]) for name, one in zip(names, components, strict=True)
    )
    measured = f"{result.seconds:.1f} s, critical path in the cluster {path:.1f} s: {result.seconds / path - 1:+.0%}"
    table.add("6 components of 5 s, two of them dependent", measured, "<= +15 %")


def test_a_run_that_finds_nothing_to_do(client, kubeconfig, table, tmp_path):
    charts = [
        chart_component(unique("chart"), "web", {"replicas": 0, "sidecar": {"enabled": False}}) for __ in range(8)
    ]
    components = [*many(17, 400 - 8 * 6), *charts]
    with SimulatedNode(client):
        whole = measured(kubeconfig, tmp_path, components)
    text = f"{whole['cpu_s']:.2f} CPU-s (helm {whole['helm_cpu_s']:.2f}), {whole['wall_s']:.1f} s wall"
    table.add("no-op, 25 components, 400 objects, 8 charts", text, "<= 6 CPU-s")
    playbooks = Playbooks(tmp_path, kubeconfig)
    code, said, cpu = timed(playbooks.command("converge", components))
    assert code == 0, said[-2000:]
    table.add("  the same by ansible-playbook, all in", f"{cpu:.2f} CPU-s")


def test_cost_grows_with_the_number_of_objects(kubeconfig, table, tmp_path):
    costs = {count: measured(kubeconfig, tmp_path, many(count // 20, count)) for count in (20, 100, 1000)}
    start = costs[20]["start_up_cpu_s"]
    text = f"{costs[20]['cpu_s'] - start:.2f} CPU-s, and {start:.2f} for Python's start and imports"
    table.add("no-op, 20 objects", text, "< 0.5 CPU-s")
    ratio = costs[1000]["cpu_s"] / costs[100]["cpu_s"]
    table.add(
        "no-op, 1000 objects against 100",
        f"{ratio:.1f} x CPU ({costs[1000]['cpu_s']:.2f} / {costs[100]['cpu_s']:.2f})",
        "<= 11 x",
    )
    wall = costs[1000]["wall_s"] / costs[100]["wall_s"]
    table.add("  the same, wall", f"{wall:.1f} x", "<= 11 x")


def test_against_kubernetes_core(client, kubeconfig, table, tmp_path):
    name = unique("core")
    documents = [config_map(f"c{n}", name, key=str(n)) for n in range(200)]
    mine = component(name, *documents)
    assert not engine.converge(engine.Request(descriptors=[mine], client=client)).errors
    playbooks = Playbooks(tmp_path, kubeconfig)
    code, said, ours = timed(playbooks.command("converge", [mine]))
    assert code == 0 and "changed=0" in said, said[-2000:]
    at_once = core(tmp_path, kubeconfig, documents, loop=False)
    looped = core(tmp_path, kubeconfig, documents[:20], loop=True)
    table.add("the same 200 manifests, no-op: converge", f"{ours:.1f} CPU-s (ansible-playbook all in)")
    table.add("  kubernetes.core.k8s, one task with a list", f"{at_once:.1f} CPU-s: {at_once / ours:.1f} x")
    nothing = core(tmp_path, kubeconfig, [], loop=True)
    table.add("  ansible-playbook with nothing to do, in each of these", f"{nothing:.1f} CPU-s")
    bare = core(tmp_path, kubeconfig, documents[:1], loop=True)
    each = (looped - bare) / 19
    table.add(
        "  kubernetes.core.k8s, a task for each",
        f"{bare + 199 * each:.0f} CPU-s: {(bare + 199 * each) / ours:.0f} x ({each:.2f} each, 20 measured)",
        ">= 10 x",
    )


def core(folder, kubeconfig, documents, *, loop):
    """CPU-seconds of kubernetes.core.k8s, server-side apply, nothing to change."""
    options = {
        "kubeconfig": str(kubeconfig),
        "apply": True,
        "server_side_apply": {"field_manager": "kubernetes.core", "force_conflicts": True},
    }
    task: dict = {"kubernetes.core.k8s": {**options, "definition": "{{ documents }}"}}
    if loop:
        task = {
            "kubernetes.core.k8s": {**options, "definition": "{{ item }}"},
            "loop": "{{ documents }}",
            "loop_control": {"label": "{{ item.metadata.name }}"},
        }
    play = {"hosts": "eks_clusters", "gather_facts": False, "vars_files": ["core.vars.yml"], "tasks": [task]}
    play["vars"] = {"ansible_python_interpreter": sys.executable}
    (folder / "core.vars.yml").write_text(yaml.safe_dump({"documents": documents}))
    (folder / "core.yml").write_text(yaml.safe_dump([play]))
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(folder / "inventory.yml"),
        str(folder / "core.yml"),
    ]
    cpu = 0.0
    for __ in range(2):
        code, said, cpu = timed(command)
        assert code == 0, said[-2000:]
    return cpu


def timed(command) -> tuple[int, str, float]:
    """(exit code, output, CPU-seconds with all children) of a command."""
    before = os.times()
    done = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}
    )
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return done.returncode, done.stdout + done.stderr, cpu
