# SPDX-License-Identifier: Apache-2.0
"""The local cluster leaves the machine as it found it, whatever state it is in when it ends."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.kubernetes.config import STATE_ROOT, ClusterConfig
from local.kubernetes.network import NAMESPACES
from tests.support.cluster_names import cluster_name

REPO = Path(__file__).resolve().parents[2]
SYSCTLS = (
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
)

pytestmark = pytest.mark.cluster


def local(verb, name, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "local.kubernetes", verb, "--name", name, *arguments],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def traces(name):
    """What the machine has to do with a cluster of this name, besides its settings."""
    said = {
        "state": [str(path) for path in Path("/var/lib/llm.on_eks").glob(f"{name}*")],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if f"/{name}" in line],
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{name}*") if path.is_dir()],
        "processes": [],
    }
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            supervised = f"/{name}/supervisor.sock".encode() in process.with_name("environ").read_bytes()
        except OSError:
            continue
        if supervised or (f"/{name}/" in command and "pytest" not in command):
            said["processes"].append(command)
    return {key: value for key, value in said.items() if value}


def machine():
    """What a cluster could leave that does not carry its name; without what belongs to clusters that run beside it."""

    def run(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    links = {line.split()[0].split("@")[0] for line in run("ip", "-br", "link").splitlines()}
    beside = [ClusterConfig(folder.name) for folder in STATE_ROOT.glob("*")]
    rules = {line for line in run("iptables-save").splitlines() if line.startswith("-A")}
    values = {f"{name} = {Path('/proc/sys', name).read_text()}" for name in SYSCTLS}
    return {
        "links": links - {cluster.device for cluster in beside},
        "namespaces": empty_namespaces() - {cluster.namespace for cluster in beside},
        "rules": rules,
        "sysctls": values,
    }


def empty_namespaces():
    """Network namespaces that no process lives in: others' pods have theirs, and of ours nothing runs any more."""
    inhabited = set()
    for process in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            inhabited.add(process.stat().st_ino)
    found = set()
    for namespace in Path("/run/netns").glob("*"):
        with contextlib.suppress(OSError):
            found |= set() if namespace.stat().st_ino in inhabited else {namespace.name}
    return found


def assert_nothing_new(before):
    """Pods of clusters beside this one come and go: only what stays is left over."""
    deadline = time.monotonic() + 10
    while new := {kind: found - before[kind] for kind, found in machine().items() if found - before[kind]}:
        assert time.monotonic() < deadline, new
        time.sleep(0.5)
    assert not NAMESPACES.exists() or any(NAMESPACES.iterdir()), "the folder is a mount, too"


def test_a_whole_cluster_leaves_nothing():
    name = cluster_name("trace")
    before = machine()
    up = local("up", name, "--aws")
    __, progress = up.communicate(timeout=300)
    assert up.returncode == 0, progress
    assert set(traces(name)) >= {"state", "processes"}
    assert local("down", name).wait(120) == 0
    assert traces(name) == {}
    assert_nothing_new(before)


@pytest.mark.parametrize("seconds", [0.5, 3])
def test_a_half_built_cluster_leaves_nothing(seconds):
    name = cluster_name("half")
    before = machine()
    up = local("up", name)
    time.sleep(seconds)  # wherever it is by then
    up.send_signal(signal.SIGKILL)
    up.wait()
    assert local("down", name).wait(120) == 0
    assert traces(name) == {}
    assert_nothing_new(before)


def test_a_cluster_whose_supervisor_was_killed_leaves_nothing():
    name = cluster_name("dead")
    before = machine()
    up = local("up", name, "--aws")
    up.communicate(timeout=300)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"supervisord" in command and f"/{name}/".encode() in command:
            subprocess.run(["kill", "-9", process.name], check=False)
    assert local("down", name).wait(120) == 0
    assert traces(name) == {}
    assert_nothing_new(before)


def test_two_clusters_of_different_names_run_side_by_side():
    names = (cluster_name("side-a"), cluster_name("side-b"))
    try:
        for name in names:
            up = local("up", name, "--control-plane-only")
            __, progress = up.communicate(timeout=300)
            assert up.returncode == 0, progress
        kubeconfigs = {Path(f"/var/lib/llm.on_eks/{name}/kubeconfig").read_text() for name in names}
        assert len(kubeconfigs) == 2
    finally:
        for name in names:
            local("down", name).wait(120)


def test_a_second_up_changes_nothing():
    name = cluster_name("again")
    try:
        first = local("up", name, "--control-plane-only")
        assert '"changed": true' in first.communicate(timeout=300)[0]
        second = local("up", name, "--control-plane-only")
        assert '"changed": false' in second.communicate(timeout=300)[0]
    finally:
        local("down", name).wait(120)


def test_a_cache_that_the_node_cannot_see_is_refused_before_anything_is_built(tmp_path):
    up = local("up", cluster_name("hidden"), "--cache", f"/tmp/{tmp_path.name}")
    __, said = up.communicate(timeout=60)
    assert up.returncode != 0
    assert "set LLM_ON_EKS_CACHE to a folder elsewhere" in said
    assert traces(cluster_name("hidden")) == {}
