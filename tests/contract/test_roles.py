# SPDX-License-Identifier: Apache-2.0
"""Every role has the same shape, and says of each input the same thing in all places."""

import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import docs  # noqa: E402

ROLES = sorted(role for role in (REPO / "roles").iterdir() if role.is_dir())
COMPONENT_ROLES = [role for role in ROLES if (role / "tasks" / "describe.yml").exists()]


def described(options, path=""):
    for name, option in options.items():
        yield f"{path}{name}", bool(option.get("description"))
        yield from described(option.get("options", {}), f"{path}{name}.")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_specs_name_the_same_inputs(role):
    options = docs.role_spec(role).get("options", {})
    defaults = docs.role_defaults(role)
    own = {name for name in options if name.startswith(f"{role.name}_")}
    missing = {name for name in own if name not in defaults and not options[name].get("required")}
    assert set(defaults) <= set(options), f"defaults without a spec: {set(defaults) - set(options)}"
    assert not missing, f"specs without a default: {missing}"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_input_is_described(role):
    silent = [name for name, said in described(docs.role_spec(role).get("options", {})) if not said]
    assert silent == []


@pytest.mark.parametrize("role", COMPONENT_ROLES, ids=lambda role: role.name)
def test_a_component_role_has_the_one_shape(role):
    tasks = yaml.safe_load((role / "tasks" / "main.yml").read_text())
    assert len(tasks) == 2
    assert "describe.yml" in str(tasks[0])
    assert tasks[1]["ansible.builtin.include_role"] == {"name": "llm.on_eks.platform", "tasks_from": "converge"}
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    assert specs["describe"].get("options") == specs["main"].get("options")


def test_generated_documents_are_fresh():
    stale = [str(path) for path, text in docs.documents().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run `python tools/docs.py`"


def test_no_task_uses_a_shell_or_ignores_errors():
    for file in [*REPO.glob("roles/*/tasks/*.yml"), *REPO.glob("playbooks/**/*.yml")]:
        text = file.read_text()
        assert "ansible.builtin.shell" not in text, file
        assert "ignore_errors" not in text, file
