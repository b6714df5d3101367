# SPDX-License-Identifier: Apache-2.0
"""Examples of modules that need no cluster, run as they are written: the emulated account, a model server, a stand-in of a compiler.

Those of AWS resources are in test_aws_modules_by_ansible.py. What works on a cluster (converge, drift, status, rollback, verify, report, cost) is
played by playbooks in tests/e2e.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.emulated_aws import REGION, EmulatedAws
from tests.support.model_server import COMMIT, ModelServer
from tests.support.tiny_model import make_tiny_gguf

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools.module_docs import texts  # noqa: E402

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]
COMPILER = REPO / "tests" / "support" / "fake_compiler.py"
MODULES = [
    "census",
    "reference",
    "lock",
    "bundle",
    "new_environment",
    "compare",
    "promote",
    "program",
    "model_files",
    "model_sync",
    "neuron_artifacts",
]
COMPONENT = {
    "name": "greeter",
    "manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}],
}


@pytest.fixture
def aws():
    with EmulatedAws() as emulated:
        yield emulated


@pytest.fixture
def hub():
    weights = (8).to_bytes(8, "little") + b"{}      "
    with ModelServer({"config.json": b'{"model_type": "llama"}', "model.safetensors": weights}) as made:
        yield made


def test_every_module_is_run_by_an_example_or_a_playbook():
    places = [*REPO.glob("playbooks/**/*.yml"), *REPO.glob("roles/*/tasks/*.yml")]
    used = {name for file in places for name in re.findall(r"llm\.on_eks\.(\w+):", file.read_text())}
    for_aws = yaml.safe_load((REPO / "meta" / "runtime.yml").read_text())["action_groups"]["aws"]
    assert {file.stem for file in REPO.glob("plugins/modules/*.py")} - {*MODULES, *for_aws, *used} == set()


def tasks(replaced):
    """The examples' tasks, with what is elsewhere on this machine."""
    for module in MODULES:
        text = texts(REPO / "plugins" / "modules" / f"{module}.py")["EXAMPLES"]
        for ours, here in replaced.get(module, {}).items():
            assert ours in text, f"{module}: {ours}"
            text = text.replace(ours, here)
        yield from yaml.safe_load(text)


@pytest.fixture
def folder(tmp_path):
    """Inventories, a model's folder and file, a compiler: as the examples name them."""
    for name in ("staging", "prod"):
        shutil.copytree(REPO / "inventories" / name, tmp_path / "inventories" / name)
    (tmp_path / "models").mkdir()
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "llama", "hidden_size": 64}')
    make_tiny_gguf(tmp_path / "mine.gguf", kind="bigram", seed=0)
    compiler = tmp_path / "python"
    compiler.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} {COMPILER} "$@"\n')
    compiler.chmod(0o755)
    return tmp_path


def test_every_example_runs(aws, hub, folder):
    account = f"region: {REGION}, endpoint_url: '{aws.url}'"
    replaced = {
        "census": {"region: eu-central-1": account},
        "reference": {'region: "{{ platform_aws_region }}"': f"region: {REGION}\n    endpoint_url: {aws.url}"},
        "lock": {"inventories/prod/release.lock.yml": f"{folder}/release.lock.yml"},
        "bundle": {"/srv/llm-bundle": f"{folder}/bundle"},
        "program": {"{{ role_path }}/../..": str(REPO)},
        "model_files": {
            "hf://meta-llama/Llama-3.1-8B-Instruct": "hf://ORG/NAME",
            "0e9e39f249a16976918f6564b8830bc894c89659": COMMIT,
        },
        "model_sync": {
            "/data/mine.gguf": f"{folder}/mine.gguf",
            "/mnt/models": f"{folder}/models",
            "hf://meta-llama/Llama-3.1-8B-Instruct": "hf://ORG/NAME",
            "0e9e39f249a16976918f6564b8830bc894c89659": COMMIT,
        },
        "neuron_artifacts": {
            "/mnt/models/llama-3.1-8b/0e9e39f249a1": f"{folder}/llama",
            "/mnt/neuron": f"{folder}/neuron",
            "/opt/optimum/bin/python": f"{folder}/python",
        },
    }
    (folder / "neuron").mkdir()
    wanted = list(tasks(replaced))
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "platform_components": [COMPONENT],
            "model_catalog": [],
            "platform_reference_file": f"{folder}/reference.yml",
            "hub_token": "hf_x",
        },
        "tasks": wanted,
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    environment = {
        **aws.environment(),
        "HF_ENDPOINT": hub.url,
        "FAKE_COUNT": str(folder / "compiled"),
        "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(map(str, (REPO / "collections", Path(sys.prefix) / "collections"))),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", folder / "play.yml"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok={len(wanted)} " in done.stdout
    assert (folder / "inventories" / "prod-eu" / "hosts.yml").exists()
    assert list((folder / "models" / "llama-3.1-8b").iterdir())
    assert (folder / "compiled").read_text() == "1\n"
