# SPDX-License-Identifier: Apache-2.0
"""What roles describe, through Ansible, and whether AWS's part of it would be taken."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection, Identity
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import AwsResource, Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import Unknown
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.references import references, resolve
from tests.support.content_cache import ContentCache, cache_root, key_of
from tests.support.imports import modules, with_imports

REPO = Path(__file__).resolve().parents[2]
ACTIONS = Path(__file__).parent / "action_plugins"
IMAGES = {"gateway": "localhost/gateway:1", "llamacpp": "localhost/llamacpp:1", "model_store": "localhost/store:1"}
# Variables that every run of these has.
COMMON = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    # No test asks a hub on the internet.
    "models_check_sources": False,
}
# What a whole run up to its descriptors is made of, besides variables.
SOURCES = ("roles", "playbooks", "plugins", "ansible.cfg", "tests/support/described.py")
DESCRIBE = [{"include_tasks": str(REPO / "playbooks" / "tasks" / "describe.yml")}]
_ALONE = "query('llm.on_eks.component_roles', role_alone, provider=platform_provider | default('existing'))"
_ON_AWS = "query('llm.on_eks.component_roles', provider=platform_provider | default('existing'), scope='eks')"
# Two loops, as in playbooks/tasks/describe.yml: with one, hosts without AWS would change the order for those that have it.
DESCRIBE_ALONE = [
    *(
        {
            "include_role": {"name": "llm.on_eks.{{ needed }}", "tasks_from": "describe"},
            "loop": f"{{{{ {_ALONE} | {which}('in', {_ON_AWS}) | list }}}}",
            "loop_control": {"loop_var": "needed"},
        }
        for which in ("select", "reject")
    ),
    {"set_fact": {"platform_components": "{{ lookup('vars', role_alone ~ '_components') }}"}},
]

Component = dict[str, Any]
_KNOWN = ContentCache("described")


@cache
def sources() -> tuple[str, ...]:
    """What descriptors alone are made of: the roles, and of the plugins those that their tasks and templates use, with what these import."""
    known = modules("plugins")
    tasks = "".join(
        file.read_text() for file in REPO.glob("roles/*/tasks/*.yml") if file.stem in ("describe", "prepare")
    )
    used = {
        f"plugins.{kind}.{name}" for name in re.findall(r"llm\.on_eks\.(\w+):", tasks) for kind in ("action", "modules")
    }
    used |= {name for name in known if name.startswith(("plugins.filter.", "plugins.lookup."))}
    plugins = sorted(str(known[name].relative_to(REPO)) for name in with_imports(used & set(known), known))
    return ("roles", "playbooks/tasks/describe.yml", "ansible.cfg", "tests/support/described.py", *plugins)


class Refused(Exception):
    """A role does not take these variables; the text is its sentence."""


def playbook(folder: Path, hosts: str, tasks: list[Any]) -> Path:
    """A playbook that writes to `folder`/HOST.json: `components`, or `refused`, the sentence of the task that failed."""
    file = f"{folder}/{{{{ inventory_hostname }}}}.json"
    written = {"keep": {"text": "{{ {'components': platform_components} | to_json }}", "file": file}}
    refused = {"keep": {"text": "{{ {'refused': ansible_failed_result.msg} | to_json }}", "file": file}}
    play = {
        "hosts": hosts,
        "gather_facts": False,
        # Each host by itself: their loops differ, and the linear strategy runs an include for all hosts at once.
        "strategy": "free",
        "tasks": [{"name": "Describe", "block": [*tasks, written], "rescue": [refused]}],
    }
    made = folder / "describe.yml"
    made.write_text(yaml.safe_dump([play]))
    return made


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "ansible-playbook"), *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORKS": "4", "ANSIBLE_ACTION_PLUGINS": str(ACTIONS)}
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)


def describe(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Component]]:
    """host -> its components, for hosts with these variables. Raises Refused for the first that are none.

    What was described before from the same roles and variables is not described again (`ContentCache`); the rest is, in
    one run of Ansible.
    """
    outcomes = _outcomes(hosts)
    for name, outcome in outcomes.items():
        if "refused" in outcome:
            raise Refused(f"{name}: {outcome['refused']}")
    return {name: outcome["components"] for name, outcome in outcomes.items()}


def refusals(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """host -> what a role says against its variables; empty where it takes them."""
    return {name: outcome.get("refused", "") for name, outcome in _outcomes(hosts).items()}


def _outcomes(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    keys = {name: key_of(str(REPO), name, given, _files(given), sources=sources()) for name, given in hosts.items()}
    found = {name: _KNOWN.get(key) for name, key in keys.items()}
    unknown = {name: hosts[name] for name, outcome in found.items() if outcome is None}
    if unknown:
        found |= _describe(unknown)
        for name in unknown:
            if "components" in found[name]:
                _KNOWN.put(keys[name], found[name])
    return found


def _describe(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder, "hosts.yml")
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {host: dict(given) for host, given in hosts.items()}}}))
        common = {**COMMON, "platform_images": IMAGES, "models_cache": f"{folder}/models"}
        return _written(inventory, "all", DESCRIBE, common)


def describe_roles(cases: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, list[Component]]:
    """case -> the components of one role alone, for cases that are a role and its variables. Described in one run."""
    keys = {
        name: key_of(str(REPO), role, given, _files(given), sources=sources()) for name, (role, given) in cases.items()
    }
    found = {name: known for name, key in keys.items() if (known := _KNOWN.get(key)) is not None}
    unknown = {name: case for name, case in cases.items() if name not in found}
    if unknown:
        hosts = {name: {**given, "role_alone": role} for name, (role, given) in unknown.items()}
        with tempfile.TemporaryDirectory() as folder:
            inventory = Path(folder, "hosts.yml")
            inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
            common = {**COMMON, "platform_images": IMAGES, "models_cache": f"{folder}/models"}
            outcomes = _written(inventory, "all", DESCRIBE_ALONE, common)
        for name, outcome in outcomes.items():
            if "refused" in outcome:
                raise Refused(f"{name}: {outcome['refused']}")
            found[name] = outcome["components"]
            _KNOWN.put(keys[name], found[name])
    return found


def describe_inventory(inventory: Path, group: str, tasks: list[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """host -> its components, of the hosts of a group in an inventory of the checkout. `tasks` end with DESCRIBE."""
    places = (*SOURCES, str(inventory.relative_to(REPO)))
    key = key_of(str(inventory), group, tasks, given, sources=places)
    found = _KNOWN.get(key)
    if found is None:
        outcomes = _written(inventory, group, tasks, given)
        found = {host: outcome["components"] for host, outcome in outcomes.items()}
        _KNOWN.put(key, found)
    return found


def _written(inventory: Path, hosts: str, tasks: list[Any], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """host -> what the playbook of these tasks wrote."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = playbook(folder, hosts, tasks)
        done = run("-i", str(inventory), str(file), "-e", json.dumps(given))
        assert done.returncode == 0, done.stdout + done.stderr
        return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


def weights() -> Path:
    """A file for a model's weights, at the same place in every session: descriptors name it."""
    file = cache_root() / "tests" / "weights" / "mine.gguf"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"GGUF and the rest")
    return file


def _files(given: Any) -> list[str]:
    """Digests of the files that variables name: models of this machine."""
    if isinstance(given, Mapping):
        return [digest for value in given.values() for digest in _files(value)]
    if isinstance(given, list):
        return [digest for value in given for digest in _files(value)]
    if not (isinstance(given, str) and given.startswith("file://")):
        return []
    file = Path(given.removeprefix("file://"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "none"]


class _AllUnknown(dict[tuple[str, str], Any]):
    """Outputs of an empty account."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: tuple[str, str]) -> Unknown:
        return Unknown(".".join(key))


def _offline(service: str) -> Any:
    raise AssertionError(f"{service} was asked, though nothing was to be looked up")


def resources(components: list[Component], region: str = "us-west-2") -> dict[tuple[str, str], AwsResource]:
    """(component, name) -> the resource, with its properties checked by its class. Raises AwsError."""
    connection = Connection(_offline, region)
    connection._identity = Identity("123456789012", "arn:aws:iam::123456789012:user/deployer")
    made = {}
    for component in components:
        for entry in component.get("aws", []):
            properties = resolve(entry["properties"], _AllUnknown())
            owner = Owner("demo", component["name"])
            made[component["name"], entry["name"]] = RESOURCES[entry["type"]](
                connection, properties, owner, adopt=entry.get("adopt", False)
            )
    return made


def aws_entries(components: list[Component]) -> Iterator[tuple[str, dict[str, Any]]]:
    for component in components:
        for entry in component.get("aws", []):
            yield component["name"], entry


def dangling(components: list[Component]) -> list[str]:
    """References and `after` that name nothing."""
    kinds = {(component, entry["name"]): RESOURCES[entry["type"]] for component, entry in aws_entries(components)}
    outputs = {(component, f"{name}_{output}") for (component, name), kind in kinds.items() for output in kind.produces}
    outputs |= {(component["name"], name) for component in components for name in component.get("outputs", {})}
    lost = [
        f"${{out:{component}.{output}}}"
        for component, output in references(components)
        if (component, output) not in outputs
    ]
    for component, entry in aws_entries(components):
        for name in entry.get("after", []):
            first, dot, rest = name.partition(".")
            if ((first, rest) if dot else (component, first)) not in kinds:
                lost.append(f"after {name} of {component}.{entry['name']}")
    return lost


def edges(components: list[Component]) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """(component, name) -> what it comes after, of AWS's resources alone."""
    kinds = {(component, entry["name"]): RESOURCES[entry["type"]] for component, entry in aws_entries(components)}
    makers = {
        (component, f"{name}_{output}"): (component, name)
        for (component, name), kind in kinds.items()
        for output in kind.produces
    }
    found = {}
    for component, entry in aws_entries(components):
        before = {makers[key] for key in references(entry["properties"]) if key in makers}
        for name in entry.get("after", []):
            first, dot, rest = name.partition(".")
            before.add((first, rest) if dot else (component, first))
        found[component, entry["name"]] = before
    return found
