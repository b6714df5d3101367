# SPDX-License-Identifier: Apache-2.0
"""What others take of the collection: its metadata, its execution environment, its workflows, its scenarios."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.content_cache import cache_root

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import execution_environment, extra_venv, molecule  # noqa: E402

WORKFLOWS = sorted(REPO.glob(".github/workflows/*.yml"))
SCENARIOS = sorted(path.parent.name for path in REPO.glob("extensions/molecule/*/molecule.yml"))
DEFINITION = yaml.safe_load((REPO / "execution-environment.yml").read_text())


def pins(file):
    return dict(re.findall(r"^([\w.-]+)==([^;\s]+)", (REPO / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_are_pinned_by_commit_and_say_their_version(file):
    used = re.findall(r"uses: (.+)", file.read_text())
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_have_least_rights_and_run_targets_that_exist(file):
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", file.read_text())) <= targets | {"s"}


def test_the_execution_environment_has_the_versions_that_are_tested():
    dependencies = DEFINITION["dependencies"]
    runner = pins("requirements-quality.txt")["ansible-runner"]
    assert dependencies["ansible_core"]["package_pip"] == f"ansible-core=={pins('constraints.txt')['ansible-core']}"
    assert dependencies["ansible_runner"]["package_pip"] == f"ansible-runner=={runner}"
    files = ("requirements.yml", "requirements-awx.yml")
    wanted = [one["name"] for file in files for one in yaml.safe_load((REPO / file).read_text())["collections"]]
    given = [one["name"] for one in dependencies["galaxy"]["collections"]]
    assert given == ["files/llm-on_eks.tar.gz", *(f"files/{name}" for name in wanted)]


def required(file):
    return set(re.findall(r"^([A-Za-z][\w-]*)", (REPO / file).read_text(), re.MULTILINE))


def test_an_execution_environment_has_every_package_that_runs_need_and_none_of_the_local_cluster():
    local = {"flask", "flask-cors", "jsonschema", "moto", "supervisor"}
    assert required("meta/requirements.txt") == required("requirements.txt") - local
    given = dict(line.split("==") for line in execution_environment.pinned().splitlines())
    assert set(given) == required("meta/requirements.txt") - execution_environment.LEFT_OUT
    assert all(given.values())


def test_what_the_definition_names_is_collected_or_in_the_project():
    collected = {"llm-on_eks.tar.gz", "helm", "kubectl", "requirements.txt"}
    collected |= {"amazon.aws", "kubernetes.core", "awx.awx"}
    named = [one["src"] for one in DEFINITION["additional_build_files"]]
    for name in [*named, DEFINITION["dependencies"]["python"], DEFINITION["dependencies"]["system"]]:
        assert Path(name).name in collected if name.startswith(".local/") else (REPO / name).exists(), name


def test_molecule_knows_every_scenario():
    assert sorted(molecule.SCENARIOS) == SCENARIOS
    for name in SCENARIOS:
        folder = REPO / "extensions" / "molecule" / name
        assert (folder / "converge.yml").exists()
        # Verified by other people's modules.
        assert re.search(r"kubernetes\.core\.k8s_info|amazon\.aws\.\w+_info", (folder / "verify.yml").read_text())


def test_the_changelog_has_the_version():
    version = yaml.safe_load((REPO / "galaxy.yml").read_text())["version"]
    assert f'<a id="v{version.replace(".", "-")}"></a>' in (REPO / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def programs():
    return extra_venv.obtain("quality", cache_root()) / "bin"


@pytest.mark.full
def test_ansible_builder_takes_the_definition(programs, tmp_path):
    execution_environment.collect(cache_root(), programs)
    execution_environment.create(programs, tmp_path)
    assert "COPY _build/bin/helm" in (tmp_path / "Containerfile").read_text()
    for name in ("helm", "kubectl"):
        assert (tmp_path / "_build" / "bin" / name).stat().st_size > 10**7
    assert (tmp_path / "_build" / "files" / "llm-on_eks.tar.gz").exists()


@pytest.mark.full
def test_the_documentation_of_the_collection_has_no_errors(programs, tmp_path):
    """In a tree of collections with those that ours depends on: antsibull-docs looks nowhere else."""
    tree = tmp_path / "ansible_collections"
    installed = REPO / ".venv" / "collections" / "ansible_collections"
    for name in ("amazon", "kubernetes"):
        shutil.copytree(installed / name, tree / name)
    subprocess.run(["git", "clone", "-q", REPO, tree / "llm" / "on_eks"], check=True)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    command = [programs / "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."]
    done = subprocess.run(
        command, cwd=tree / "llm" / "on_eks", env=environment, capture_output=True, text=True, check=False
    )
    # A default that is a template has no type yet; antsibull-docs wants one. Nothing else may be wrong.
    expected = r"\{\{|validation errors?|->|correct DOCUMENTATION"
    assert [line for line in (done.stdout + done.stderr).splitlines() if not re.search(expected, line)] == []


def test_no_name_is_a_lone_underscore():
    """In Ansible that is a translation, and ansible-test's pylint refuses it. What is not used is called `__`."""
    folders = ("plugins", "tools", "local", "gateway", "engines", "tests")
    texts = {file: file.read_text() for folder in folders for file in (REPO / folder).rglob("*.py")}
    likely = {file: text for file, text in texts.items() if re.search(r"(?<!\w)_(?!\w)", text)}
    assert [f"{file.relative_to(REPO)}:{line}" for file, text in likely.items() for line in lone(text)] == []


def lone(text):
    """The lines where a name is `_`."""
    names = ((node, getattr(node, "id", getattr(node, "arg", ""))) for node in ast.walk(ast.parse(text)))
    return sorted({node.lineno for node, name in names if name == "_"})
