# SPDX-License-Identifier: Apache-2.0
"""An image with nothing but static programs, as an archive that containerd imports."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from local.kubernetes import pause

REPO = Path(__file__).resolve().parents[2]


def written(reference: str, programs: Mapping[str, Path], file: Path, user: str = "") -> Path:
    """`programs`: name in the image's root -> program; the first is its entry point. `user`: number of who runs it; empty: root."""
    layer = pause._tar({name: (program.read_bytes(), 0o755) for name, program in programs.items()})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{next(iter(programs))}"], "User": user},
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
