# SPDX-License-Identifier: Apache-2.0
"""What the AWS emulator costs: CPU-seconds of a start, of a start with a full journal, and of single calls."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tests.support.emulated_aws import EmulatedAws  # noqa: E402
from tests.unit.aws.test_emulator_state import everything, populate  # noqa: E402

pytestmark = pytest.mark.perf
TIMES = 50
CALLS = [
    ("eks", "describe_cluster", {"name": "demo"}),
    ("eks", "describe_addon_versions", {"addonName": "coredns", "kubernetesVersion": "1.34"}),
    ("efs", "describe_file_systems", {}),
    ("ec2", "describe_subnets", {}),
    ("iam", "get_role", {"RoleName": "cluster"}),
    ("s3", "put_object", {"Bucket": "records", "Key": "lock", "Body": b"mine"}),
    ("sts", "get_caller_identity", {}),
]


def cpu_s(aws):
    fields = Path(f"/proc/{aws.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_the_emulator_costs(table, tmp_path):
    aws = EmulatedAws("--state", str(tmp_path)).start()
    try:
        table.add("emulator: start", f"{cpu_s(aws):.2f} CPU-s")
        populate(aws)
        before = everything(aws)
        for service, operation, given in CALLS:
            call = getattr(aws.client(service), operation)
            call(**given)
            started = cpu_s(aws)
            for __ in range(TIMES):
                call(**given)
            table.add(f"emulator: {service} {operation}", f"{1000 * (cpu_s(aws) - started) / TIMES:.1f} CPU-ms")
        aws.kill()
        aws.start()
        lines = len((tmp_path / "journal.jsonl").read_text().splitlines())
        table.add(f"emulator: start with {lines} requests to replay", f"{cpu_s(aws):.2f} CPU-s")
        assert everything(aws)["eks describe_cluster"] == before["eks describe_cluster"]
    finally:
        aws.kill()
