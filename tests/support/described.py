# SPDX-License-Identifier: Apache-2.0
"""What roles describe, through Ansible, and whether AWS's part of it would be taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.connection import Connection, Identity
from ansible_collections.llm.on_eks.plugins.module_utils.aws.resource import AwsResource, Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.unknown import Unknown
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.references import references, resolve

REPO = Path(__file__).resolve().parents[2]
IMAGES = {"gateway": "localhost/gateway:1", "llamacpp": "localhost/llamacpp:1", "model_store": "localhost/store:1"}
# Variables that every run of these has.
COMMON = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}

Component = dict[str, Any]


def playbook(folder: Path, hosts: str, tasks: list[Any]) -> Path:
    """A playbook that writes the descriptors of each host to `folder`/HOST.json."""
    plays = [
        {
            "hosts": hosts,
            "gather_facts": False,
            "vars_files": [str(REPO / "playbooks" / "vars" / "components.yml")],
            "tasks": [
                *tasks,
                {
                    "copy": {
                        "content": "{{ platform_components | to_json }}",
                        "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
                    }
                },
            ],
        }
    ]
    file = folder / "describe.yml"
    file.write_text(yaml.safe_dump(plays))
    return file


DESCRIBE = [{"include_tasks": str(REPO / "playbooks" / "tasks" / "describe.yml")}]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "ansible-playbook"), *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORKS": "4"}
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)


def describe(folder: Path, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Component]]:
    """host -> its components, for hosts with these variables, in one run."""
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {name: dict(given) for name, given in hosts.items()}}}))
    common = json.dumps({**COMMON, "platform_images": IMAGES})
    done = run("-i", str(inventory), str(playbook(folder, "all", DESCRIBE)), "-e", common)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in hosts}


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
