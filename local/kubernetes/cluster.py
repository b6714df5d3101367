# SPDX-License-Identifier: Apache-2.0
"""Creates, updates and removes a local cluster. Each step reads the current state first and changes only what differs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools import debian, obtain

from . import cgroups, checks, controllers, emulator, network, pause, pki, programs
from .alone import alone
from .api import Api
from .bring import bring
from .config import ClusterConfig
from .errors import LocalClusterError
from .processes import kill_all
from .supervise import Supervisor

API_TIMEOUT_S = 90
AWS_TIMEOUT_S = 60
NODE_TIMEOUT_S = 120
KILL_TIMEOUT_S = 10


@dataclass(frozen=True)
class Status:
    """`programs`: name -> supervisor's state.

    `ready`: the API answers, and, where these exist, the node is Ready and the AWS emulator answers. The three fields
    of AWS are empty without it. `node_address`: in URLs, where the node's ports are reached from this machine.
    """

    name: str
    running: bool
    ready: bool
    kubeconfig: str
    front_door: str
    node_address: str = ""
    aws_endpoint_url: str = ""
    aws_region: str = ""
    aws_credentials_file: str = ""
    programs: dict[str, str] = field(default_factory=dict)


def _tell(text: str) -> None:
    print(f"local cluster: {text}", file=sys.stderr, flush=True)


class Cluster:
    """One cluster by its configuration. `cache`: folder of the tools."""

    def __init__(self, config: ClusterConfig, cache: Path | None = None, say: Callable[[str], None] = _tell) -> None:
        self.config = config
        self.cache = cache or obtain.default_cache()
        self.say = say
        self.supervisor = Supervisor(config)
        self.api = Api(config)

    @property
    def kubeconfig(self) -> Path:
        return self.config.kubeconfig

    def tools(self) -> list[str]:
        own = programs.NODE_TOOLS if self.config.node else programs.CONTROL_PLANE_TOOLS
        return [*own, *controllers.TOOLS] if self._has_controllers else own

    @property
    def _has_controllers(self) -> bool:
        return self.config.aws is not None and self.config.aws.controllers

    def packages(self) -> dict[str, str]:
        return checks.NODE_PACKAGES if self.config.node else checks.PACKAGES

    def plan(self) -> list[str]:
        """What `up` would have to obtain first, in words; empty when it can start at once."""
        checks.refuse_hidden_cache(self.config, self.cache)
        known = obtain.load_tools()
        said = [obtain.announcement([known[name] for name in self.tools()], self.cache)]
        packages = debian.missing(self.packages())
        if packages:
            said.append(f"Debian packages {', '.join(packages)}, about 200 MB, a minute")
        return [line for line in said if line]

    def up(self, images: Sequence[str] = ()) -> bool:
        """Start what does not run, mend what differs; True when anything changed. Raises LocalClusterError.

        `images`: arguments of `python -m tools.images`; what they name is built beside the cluster's programs, and given to the node.
        """
        if not self.supervisor.running():
            checks.refuse_unless_possible(self.config)
            for line in self.plan():
                self.say(f"to be obtained: {line}")
        brought = bring(self.tools(), self.packages(), images, self.cache, self.say)
        with alone(self.config, self.say):
            changed = self._start(brought.tools)
            return self.import_images(brought.images) or changed or brought.changed

    def _start(self, tools: dict[str, Path]) -> bool:
        changed = False
        self._make_folders()
        changed |= pki.ensure(self.config, self.config.state / "pki")
        changed |= network.up(self.config)
        if self.config.node:
            changed |= network.hold_mounts(self.config)
            changed |= network.link_plugins(self.config)
            cgroups.make(self.config.cgroup)
        changed |= self._write_kubeconfig()
        if self.config.aws:
            changed |= emulator.ensure_keys(self.config)
        started = self.supervisor.apply(programs.programs(self.config, tools))
        changed |= started
        if self.config.aws:
            self._wait("the AWS emulator", lambda: emulator.ready(self.config), AWS_TIMEOUT_S)
            changed |= emulator.introduce(self.config)
        self._wait("the Kubernetes API", self.api.ready, API_TIMEOUT_S)
        changed |= self._bootstrap()
        if self.config.node:
            changed |= self._import_pause()
            self._wait(f"node {self.config.name}", self._node_ready, NODE_TIMEOUT_S)
        return changed

    def down(self) -> bool:
        """End and remove everything but the cache, whatever the state is; True when anything existed."""
        there = self.config.state.exists()
        with alone(self.config, self.say):
            return self._end() or there

    def _end(self) -> bool:
        changed = self.supervisor.stop()
        changed |= self._kill_left_over()
        changed |= cgroups.kill(self.config.cgroup)
        changed |= cgroups.remove(self.config.cgroup)
        changed |= network.down(self.config)
        shutil.rmtree(self.config.state)
        if self.config.state_root.exists() and not any(self.config.state_root.iterdir()):
            self.config.state_root.rmdir()
        return changed

    def status(self) -> Status:
        states = self.supervisor.states()
        aws = self.config.aws
        ready = bool(states) and self.api.ready() and (not self.config.node or self._node_ready())
        ready = ready and (not aws or emulator.ready(self.config))
        return Status(
            name=self.config.name,
            running=bool(states),
            ready=ready,
            kubeconfig=str(self.kubeconfig) if self.kubeconfig.exists() else "",
            front_door=f"http://127.0.0.1:{self.config.front_door}" if self.config.node else "",
            node_address=self.config.node_host if self.config.node else "",
            aws_endpoint_url=self.config.aws_url,
            aws_region=aws.region if aws else "",
            aws_credentials_file=str(emulator.credentials_file(self.config)) if aws else "",
            programs=states,
        )

    def import_images(self, archives: Mapping[str, Path]) -> bool:
        """Import images (reference -> archive) that the node lacks; True when it lacked any."""
        if not archives or not self.config.node:
            return False
        present = self._ctr("images", "ls", "-q").split()
        lacking = {reference: archive for reference, archive in archives.items() if reference not in present}
        for reference, archive in lacking.items():
            # Without --index-name: a second record of the name that the archive gives itself would lose one of the two.
            self._ctr("images", "import", str(archive))
            if reference not in self._ctr("images", "ls", "-q").split():
                raise LocalClusterError(f"local cluster: {archive} was imported but holds no {reference}")
        return bool(lacking)

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "-a", str(programs.containerd_socket(self.config)), "-n", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise LocalClusterError(f"local cluster: `ctr {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout

    def _make_folders(self) -> None:
        self.config.state.mkdir(parents=True, exist_ok=True)
        self.config.state.chmod(0o711)
        (self.config.state / "etcd").mkdir(mode=0o700, exist_ok=True)
        if self.config.node:
            models = self.config.state / "volumes" / "models"
            models.mkdir(parents=True, exist_ok=True)
            models.chmod(0o1777)  # as an EFS access point: any pod's user may write

    def _write_kubeconfig(self) -> bool:
        text = programs.kubeconfig(self.config, "admin")
        file = self.kubeconfig
        if file.exists() and file.read_text() == text:
            return False
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(text)
        return True

    def _bootstrap(self) -> bool:
        objects = programs.bootstrap_objects(self.config)
        if not self.config.node:
            objects = [item for item in objects if item["kind"] == "StorageClass"]
        if self._has_controllers:
            objects += controllers.definitions(self.cache)
        self._release_models_volume()
        changed = [self.api.apply(item) for item in objects]
        return any(changed)

    def _release_models_volume(self) -> None:
        """A volume whose claim was deleted accepts no new claim; its files stay when the object is created again."""
        path = "/api/v1/persistentvolumes/models"
        volume = self.api.get(path)
        if volume and volume["status"].get("phase") == "Released":
            self.api.delete(path)
            self._wait("the end of the volume models", lambda: self.api.get(path) is None, API_TIMEOUT_S)

    def _import_pause(self) -> bool:
        self._wait("containerd", self._containerd_ready, 30)
        file = self.config.state / "pause.tar"
        file.write_bytes(pause.archive())
        return self.import_images({pause.REFERENCE: file})

    def _node_ready(self) -> bool:
        return self.api.node_ready(self.config.name)

    def _containerd_ready(self) -> bool:
        try:
            self._ctr("version")
        except LocalClusterError:
            return False
        return True

    def _wait(self, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > end:
                bad = {name: state for name, state in self.supervisor.states().items() if state != "RUNNING"}
                raise LocalClusterError(
                    f"local cluster: {what} was not ready after {timeout_s:.0f} s; "
                    f"{f'not running: {bad}; ' if bad else ''}see {self.config.state}/logs"
                )
            time.sleep(0.25)

    def _kill_left_over(self) -> bool:
        """Processes of ours without a supervisor: shims, and programs of a supervisord that was killed."""
        marks = [str(self.config.state).encode() + b"/", str(network.network_namespace(self.config)).encode()]
        supervisor = f"\0SUPERVISOR_SERVER_URL=unix://{self.supervisor.socket}\0".encode()
        ours = str(network.network_namespace(self.config))
        inode = Path(ours).stat().st_ino if Path(ours).exists() else None
        return kill_all(
            lambda: [pid for pid in _processes() if _belongs(pid, marks, supervisor, inode)], KILL_TIMEOUT_S
        )


def _processes() -> list[int]:
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()
    ]


def _belongs(pid: int, marks: list[bytes], supervisor: bytes, network_inode: int | None) -> bool:
    """Whether our supervisord or our containerd started it, or it runs inside our network namespace."""
    try:
        if network_inode is not None and Path(f"/proc/{pid}/ns/net").stat().st_ino == network_inode:
            return True
        if supervisor in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
            return True
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    program = command.split(b"\0", 1)[0].rsplit(b"/", 1)[-1]
    return program in (b"containerd-shim-runc-v2", b"containerd", b"runc") and any(mark in command for mark in marks)
