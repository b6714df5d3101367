# SPDX-License-Identifier: Apache-2.0
"""Every role has the same shape, says each thing once, and describes what the snapshots beside it say.

`make role ROLE=name` runs what is here for one role.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from tests.support.described import describe_roles, weights

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import docs  # noqa: E402

ROLES = sorted(role for role in (REPO / "roles").iterdir() if (role / "meta" / "argument_specs.yml").exists())
COMPONENT_ROLES = [role for role in ROLES if docs.is_component(role)]
SNAPSHOT_TEST = "test_a_role_describes_its_snapshot"
SNAPSHOTS = sorted(REPO.glob("roles/*/tests/*.yml"))
# Beside the settings of a snapshot.
PLATFORM = {
    "platform_cluster_name": "demo",
    "platform_provider": "eks",
    "platform_aws_region": "us-west-2",
    "model_catalog": [],
}
KEYS = {"type", "elements", "choices", "default", "required", "description", "options", "no_log"}
HEAD = "---\n# What the role describes with these settings. `make role ROLE={role} UPDATE=1` writes the descriptor: look at the difference.\n"


# The parser and the emitter in C: snapshots are long.
_loaded = partial(yaml.load, Loader=yaml.CSafeLoader)
_dumped = partial(yaml.dump, Dumper=yaml.CSafeDumper)


def _read(file: Path) -> Any:
    return _loaded(file.read_text())


def nested(options, path=""):
    for name, option in options.items():
        yield f"{path}{name}", option
        yield from nested(option.get("options", {}), f"{path}{name}.")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_input_has_a_type_and_a_description_and_every_own_one_a_default(role):
    for name, option in nested(docs.role_spec(role).get("options", {})):
        assert option.get("description"), name
        assert option.get("type"), name
        # A comma ends an unquoted text that stands in braces, and what follows it is a key.
        assert set(option) <= KEYS, name
    for name, option in docs.own_options(role).items():
        assert "default" in option or option.get("required"), name


@pytest.mark.parametrize("role", COMPONENT_ROLES, ids=lambda role: role.name)
def test_a_component_can_be_there_gone_or_left_alone(role):
    state = docs.own_options(role)[f"{role.name}_state"]
    assert state["choices"] == ["present", "absent", "skip"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_what_follows_from_the_specs_is_fresh(role):
    stale = [str(path.relative_to(REPO)) for path in docs.stale(docs.role_files(role))]
    assert stale == [], "run `python tools/docs.py`"


@pytest.mark.parametrize("role", COMPONENT_ROLES, ids=lambda role: role.name)
def test_a_component_role_has_two_snapshots_beside_it(role):
    assert len(list((role / "tests").glob("*.yml"))) >= 2


@pytest.mark.slow
def test_generated_documents_are_fresh():
    stale = [str(path.relative_to(REPO)) for path in docs.stale(docs.documents())]
    assert stale == [], "run `python tools/docs.py`"


def _id(file: Path) -> str:
    return f"{file.parent.parent.name}-{file.stem}"


def _settings(file: Path) -> Any:
    text = _dumped(_read(file)["settings"])
    return {**PLATFORM, **_loaded(text.replace("${weights}", str(weights())))}


@pytest.fixture(scope="module")
def described(request):
    """snapshot -> what its role describes; only of the snapshots that this run asks for, and all in one run of Ansible."""
    asked = [item.callspec.params["file"] for item in request.session.items if item.originalname == SNAPSHOT_TEST]
    cases = {_id(file): (file.parent.parent.name, _settings(file)) for file in asked}
    return describe_roles(cases)


@pytest.mark.parametrize("file", SNAPSHOTS, ids=_id)
def test_a_role_describes_its_snapshot(described, file):
    found = described[_id(file)]
    parse(found)
    descriptor = _loaded(_dumped(found).replace(str(weights()), "${weights}"))
    given = _read(file)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot = {"settings": given["settings"], "descriptor": descriptor}
        # A remark of whoever chose the settings stays.
        remarks = [line for line in file.read_text().splitlines() if line.startswith("# ") and "UPDATE=1" not in line]
        body = "".join(f"{line}\n" for line in remarks) + yaml.safe_dump(
            snapshot, sort_keys=False, width=150, allow_unicode=True
        )
        file.write_text(HEAD.format(role=file.parent.parent.name) + body)
    else:
        assert descriptor == given.get("descriptor"), "look at it, then `make role` with UPDATE=1"


def test_no_task_uses_a_shell_or_ignores_errors():
    for file in [*REPO.glob("roles/*/tasks/*.yml"), *REPO.glob("playbooks/**/*.yml")]:
        text = file.read_text()
        assert "ansible.builtin.shell" not in text, file
        assert "ignore_errors" not in text, file
