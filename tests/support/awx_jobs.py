# SPDX-License-Identifier: Apache-2.0
"""Jobs as AWX runs them: ansible-runner with the private data folder that AWX makes.

Sources of that folder's form, in AWX 24.6.1: awx/main/tasks/jobs.py (`RunJob.build_args`, `build_env`, `build_extra_vars_file`,
`build_inventory`), awx/main/utils/safe_yaml.py, awx/playbooks/project_update.yml (collections), awx/main/models/jobs.py (`awx_meta_vars`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parents[2]
# Planted where secrets go in AWX: a credential's environment. None may appear in what a job says.
CANARIES = {f"LLM_CANARY_{number}": f"canary-{number:02}-5f2d7c" for number in range(21)}
_TIMEOUT_S = 900


class _Untrusted(yaml.SafeDumper):
    """AWX marks every text !unsafe, names of variables too."""

    def represent_data(self, data: Any) -> yaml.Node:
        return self.represent_scalar("!unsafe", data) if isinstance(data, str) else super().represent_data(data)


def extra_vars(variables: Mapping[str, Any], trusted: Mapping[str, Any]) -> str:
    """env/extravars: only what the job template itself says is trusted; answers and artifacts are text."""
    ours = {name: value for name, value in variables.items() if name in trusted and trusted[name] == value}
    parts = ((ours, yaml.SafeDumper), ({k: v for k, v in variables.items() if k not in ours}, _Untrusted))
    return "".join(yaml.dump(part, Dumper=dumper) for part, dumper in parts if part)


def arguments(template: Mapping[str, Any]) -> list[str]:
    """Ansible's arguments."""
    check = ["--check"] if template["job_type"] == "check" else []
    return [
        *check,
        *("-u", "root"),
        *(["--diff"] if template["diff_mode"] else []),
        *(["-l", template["limit"]] if template["limit"] else []),
    ]


def project(folder: Path) -> Path:
    """The project as Git would have it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=REPO, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (REPO / name).exists() or (REPO / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name, follow_symlinks=False)
    return folder


@dataclass
class Job:
    """`said`: its output; `artifacts`: what it hands on (set_stats); `seconds`: how long it ran."""

    said: str
    artifacts: dict[str, Any]
    seconds: float


@dataclass
class Jobs:
    """Runs job templates (rows of AWX's API) of a project. `programs`: bin folder of a virtual environment that has what an execution
    environment has; `collections`: what the project's synchronisation installed from requirements.yml."""

    project: Path
    programs: Path
    collections: Path
    source: str
    credentials: Mapping[str, str] = field(default_factory=dict)
    number: int = 0

    def environment(self, private: Path) -> dict[str, str]:
        """A job's environment: what AWX sets, and what its credentials inject."""
        (private / "home").mkdir(parents=True, exist_ok=True)
        own = f"{private}/requirements_collections:collections:{private}/home/.ansible/collections"
        return {
            "HOME": str(private / "home"),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_FORCE_COLOR": "True",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            "ANSIBLE_PARAMIKO_RECORD_HOST_KEYS": "False",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "ANSIBLE_COLLECTIONS_PATH": own,
            "ANSIBLE_ROLES_PATH": f"{private}/requirements_roles:{private}/home/.ansible/roles",
            "AWX_PRIVATE_DATA_DIR": str(private),
            "JOB_ID": str(self.number),
            "INVENTORY_ID": "1",
            "PROJECT_REVISION": "abc",
            "MAX_EVENT_RES": "700000",
            **self.credentials,
            **CANARIES,
        }

    def inventory(self, private: Path) -> str:
        """The script that AWX writes for the hosts which it took from a source."""
        command = [self.programs / "ansible-inventory", "-i", self.source, "--list", "--export"]
        environment = self.environment(private)
        done = subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
        return f"#! /usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint({done.stdout!r})\n"

    def prepare(self, template: Mapping[str, Any], variables: Mapping[str, Any]) -> Path:
        """The private data folder of the next job."""
        self.number += 1
        private = self.project.parent / f"awx_{self.number}"
        for name in ("inventory", "env", "artifacts"):
            (private / name).mkdir(parents=True)
        shutil.copytree(self.project, private / "project", symlinks=True)
        (private / "requirements_collections").symlink_to(self.collections)
        hosts = private / "inventory" / "hosts"
        hosts.write_text(self.inventory(private))
        hosts.chmod(0o700)
        given = template["extra_vars"]
        trusted = json.loads(given) if isinstance(given, str) else given
        names = {
            "job_id": self.number,
            "job_launch_type": "manual",
            "user_name": "somebody",
            "inventory_name": "llm dev",
        }
        meta = {f"{prefix}_{name}": value for prefix in ("awx", "tower") for name, value in names.items()}
        (private / "env" / "extravars").write_text(extra_vars({**trusted, **variables, **meta}, trusted))
        (private / "env" / "cmdline").write_text(" ".join(arguments(template)))
        return private

    def run(
        self,
        template: Mapping[str, Any],
        variables: Mapping[str, Any] | None = None,
        more: Sequence[str] = (),
        check: bool | None = True,
    ) -> Job:
        """Run one job. `variables`: answers and artifacts; `more`: further arguments of Ansible, which no template has; `check`: whether
        it must succeed, None for either."""
        private = self.prepare(template, variables or {})
        if more:
            with (private / "env" / "cmdline").open("a") as file:
                file.write(" " + " ".join(more))
        command = [self.programs / "ansible-runner", "run", private, "-p", template["playbook"], "--ident", "1"]
        began = time.monotonic()
        done = subprocess.run(
            command,
            env=self.environment(private),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        seconds = time.monotonic() - began
        said = _plain(done.stdout + done.stderr)
        assert check in (None, done.returncode == 0), said[-4000:]
        assert "Traceback" not in said, said[-4000:]
        assert leaks(private / "artifacts", said) == []
        events = (json.loads(file.read_text()) for file in private.glob("artifacts/1/job_events/*.json"))
        stats = [event["event_data"].get("artifact_data") for event in events if event["event"] == "playbook_on_stats"]
        return Job(said, (stats[0] if stats else None) or {}, seconds)


def leaks(artifacts: Path, said: str) -> list[str]:
    """The canaries that appear in what was said, in the events, or in any other file that the job left for AWX."""
    # AWX keeps `command` (with the environment) to itself, and hides its values: awx/main/tasks/callback.py.
    files = [file for file in artifacts.rglob("*") if file.is_file() and file.name != "command"]
    whole = [said, *(file.read_text(errors="replace") for file in files)]
    return sorted({value for value in CANARIES.values() for text in whole if value in text})


def _plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def synced(project: Path, programs: Path, galaxy: str, folder: Path) -> Path:
    """The collections of the project's requirements.yml, installed as AWX's project update does it."""
    environment = {
        **os.environ,
        "HOME": str(folder),
        # The plural is what AWX 24.6.1 sets, and ansible-core 2.19 no longer reads.
        "ANSIBLE_COLLECTIONS_PATHS": str(folder / "requirements_collections"),
        "ANSIBLE_GALAXY_SERVER_LIST": "server0",
        "ANSIBLE_GALAXY_SERVER_SERVER0_URL": galaxy,
        "ANSIBLE_FORCE_COLOR": "false",
    }
    command = [programs / "ansible-galaxy", "collection", "install", "-r", "requirements.yml"]
    done = subprocess.run(
        [*command, "-p", folder / "requirements_collections"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return folder / "requirements_collections"
