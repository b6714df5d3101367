# SPDX-License-Identifier: Apache-2.0
"""Images of programs, as archives that containerd imports: of files that are named, or of a whole root file system."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from local.kubernetes import pause

REPO = Path(__file__).resolve().parents[2]


def written(reference: str, programs: Mapping[str, Path], file: Path, user: str = "") -> Path:
    """`programs`: name in the image's root -> program; the first is its entry point. `user`: number of who runs it; empty: root."""
    layer = pause._tar({name: (program.read_bytes(), 0o755) for name, program in programs.items()})
    return _archive(reference, layer, f"/{next(iter(programs))}", file, user)


def of_root(reference: str, root: Path, file: Path, user: str = "") -> Path:
    """`root`: a folder that is the image's root, with links; its program `entrypoint` is what runs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(root.resolve(), arcname=".", filter=_owned_by_root)
    return _archive(reference, buffer.getvalue(), "/entrypoint", file, user)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    return member


def _archive(reference: str, layer: bytes, entrypoint: str, file: Path, user: str) -> Path:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "User": user},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    file.write_bytes(pause._tar({name: (data, 0o644) for name, data in files.items()}))
    return file


def given(cluster: str, images: Mapping[str, Path]) -> None:
    """Reference -> archive, for the node of a local cluster that runs."""
    pairs = [f"{reference}={archive}" for reference, archive in images.items()]
    command = [sys.executable, "-m", "local.kubernetes", "import-images", "--name", cluster, *pairs]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True)
