# SPDX-License-Identifier: Apache-2.0
"""Plain manifests as a chart: what is published as a YAML file goes the way of all charts (lock, mirror, plan, prune)."""

from __future__ import annotations

from pathlib import Path

import yaml

from ...module_utils.files import write_whole


def wrap(manifests: bytes, name: str, version: str, folder: Path) -> Path:
    """`folder`, made a chart of these manifests; the manifests come last, so that where they are, all is.

    They stand in `crds/`, which Helm gives out as it is: braces in them are no template.
    """
    head = yaml.safe_dump({"apiVersion": "v2", "name": name, "version": version})
    write_whole(folder / "Chart.yaml", head.encode())
    write_whole(folder / "crds" / "manifests.yaml", manifests)
    return folder
