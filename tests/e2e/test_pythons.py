# SPDX-License-Identifier: Apache-2.0
"""Every Python that the README promises, with the oldest and the newest ansible-core that meta/runtime.yml allows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cluster_names import cluster_name
from tests.support.pythons import NEWEST, OLDEST, PROMISED, REPO, core_of, environment, interpreter, run

SOURCES = ("plugins", "tools", "local", "gateway/src", "engines")
# What needs no cluster, and is about Python and Ansible rather than about text.
WITHOUT_CLUSTER = "not full and not perf and not cluster and not apiserver"


def here(version: str) -> str:
    return interpreter(version) or pytest.skip(f"no Python {version} on this machine")


def test_the_readme_promises_what_is_tried():
    text = (REPO / "README.md").read_text()
    assert f"Python {PROMISED[0]} or newer (tested with {PROMISED[0]} to {PROMISED[-1]})" in text
    assert [int(version.partition(".")[2]) for version in PROMISED] == list(range(11, 11 + len(PROMISED)))


@pytest.mark.parametrize("version", PROMISED)
def test_every_source_is_text_that_this_python_can_read(version, tmp_path):
    files = [*SOURCES, "tests", "gateway/tests"]
    run(here(version), "-X", f"pycache_prefix={tmp_path}", "-m", "compileall", "-q", "-j", "1", *files)


@pytest.mark.full
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("core", [OLDEST, NEWEST])
@pytest.mark.parametrize("version", PROMISED)
def test_what_needs_no_cluster_holds(version, core):
    here(version)
    binaries = environment(version, core)
    if core != NEWEST:
        assert core_of(binaries) == core
    run(binaries / "ansible-playbook", "-i", "inventories/local", "site.yml", "--syntax-check")
    parallel = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    run(binaries / "python", "-m", "pytest", "-q", *parallel, "-m", WITHOUT_CLUSTER, "tests/unit", "gateway/tests")


def namespaces() -> set[str]:
    """The host's named network namespaces."""
    return {file.name for file in Path("/run/netns").glob("*")}


@pytest.fixture
def checkout(tmp_path):
    """A fresh clone whose one cluster has a name of the tests."""
    name = cluster_name("newest")
    folder = tmp_path / "clone"
    run("git", "clone", "-q", REPO, folder)
    hosts = folder / "inventories" / "local" / "hosts.yml"
    hosts.write_text(re.sub(r"(?m)^    local: \{\}", f"    {name}: {{}}", hosts.read_text()))
    # Without the default cluster's own ports.
    (folder / "inventories" / "local" / "host_vars" / "local.yml").unlink()
    yield folder, name
    subprocess.run([sys.executable, "-m", "local.kubernetes", "down", "--name", name], cwd=REPO, check=False)


@pytest.mark.full
@pytest.mark.cluster
@pytest.mark.timeout(5400)
def test_make_up_answers_on_the_newest_python_and_make_down_leaves_nothing(checkout):
    folder, name = checkout
    before = namespaces()
    newest = next((version for version in reversed(PROMISED) if interpreter(version)), "")
    surroundings = {**os.environ, "PYTHON": interpreter(newest), "LC_ALL": "C"}
    said = run("make", "up", cwd=folder, env=surroundings, timeout=5000)
    assert "The capital of France is" in said
    binaries = folder / ".venv" / "bin"
    assert run(binaries / "python", "-V").split()[1].startswith(f"{newest}.")
    run(binaries / "ansible-playbook", "destroy.yml", "-e", f"platform_confirm={name}", cwd=folder)
    assert not Path("/var/lib/llm.on_eks", name).exists()
    assert namespaces() <= before
