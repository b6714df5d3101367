# SPDX-License-Identifier: Apache-2.0
"""Component roles are found in their folder, and described in the order of their needs."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.component_roles import (
    ComponentRole,
    ComponentRolesError,
    discover,
    in_order,
    left_out,
)


def roles(*given):
    return {role.name: role for role in given}


def test_a_folder_with_a_descriptor_is_found_with_what_its_vars_say(tmp_path):
    for name in ("shop", "toolbox"):
        (tmp_path / name / "templates").mkdir(parents=True)
    (tmp_path / "shop" / "templates" / "components.yml.j2").write_text("- name: shop\n")
    (tmp_path / "shop" / "vars").mkdir()
    own = {"shop_scope": "eks", "shop_needs": ["cluster"], "shop_other": "{{ anything }}"}
    (tmp_path / "shop" / "vars" / "main.yml").write_text(yaml.safe_dump(own))
    assert discover(tmp_path) == {"shop": ComponentRole("shop", "eks", ("cluster",))}


def test_a_role_comes_after_those_that_it_needs_and_alone_brings_them():
    found = roles(
        ComponentRole("a", needs=("c",)), ComponentRole("b"), ComponentRole("c", needs=("d",)), ComponentRole("d")
    )
    assert in_order(found, ["a"]) == ["d", "c", "a"]
    everything = in_order(found)
    assert sorted(everything) == ["a", "b", "c", "d"]
    assert everything.index("d") < everything.index("c") < everything.index("a")


def test_a_cluster_that_aws_did_not_make_has_no_role_of_aws_even_where_one_is_needed():
    found = roles(
        ComponentRole("files", "eks"), ComponentRole("models", needs=("files",)), ComponentRole("bill", "account")
    )
    assert in_order(found, provider="existing") == ["models"]
    assert in_order(found, provider="eks") == ["files", "models"]


def test_a_role_that_defaults_and_inventory_skip_is_left_out_unless_another_needs_it():
    found = roles(
        ComponentRole("logs", state="skip"),
        ComponentRole("metrics", state="skip"),
        ComponentRole("chart", needs=("metrics",)),
        ComponentRole("engine"),
    )
    states = {"engine": "skip"}
    left = left_out(found, in_order(found), lambda role: states.get(role.name, role.state))
    assert left == ["logs"], "metrics is needed, and the engine is skipped by the inventory alone"
    assert left_out(found, in_order(found), lambda role: "present") == []


def test_the_default_state_is_read_from_the_defaults(tmp_path):
    for name, line in (("shop", "shop_state: skip"), ("stall", "stall_size: 3")):
        (tmp_path / name / "templates").mkdir(parents=True)
        (tmp_path / name / "templates" / "components.yml.j2").write_text("- name: x\n")
        (tmp_path / name / "defaults").mkdir()
        (tmp_path / name / "defaults" / "main.yml").write_text(f"---\n# Whether.\n{line}\n")
    assert {role.name: role.state for role in discover(tmp_path).values()} == {"shop": "skip", "stall": "present"}


def test_an_unknown_need_and_a_circle_are_named():
    with pytest.raises(ComponentRolesError, match="tpyo is not a role that describes components; there are a"):
        in_order(roles(ComponentRole("a", needs=("tpyo",))))
    with pytest.raises(ComponentRolesError, match="circle: "):
        in_order(roles(ComponentRole("a", needs=("b",)), ComponentRole("b", needs=("a",))))
