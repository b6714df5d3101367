# SPDX-License-Identifier: Apache-2.0
"""The catalog finds the kinds by itself: in the collection, and in what Ansible sends with a module."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES

REPO = Path(__file__).resolve().parents[3]
UTILS = REPO / "plugins/module_utils"
INSIDE = Path("ansible_collections/llm/on_eks/plugins/module_utils")


def test_each_kind_is_named_after_its_service():
    services = {name.partition("_")[0] for name in RESOURCES}
    assert services == {"ec2", "ecr", "efs", "eks", "events", "iam", "kms", "log", "s3", "sqs"}


def test_a_payload_has_the_kinds_that_it_carries(tmp_path):
    payload = tmp_path / "payload.zip"
    with zipfile.ZipFile(payload, "w") as packed:
        for above in (*[*INSIDE.parents][:-1], INSIDE, INSIDE / "aws"):
            packed.writestr(str(above / "__init__.py"), "")
        for name in ("errors.py", "names.py", "aws/catalog.py"):
            packed.write(UTILS / name, INSIDE / name)
        for source in [*UTILS.glob("aws/base/*.py"), *UTILS.glob("aws/efs/*.py")]:
            packed.write(source, INSIDE / source.relative_to(UTILS))
    code = f"from {'.'.join((INSIDE / 'aws').parts)}.catalog import RESOURCES; print(*RESOURCES)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(payload)}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["efs_access_point", "efs_file_system", "efs_mount_target"], done.stderr
