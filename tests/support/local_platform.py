# SPDX-License-Identifier: Apache-2.0
"""A whole slice: a local cluster of its own with the tiny model, put there by `ansible-playbook site.yml`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.llm.on_eks.plugins.module_utils.names import NAMESPACE_SYSTEM
from tests.support.cluster_client import kubectl_program
from tests.support.tiny_model import make_tiny_gguf

REPO = Path(__file__).resolve().parents[2]
# Kinds of which a system may leave something behind.
LEFT = (
    "namespaces,customresourcedefinitions,configmaps,secrets,serviceaccounts,leases,clusterroles,clusterrolebindings,"
    "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,ingressclasses"
)


@dataclass
class LocalPlatform:
    """An inventory on disk and the means to run playbooks on it."""

    name: str
    inventory: Path
    endpoint_file: Path

    def playbook(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", self.inventory, name, *arguments],
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=1800,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
            check=False,
        )
        if check:
            assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
        return done

    @property
    def endpoint(self) -> dict[str, str]:
        return json.loads(self.endpoint_file.read_text())

    @property
    def model(self) -> dict[str, Any]:
        """The catalogue's one entry."""
        variables = yaml.safe_load((self.inventory.parent / "host_vars" / f"{self.name}.yml").read_text())
        entry: dict[str, Any] = variables["model_catalog"][0]
        return entry

    def kubectl(self, *arguments: str) -> str:
        command = [*self._kubectl(), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    def _kubectl(self) -> list[str]:
        return [str(kubectl_program()), "--kubeconfig", self.endpoint["kubeconfig"]]

    @contextmanager
    def port_forward(self, namespace: str, target: str, port: int) -> Iterator[int]:
        command = [*self._kubectl(), "-n", namespace, "port-forward", target, f":{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout
            yield int(process.stdout.readline().split("->")[0].rsplit(":", 1)[1])
        finally:
            process.terminate()
            process.wait(10)

    def pids(self, program: str) -> set[int]:
        """Processes of one of this cluster's programs, as the host numbers them."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            name = command[0].rsplit(b"/", 1)[-1].decode()
            if name == program and any(f"/{self.name}/".encode() in argument for argument in command):
                found.add(int(process.name))
        return found

    def engine_pids(self) -> list[int]:
        """Main processes of the engines, as the host numbers them."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
                cgroup = (process / "cgroup").read_text()
            except OSError:
                continue
            if b"llamacpp_engine" in command and f"/llm-{self.name}/" in cgroup:
                found.append(int(process.name))
        assert found, "no engine runs"
        return found

    def kill_program(self, program: str) -> set[int]:
        found = self.pids(program)
        assert found, f"{program} does not run"
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found

    def is_ready(self) -> bool:
        try:
            return "True" in self.kubectl(
                "get", "nodes", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
            )
        except subprocess.CalledProcessError:
            return False


def recap(output: str) -> dict[str, int]:
    """The numbers of Ansible's PLAY RECAP line for one host."""
    line = next(line for line in output.splitlines() if "ok=" in line and "unreachable=" in line)
    return {key: int(value) for key, value in (pair.split("=") for pair in line.split() if "=" in pair)}


def inventory(name: str, folder: Path) -> LocalPlatform:
    """One model, two replicas, the gateway, as an inventory in `folder`; nothing runs yet."""
    model = folder / "tiny.gguf"
    make_tiny_gguf(model, kind="bigram", seed=0)
    (folder / "group_vars").symlink_to(REPO / "inventories" / "local" / "group_vars")
    (folder / "host_vars").mkdir()
    (folder / "hosts.yml").write_text(yaml.safe_dump({"eks_clusters": {"hosts": {name: {}}}}))
    endpoint_file = folder / "endpoint.json"
    variables = {
        "platform_endpoint_file": str(endpoint_file),
        "model_catalog": [
            {
                "name": "tiny",
                "source": f"file://{model}",
                "engine": "llamacpp",
                "accelerators": "cpu",
                "replicas": {"min": 2, "max": 2},
                "context": 1024,
            }
        ],
    }
    (folder / "host_vars" / f"{name}.yml").write_text(yaml.safe_dump(variables))
    return LocalPlatform(name, folder / "hosts.yml", endpoint_file)


@contextmanager
def converged(name: str, folder: Path) -> Iterator[LocalPlatform]:
    """The platform of `inventory`. Destroyed at the end."""
    made = inventory(name, folder)
    try:
        made.playbook("site.yml")
        yield made
    finally:
        made.playbook("destroy.yml", "-e", f"platform_confirm={name}")


def names(platform: LocalPlatform) -> set[str]:
    """Kind and name of what is there, with the namespace."""
    form = "{range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{'\\n'}{end}"
    found = set(platform.kubectl("get", LEFT, "-A", "-o", f"jsonpath={form}").split())
    # Of our own runs, each of which writes its record.
    return {one for one in found if f"/{NAMESPACE_SYSTEM}/" not in one}
