# SPDX-License-Identifier: Apache-2.0
"""Kong's images as role kong names them. No registry here has its programs: a folder with their root file systems is given."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from tests.support import program_image

REPO = Path(__file__).resolve().parents[2]
_FOLDER = os.environ.get("LLM_ON_EKS_TEST_KONG", "")


def missing() -> str:
    """What is not there; empty where all is."""
    if not _FOLDER:
        return "LLM_ON_EKS_TEST_KONG names no folder with the root file systems `gateway` and `controller`"
    absent = [name for name in ("gateway", "controller") if not (Path(_FOLDER) / name / "entrypoint").is_file()]
    return f"{_FOLDER} has no {' and no '.join(f'{name}/entrypoint' for name in absent)}" if absent else ""


def written(folder: Path) -> dict[str, Path]:
    """Reference -> archive, of the versions that role kong installs."""
    said = yaml.safe_load((REPO / "roles/kong/defaults/main.yml").read_text())
    references = {
        "gateway": f"docker.io/library/kong:{said['kong_image_tag']}",
        "controller": f"docker.io/kong/kubernetes-ingress-controller:{said['kong_controller_tag']}",
    }
    return {
        reference: program_image.of_root(reference, Path(_FOLDER) / name, folder / f"{name}.tar", user="1000:1000")
        for name, reference in references.items()
    }
