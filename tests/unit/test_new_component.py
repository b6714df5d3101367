# SPDX-License-Identifier: Apache-2.0
"""A new component's role works as it is written: its descriptor is valid, its other files follow, nothing is overwritten."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from jinja2 import Environment

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.component_roles import discover, in_order
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from tools import docs, new_component

SKIPPED = "inventories/local/group_vars/eks_clusters/skipped.yml"
ABOUT = "Greets: whoever asks, and 'others'"
COMMON = ["--version", "1.4.2", "--about", ABOUT]
SOURCES = {
    "repository": ["--chart", "greeter", "--repository", "https://charts.example.com"],
    "oci": ["--oci", "oci://registry.example.com/charts/greeter"],
    "manifests": ["--chart", "greeter", "--manifests", "https://example.com/v1.4.2/install.yaml"],
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A checkout with one other role."""
    for path in ("roles/toolbox", "docs/converge.md", SKIPPED):
        source, target = docs.REPO / path, tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    monkeypatch.setattr(docs, "REPO", tmp_path)
    monkeypatch.setattr(new_component, "REPO", tmp_path)
    return tmp_path


def written(*source):
    return new_component.write(new_component.parse(["say_hello", *source, *COMMON]))


@pytest.mark.parametrize("kind", SOURCES)
def test_the_descriptor_is_valid_and_pins_the_version(tree, kind):
    written(*SOURCES[kind])
    role = tree / "roles" / "say_hello"
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    assert defaults["say_hello_state"] == "present"
    environment = Environment(trim_blocks=True)
    environment.filters |= {"to_json": json.dumps, "combine": lambda one, other, recursive: {**one, **other}}
    computed = {"say_hello_computed_values": {}} if kind != "manifests" else {}
    text = environment.from_string((role / "templates" / "components.yml.j2").read_text()).render(
        **defaults, **computed
    )
    (component,) = parse(yaml.safe_load(text))
    (release,) = component.releases
    assert (component.name, component.namespace.name) == ("say_hello", "say-hello")
    assert release.chart.version == "1.4.2"
    assert "1.4.2" in release.chart.manifests or kind != "manifests"


@pytest.mark.parametrize("kind", SOURCES)
def test_no_hand_written_part_is_longer_than_a_page_and_all_else_is_fresh(tree, kind):
    written(*SOURCES[kind])
    role = tree / "roles" / "say_hello"
    by_hand = [role / "meta/argument_specs.yml", role / "templates/components.yml.j2", role / "vars/main.yml"]
    assert sum(len(file.read_text().splitlines()) for file in by_hand if file.exists()) <= 25
    assert docs.stale(docs.documents()) == []
    assert len(list((role / "tests").glob("*.yml"))) == 2


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_said_of_it_stays_one_text(tree, kind):
    written(*SOURCES[kind])
    spec = docs.role_spec(tree / "roles" / "say_hello")
    assert spec["short_description"] == ABOUT
    assert all(set(option) <= {"type", "choices", "default", "description"} for option in spec["options"].values())
    metadata = yaml.safe_load((tree / "roles" / "say_hello" / "meta" / "main.yml").read_text())
    assert metadata["galaxy_info"]["description"] == ABOUT
    assert yaml.safe_load((tree / "changelogs" / "fragments" / "component-say-hello.yml").read_text())


def test_it_is_found_without_being_listed_and_skipped_on_the_local_cluster(tree):
    written(*SOURCES["oci"])
    assert in_order(discover(tree / "roles")) == ["say_hello"]
    assert yaml.safe_load((tree / SKIPPED).read_text())["say_hello_state"] == "skip"


def test_an_existing_role_is_left_as_it_is(tree):
    written(*SOURCES["oci"])
    template = tree / "roles" / "say_hello" / "templates" / "components.yml.j2"
    template.write_text("- name: mine\n")
    with pytest.raises(SystemExit, match="exists; choose another name"):
        written(*SOURCES["oci"])
    assert template.read_text() == "- name: mine\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Say-Hello", *SOURCES["oci"]], "use small letters, digits and underscores"),
        (["say_hello"], "one of --repository"),
        (["say_hello", *SOURCES["oci"], "--repository", "https://charts.example.com"], "one of --repository"),
        (["say_hello", "--repository", "https://charts.example.com"], "--chart is missing"),
    ],
)
def test_what_is_missing_is_said(arguments, said, capsys):
    with pytest.raises(SystemExit):
        new_component.parse([*arguments, *COMMON])
    assert said in capsys.readouterr().err
