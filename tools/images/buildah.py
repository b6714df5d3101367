# SPDX-License-Identifier: Apache-2.0
"""buildah, with a storage of its own so that the user's images and containers are never touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import ImageError

# Below the hard limits of a container without CAP_SYS_RESOURCE, which runc and crun cannot raise.
LIMITS = ("nofile=1024:1024", "nproc=1024:1024")
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
_KEPT_LINES = 15


@dataclass(frozen=True)
class Buildah:
    """`store`: folder for layers; `driver`: overlay where the file system supports it, otherwise vfs."""

    store: Path
    driver: str

    def run(self, arguments: Sequence[str], what: str) -> str:
        """What one buildah command says. ImageError with its last lines."""
        command = [
            "buildah",
            *("--root", str(self.store / "layers")),
            *("--runroot", str(self.store / "run")),
            *("--storage-driver", self.driver),
            *arguments,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            last = " | ".join(done.stdout.splitlines()[-_KEPT_LINES:])
            raise ImageError(f"{what} failed with exit code {done.returncode}: {last}")
        return done.stdout

    def has(self, reference: str) -> bool:
        """Whether the storage holds the image."""
        command = ["buildah", "--root", str(self.store / "layers"), "--runroot", str(self.store / "run")]
        command += ["--storage-driver", self.driver, "inspect", "--type", "image", reference]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def build(
        self,
        reference: str,
        context: Path,
        arguments: Mapping[str, str],
        secrets: Mapping[str, Path],
        volumes: Sequence[str],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Build `context` into `reference`. Only the steps that mount a secret can read it."""
        options = [item for limit in LIMITS for item in ("--ulimit", limit)]
        options += [item for key, value in arguments.items() for item in ("--build-arg", f"{key}={value}")]
        options += [item for key, path in secrets.items() for item in ("--secret", f"id={key},src={path}")]
        options += [item for volume in volumes for item in ("--volume", volume)]
        options += [item for key, value in (labels or {}).items() for item in ("--label", f"{key}={value}")]
        # chroot isolation needs neither cgroups nor new limits, so it works inside containers too.
        command = ["bud", "--isolation", "chroot", "--format", "oci", "--pull=false"]
        command += ["--signature-policy", str(self.policy()), *options, "--tag", reference, str(context)]
        self.run(command, f"building {reference}")

    @contextmanager
    def mounted(self, reference: str) -> Iterator[Path]:
        """The image's file system, to read. ImageError when it cannot be mounted."""
        container = f"llm-on-eks-read-{os.getpid()}"
        self.run(["from", "--name", container, "--pull-never", reference], f"reading {reference}")
        try:
            yield Path(self.run(["mount", container], f"reading {reference}").strip())
        finally:
            self.run(["rm", container], f"reading {reference}")

    def forget_containers(self) -> None:
        """Remove containers of builds that were killed. Only call it while nobody else builds in this store."""
        self.run(["rm", "--all"], "removing what was left of a build")

    def archive(self, reference: str, file: Path) -> None:
        """Write the image to `file` as an OCI archive, atomically. zstd at level 1: quick, and containerd reads it."""
        partial = file.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        command = ["push", "--quiet", "--format", "oci", "--compression-format", "zstd", "--compression-level", "1"]
        command += ["--signature-policy", str(self.policy()), reference, f"oci-archive:{partial}:{reference}"]
        self.run(command, f"archiving {reference}")
        partial.replace(file)

    def load(self, file: Path) -> None:
        """Import an image from its archive, under the reference in the archive."""
        self.run(
            ["pull", "--quiet", "--signature-policy", str(self.policy()), f"oci-archive:{file}"], f"reading {file}"
        )

    def push(self, reference: str, target: str, authfile: Path, *, plain_http: bool = False) -> None:
        """Push the image to a registry. The credentials are in `authfile`, so that no command line shows them."""
        command = ["push", "--quiet", "--format", "oci", "--authfile", str(authfile)]
        command += ["--signature-policy", str(self.policy()), *(["--tls-verify=false"] if plain_http else [])]
        self.run([*command, reference, f"docker://{target}"], f"pushing {target}")

    def import_root(self, archive: Path, reference: str) -> None:
        """Make an image of one layer from a tar of a root file system."""
        container = f"llm-on-eks-base-{os.getpid()}"
        self.run(["from", "--name", container, "scratch"], f"making {reference}")
        try:
            self.run(["add", "--quiet", container, str(archive), "/"], f"making {reference}")
            self.run(["config", "--cmd", "python3", container], f"making {reference}")
            self.run(["commit", "--quiet", "--format", "oci", container, reference], f"making {reference}")
        finally:
            self.run(["rm", container], f"making {reference}")

    def policy(self) -> Path:
        """A signature policy of our own: Debian's buildah has none without its recommended packages."""
        file = self.store / "policy.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_POLICY, encoding="utf-8")
        return file


def open_store(store: Path) -> Buildah:
    """The storage in `store`, with the fastest driver that works there."""
    if shutil.which("buildah") is None:
        raise ImageError("buildah is not installed: apt-get install --no-install-recommends buildah")
    store.mkdir(parents=True, exist_ok=True)
    chosen = store / "driver.json"
    if chosen.is_file():
        return Buildah(store, str(json.loads(chosen.read_text(encoding="utf-8"))["driver"]))
    for driver in ("overlay", "vfs"):
        command = [
            "buildah",
            "--root",
            str(store / "layers"),
            "--runroot",
            str(store / "run"),
            "--storage-driver",
            driver,
        ]
        if subprocess.run([*command, "images"], capture_output=True, check=False).returncode == 0:
            chosen.write_text(json.dumps({"driver": driver}), encoding="utf-8")
            return Buildah(store, driver)
    raise ImageError(f"buildah can use neither overlay nor vfs in {store}: is there space, and are you root?")
