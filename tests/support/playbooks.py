# SPDX-License-Identifier: Apache-2.0
"""Real `ansible-playbook` runs of converge, drift and rollback on descriptors, and what their processes show of themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import yaml

from tests.support.content_cache import cache_root

REPO = Path(__file__).resolve().parents[2]


class Playbooks:
    """A folder with an inventory and playbooks of one task each."""

    def __init__(self, folder: Path, kubeconfig) -> None:
        self.folder, self.kubeconfig = folder, str(kubeconfig)
        hosts = {"eks_clusters": {"hosts": {"test": {"ansible_connection": "local"}}}}
        (folder / "inventory.yml").write_text(yaml.safe_dump(hosts))
        # Where runs put what should be gone with them.
        self.scratch = folder / "scratch"
        self.scratch.mkdir()

    def command(self, action: str, components, *arguments: str, **options) -> list[str]:
        """The command line of a run; descriptors come from a vars file, as inventories have them."""
        (self.folder / f"{action}.vars.yml").write_text(yaml.safe_dump({"described": components}))
        task = {**options, "kubeconfig": self.kubeconfig}
        if action != "rollback":
            task["components"] = "{{ described }}"
        play = {"hosts": "eks_clusters", "gather_facts": False, "vars_files": [f"{action}.vars.yml"]}
        play["tasks"] = [{"name": action, f"llm.on_eks.{action}": task}]
        file = self.folder / f"{action}.yml"
        file.write_text(yaml.safe_dump([play]))
        return [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            str(self.folder / "inventory.yml"),
            str(file),
            *arguments,
        ]

    def start(self, action: str, components, *arguments: str, **options) -> subprocess.Popen[str]:
        """In a process group of its own, so that all of it can be ended at once."""
        return subprocess.Popen(
            self.command(action, components, *arguments, **options),
            cwd=REPO,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "HOME": str(self.folder)}
            | {"TMPDIR": str(self.scratch)}
            | {"LLM_ON_EKS_CACHE": str(cache_root())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, action: str, components, *arguments: str, timeout=180, **options) -> tuple[int, str]:
        """(exit code, all that was said)."""
        process = self.start(action, components, *arguments, **options)
        said, __ = process.communicate(timeout=timeout)
        return process.returncode, said


class Arguments:
    """The command lines of every process that lives while the block runs, looked at fifty times a second."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *__):
        self._ended.set()
        self._thread.join()

    def _look(self):
        while not self._ended.wait(0.02):
            for process in os.scandir("/proc"):
                if process.name.isdigit():
                    try:
                        self.seen.add(Path(process.path, "cmdline").read_bytes())
                    except OSError:
                        continue
