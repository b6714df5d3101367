# SPDX-License-Identifier: Apache-2.0
"""Examples in the documentation of modules and lookups are tasks that Ansible takes: options that exist, of allowed values, and none missing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools.module_docs import texts  # noqa: E402

MODULES = sorted(REPO.glob("plugins/modules/*.py"))
INSTALLED = REPO / ".venv" / "collections" / "ansible_collections"
# What core's own modules in examples take is core's to test.
OURS = "llm.on_eks."


def fragment(name):
    """The documentation of a fragment, of ours or of an installed collection: `amazon.aws.common.modules`."""
    namespace, collection, file, *variable = name.split(".")
    root = REPO if f"{namespace}.{collection}" == "llm.on_eks" else INSTALLED / namespace / collection
    path = root / "plugins" / "doc_fragments" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"fragment_{namespace}_{file}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Fragments of amazon.aws that only hold notes have other names in them.
    return yaml.safe_load(getattr(module.ModuleDocFragment, (variable or ["documentation"])[0].upper(), "")) or {}


def documented(file):
    """option → its documentation, with those of all fragments."""
    found = yaml.safe_load(texts(file)["DOCUMENTATION"])
    options = {}
    for name in found.get("extends_documentation_fragment", []):
        for key, option in (fragment(name).get("options") or {}).items():
            options[key] = option
            options |= {alias: {**option, "required": False} for alias in option.get("aliases", [])}
    for key, option in (found.get("options") or {}).items():
        options[key] = {**options.get(key, {}), **option}
    return options


def tasks(items):
    """Every task, in blocks and plays too."""
    for item in items:
        for key in ("block", "rescue", "always", "tasks"):
            yield from tasks(item.get(key, []))
        yield item


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_modules_begin_and_are_signed_as_ansible_test_asks(file):
    text = file.read_text(encoding="utf-8")
    assert "GNU General Public License v3.0+ (see" in text[:400]
    # Names of methods of a mapping cannot be reached with a dot in Jinja.
    assert not set(yaml.safe_load(texts(file).get("RETURN") or "{}") or {}) & set(dir(dict))
    assert all("(@" in author for author in yaml.safe_load(texts(file)["DOCUMENTATION"])["author"])


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_examples_use_options_that_exist(file):
    examples = yaml.safe_load(texts(file)["EXAMPLES"])
    used = [task[OURS + file.stem] or {} for task in tasks(examples) if OURS + file.stem in task]
    assert used, "no example calls the module"
    options = documented(file)
    defaults = [key for task in tasks(examples) if "module_defaults" in task for key in task["module_defaults"]]
    for given in used:
        assert set(given) <= set(options)
        missing = {name for name, option in options.items() if option.get("required")} - set(given)
        assert not missing or defaults, f"required, and not given: {missing}"
        for name, value in given.items():
            choices = options[name].get("choices")
            assert not choices or "{{" in str(value) or value in choices or isinstance(value, list), name


@pytest.mark.parametrize("file", sorted(REPO.glob("plugins/filter/*.py")), ids=lambda file: file.stem)
def test_filters_are_documented_as_ansible_doc_reads_it(file):
    """An option that YAML takes for a truth value breaks ansible-doc; an example that is no YAML cannot be pasted."""
    assert {type(name) for name in yaml.safe_load(texts(file)["DOCUMENTATION"])["options"]} == {str}
    assert f"llm.on_eks.{file.stem}" in str(yaml.safe_load(texts(file)["EXAMPLES"]))


ROLES = sorted(path.parent for path in REPO.glob("roles/*/README.md"))


@pytest.mark.programs
def test_examples_of_roles_are_plays_that_ansible_takes(tmp_path):
    plays = [
        re.search(r"## Example.*?```yaml\n(.*?)```", (role / "README.md").read_text(), re.DOTALL)[1] for role in ROLES
    ]
    play = tmp_path / "roles.yml"
    play.write_text("\n".join(plays))
    command = [
        Path(sys.executable).parent / "ansible-playbook",
        "-i",
        REPO / "inventories" / "dev",
        "--syntax-check",
        play,
    ]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("file", sorted(REPO.glob("plugins/lookup/*.py")), ids=lambda file: file.stem)
def test_examples_of_lookups_call_them(file):
    assert f"llm.on_eks.{file.stem}" in texts(file)["EXAMPLES"]
    assert yaml.safe_load(texts(file)["EXAMPLES"])
