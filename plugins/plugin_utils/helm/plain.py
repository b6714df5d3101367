# SPDX-License-Identifier: Apache-2.0
"""Plain manifests as a chart: a published YAML file takes the same way as all charts (lock, mirror, plan, prune)."""

from __future__ import annotations

from pathlib import Path

import yaml

from ...module_utils.files import write_whole


def wrap(manifests: bytes, name: str, version: str, folder: Path) -> Path:
    """Make `folder` a chart of these manifests. The manifests are written last: where they exist, the chart is complete.

    They are written to `crds/`, which Helm does not render: braces in them are not taken for templates.
    """
    head = yaml.safe_dump({"apiVersion": "v2", "name": name, "version": version})
    write_whole(folder / "Chart.yaml", head.encode())
    write_whole(folder / "crds" / "manifests.yaml", manifests)
    return folder
