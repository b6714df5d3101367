# SPDX-License-Identifier: Apache-2.0
"""Inventories side by side: a new one is whole, a comparison misses nothing, a promotion moves what runs and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from ansible_collections.llm.on_eks.plugins.plugin_utils.environments import edit, new
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.differences import differences
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.environment import (
    Environment,
    UnknownEnvironment,
    choose,
    find,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.release_set import promotion, reference
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.lock_file import LockedChart, LockFile

REPO = Path(__file__).resolve().parents[2]
SCHEMA_FILE = REPO / "docs" / "inventory.schema.json"
SHA = "sha256:" + "0" * 64


def environment(name, variables, charts=()):
    return Environment(Path("/inventories") / name, f"llm-{name}", variables, {}, LockFile(list(charts)))


def play(folder, playbook, *arguments):
    """One run of a playbook, in a folder of its own."""
    command = [Path(sys.executable).parent / "ansible-playbook", REPO / "playbooks" / f"{playbook}.yml", *arguments]
    settings = {**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


# -- a new environment --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("like", ["dev", "staging", "prod"])
def test_a_new_environment_fits_the_schema_and_asks_what_only_its_owner_knows(tmp_path, like):
    shutil.copytree(REPO / "inventories", tmp_path / "inventories")
    made = new.files("prod-eu", REPO / "inventories" / like, tmp_path / "inventories", "eu-central-1", SCHEMA_FILE)
    validator = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
    for file, text in made.items():
        if file.name != "hosts.yml":
            assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == [], file
            line = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
            assert Path(os.path.normpath(file.parent / line[1])) == SCHEMA_FILE
    whole = "\n".join(made.values())
    assert "llm-prod-eu" in whole
    assert f"llm-{like}:" not in whole
    assert (
        yaml.safe_load(made[tmp_path / "inventories/prod-eu/group_vars/all.yml"])["platform_aws_region"]
        == "eu-central-1"
    )
    assert any("platform_state_bucket" in line for line in new.asked(made))


def test_a_new_environment_has_an_address_range_of_its_own(tmp_path):
    shutil.copytree(REPO / "inventories", tmp_path, dirs_exist_ok=True)
    taken = set()
    for name in ("one", "two", "three"):
        made = new.files(name, REPO / "inventories" / "dev", tmp_path, "", SCHEMA_FILE)
        for file, text in made.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        taken.add(re.search(r"^network_cidr: (\S+)", "\n".join(made.values()), re.MULTILINE)[1])
    assert len(taken) == 3
    assert not taken & {"10.10.0.0/16", "10.20.0.0/16", "10.30.0.0/16"}


def test_secrets_and_the_release_set_stay_where_they_are(tmp_path):
    like = tmp_path / "mine"
    shutil.copytree(REPO / "inventories" / "dev", like)
    (like / "release.lock.yml").write_text("charts: []\n")
    (like / "group_vars" / "vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n00\n")
    made = new.files("next", like, tmp_path, "", SCHEMA_FILE)
    assert not {"release.lock.yml", "vault.yml"} & {file.name for file in made}
    assert new.left_out(like) == ["group_vars/vault.yml"]


@pytest.mark.parametrize("name", ["", "Prod", "a b", "../up", "-a", "a" * 41, "{{ 1 }}"])
def test_a_name_that_cannot_be_one_of_a_cluster_is_refused(tmp_path, name):
    with pytest.raises(UnknownEnvironment, match="lower-case"):
        new.files(name, REPO / "inventories" / "dev", tmp_path, "", SCHEMA_FILE)


# -- comparison ---------------------------------------------------------------------------------------------------------
def test_each_key_that_differs_is_listed_once_and_nothing_else():
    model = {"name": "m", "source": "hf://a/b", "replicas": {"min": 1, "max": 2}}
    left = environment("left", {"a": 1, "same": [1], "model_catalog": [model, {"name": "only", "source": "x"}]})
    right = environment(
        "right", {"b": "x", "same": [1], "model_catalog": [{**model, "replicas": {"min": 3, "max": 2}}]}
    )
    found = {one.key: (one.left, one.right) for one in differences(left, right, {"a": 2, "b": "x"})}
    assert found == {
        "a": ("1", "2 (default)"),
        "model_catalog[m].replicas.min": ("1", "3"),
        "model_catalog[only].name": ("only", "(not set)"),
        "model_catalog[only].source": ("x", "(not set)"),
    }


def test_what_an_environment_says_is_meant_to_differ_is_marked():
    said = {"platform_intended_differences": ["model_catalog[*].replicas", "network_*"]}
    model = {"name": "m", "source": "s", "replicas": {"min": 1}, "replicas_x": 1}
    left = environment("left", {**said, "network_cidr": "10.1.0.0/16", "other": 1, "model_catalog": [model]})
    right = environment("right", {"model_catalog": [{**model, "replicas": {"min": 2}, "replicas_x": 2}]})
    intended = {one.key for one in differences(left, right, {}) if one.intended}
    assert intended == {"model_catalog[m].replicas.min", "network_cidr"}


def test_charts_of_the_release_sets_are_compared():
    chart = LockedChart("https://charts.example.com", "web", "1.0.0", SHA)
    newer = LockedChart("https://charts.example.com", "web", "1.1.0", SHA)
    (one,) = differences(environment("l", {}, [chart]), environment("r", {}, [newer]), {})
    assert (one.key, one.left[:5], one.right[:5]) == ("release.lock.yml: web", "1.0.0", "1.1.0")


def test_an_environment_with_several_clusters_asks_which():
    with pytest.raises(UnknownEnvironment, match=r"several clusters: a, b; name one of them, for example prod:a"):
        choose(Path("/x/prod"), ["a", "b"], "")
    assert choose(Path("/x/prod"), ["a", "b"], "b") == "b"
    assert find("dev:llm-dev", REPO / "inventories") == (REPO / "inventories" / "dev", "llm-dev")
    with pytest.raises(UnknownEnvironment, match="has dev, local, prod, staging"):
        find("production", REPO / "inventories")


# -- promotion ----------------------------------------------------------------------------------------------------------
def in_files(folder, name, files):
    """An environment whose variables stand in files, as a run reads them."""
    variables, places = {}, {}
    for file, text in files.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for key, value in yaml.safe_load(text).items():
            variables[key], places[key] = value, path
    return Environment(folder / name, f"llm-{name}", variables, places)


OLD = """---
# Ours.
model_catalog:
  # served to all
  - name: m   # the first
    source: hf://a/b
    revision: old # pinned in May
    replicas: {min: 3}
  - {name: flow, source: "hf://c/d"}
  - name: elsewhere
    source: s3://other/place
    revision: keep
"""
NEW = (
    OLD.replace("revision: old", "revision: 'new'")
    .replace('"hf://c/d"', '"hf://c/d", revision: r2')
    .replace("s3://other/place", "s3://source/place")
)


def test_a_promotion_changes_pins_and_no_other_character(tmp_path):
    source = in_files(
        tmp_path, "staging", {"m.yml": NEW, "v.yml": "gateway_image: a.example/g:2\ncluster_version: '1.36'\n"}
    )
    target = in_files(tmp_path, "prod", {"m.yml": OLD, "v.yml": "cluster_version: '1.35'\n"})
    made = promotion(source, target)
    wanted = OLD.replace("revision: old #", "revision: new #").replace('"hf://c/d"', '"hf://c/d", revision: r2')
    assert made.files[tmp_path / "prod" / "m.yml"] == wanted
    release = tmp_path / "prod" / "group_vars" / "eks_clusters" / "release.yml"
    assert yaml.safe_load(made.files[release]) == {"gateway_image": "a.example/g:2"}
    assert [line.split("  ")[0] for line in made.moved] == [
        "+ gateway_image",
        "~ model_catalog[m].revision",
        "+ model_catalog[flow].revision",
    ]
    assert any("elsewhere" not in line or "means nothing" in line for line in made.left)


def test_images_keep_the_registry_of_the_account_that_they_run_in():
    ours = "111111111111.dkr.ecr.us-west-2.amazonaws.com/llm/gateway@sha256:aa"
    theirs = "222222222222.dkr.ecr.eu-central-1.amazonaws.com/llm/gateway@sha256:bb"
    assert reference(ours, theirs) == "222222222222.dkr.ecr.eu-central-1.amazonaws.com/llm/gateway@sha256:aa"
    assert reference(ours, "") == ours


def test_pushed_images_replace_a_template(tmp_path):
    images = "platform_images:\n  gateway: r.example/g@sha256:1\n"
    source = in_files(tmp_path, "staging", {"images.yml": images})
    target = in_files(tmp_path, "prod", {"images.yml": '---\n# Ours.\nplatform_images: "{{ undef() }}"\n'})
    made = promotion(source, target)
    text = made.files[tmp_path / "prod" / "images.yml"]
    assert yaml.safe_load(text) == yaml.safe_load(images)
    assert text.startswith("---\n# Ours.\n")


def test_a_second_promotion_moves_nothing(tmp_path):
    source = in_files(tmp_path, "staging", {"m.yml": NEW.replace("source/place", "other/place")})
    target = in_files(tmp_path, "prod", {"m.yml": OLD})
    again = in_files(tmp_path, "prod", {"m.yml": promotion(source, target).files[tmp_path / "prod" / "m.yml"]})
    assert promotion(source, again).moved == []


def test_a_value_is_quoted_where_yaml_wants_it():
    text = "a: 1\nb: 2\n"
    for value in ("1.10", "yes", "a: b", "#x", "[1]"):
        assert yaml.safe_load(edit.apply(text, [edit.replace(text, ["a"], value)])) == {"a": value, "b": 2}


# -- the playbooks ------------------------------------------------------------------------------------------------------
@pytest.mark.programs
def test_a_new_environment_passes_preflight_but_for_what_only_its_owner_knows(tmp_path):
    done = play(tmp_path, "new_environment", "-e", "name=prod-eu", "-e", "like=prod", "-e", "region=eu-central-1")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "inventories" / "prod-eu"
    checked = play(tmp_path, "preflight", "-i", folder)
    assert checked.returncode != 0
    asked = set(re.findall(r"\.yml:\d+: (\w+) is not set; ", checked.stdout))
    assert asked == {"platform_state_bucket", "cluster_admins"}, checked.stdout
    again = play(tmp_path, "new_environment", "-e", "name=prod-eu")
    assert again.returncode != 0
    assert "exists already" in again.stdout


@pytest.mark.programs
def test_the_shipped_environments_differ_only_where_they_say_so():
    done = play(REPO, "compare", "-e", "left=staging", "-e", "right=prod", "-e", "compare_fail=true")
    assert done.returncode == 0, done.stdout
    assert re.search(r"network_cidr\s+10\.20\.0\.0/16\s+10\.30\.0\.0/16\s+intended", done.stdout)


@pytest.mark.programs
def test_promote_shows_in_check_mode_what_it_then_does(tmp_path):
    shutil.copytree(REPO / "inventories", tmp_path / "inventories")
    charts = {"charts": [{"source": "https://c.example", "name": "web", "version": "1.0.0", "digest": SHA}]}
    (tmp_path / "inventories" / "staging" / "release.lock.yml").write_text(yaml.safe_dump(charts))
    names = ["-e", "source=staging", "-e", "target=prod"]
    lock = tmp_path / "inventories" / "prod" / "release.lock.yml"
    shown = play(tmp_path, "promote", *names, "--check")
    assert "+ web 1.0.0" in shown.stdout, shown.stdout + shown.stderr
    assert not lock.exists()
    assert "+ web 1.0.0" in play(tmp_path, "promote", *names).stdout
    assert yaml.safe_load(lock.read_text()) == charts
    assert "changed=0" in play(tmp_path, "promote", *names).stdout
