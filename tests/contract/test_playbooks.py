# SPDX-License-Identifier: Apache-2.0
"""Every playbook begins alike, and runs from an installed collection by its full name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.programs

REPO = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PLAYBOOKS = sorted(REPO.glob("playbooks/*.yml"))
GROUPS = yaml.safe_load((REPO / "meta" / "runtime.yml").read_text())["action_groups"]
BEGIN = {"name": "Begin", "ansible.builtin.import_tasks": "tasks/begin.yml"}


def plays(file):
    """The plays of a playbook that have to do with clusters; others work on files, or on AWX."""
    return [play for play in yaml.safe_load(file.read_text()) if play.get("hosts", "localhost") != "localhost"]


def actions(tasks):
    for task in tasks:
        yield from (key.removeprefix("llm.on_eks.") for key in task if key.startswith("llm.on_eks."))
        yield from actions(task.get("block", []))


@pytest.mark.parametrize("file", PLAYBOOKS, ids=lambda file: file.stem)
def test_a_play_begins_with_the_check_of_all_inputs(file):
    assert [play["tasks"][0] for play in plays(file)] == [BEGIN for __ in plays(file)]


@pytest.mark.parametrize("file", PLAYBOOKS, ids=lambda file: file.stem)
def test_a_play_says_the_connection_once_for_the_actions_that_take_it(file):
    for play in plays(file):
        used = set(actions(play["tasks"]))
        wanted = {f"group/llm.on_eks.{group}" for group in ("cluster", "release") if used & set(GROUPS[group])}
        assert set(play.get("module_defaults", {})) == wanted


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs ansible-playbook far from the checkout, where only the built and installed collection is."""
    folder = tmp_path_factory.mktemp("installed")
    galaxy = [BIN / "ansible-galaxy", "collection"]
    quiet = {"capture_output": True, "cwd": folder}
    subprocess.run([*galaxy, "build", REPO, "--output-path", folder], check=True, **quiet)
    (archive,) = folder.glob("*.tar.gz")
    subprocess.run(
        [*galaxy, "install", archive, "-p", folder / "collections", "--no-deps", "--offline"], check=True, **quiet
    )
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": f"{folder / 'collections'}:{Path(sys.prefix) / 'collections'}",
        "ANSIBLE_NOCOLOR": "1",
    }

    def run(*arguments):
        command = [BIN / "ansible-playbook", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("file", PLAYBOOKS, ids=lambda file: file.stem)
def test_a_playbook_is_found_by_its_full_name(installed, file):
    done = installed(f"llm.on_eks.{file.stem}", "-i", str(REPO / "inventories" / "dev"), "--syntax-check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installed_collection_describes_an_inventory_from_elsewhere(installed):
    given = {
        "platform_provider": "existing",
        "platform_images": {"gateway": "g:1", "llamacpp": "l:1", "model_store": "s:1"},
        "platform_state_bucket": "",
        "cluster_public_access_cidrs": [],
        "model_catalog": [],
        "platform_kubeconfig": "/nowhere",
    }
    inventory = ["-i", str(REPO / "inventories" / "dev"), "-e", json.dumps(given)]
    done = installed("llm.on_eks.plan", *inventory)
    # All roles were found and described; only then is there no cluster to ask.
    assert done.returncode != 0
    assert "/nowhere" in done.stdout.split("TASK [Plan]")[1]
