# SPDX-License-Identifier: Apache-2.0
"""Blocks of a prompt's size are used again without the system's help."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.programs

MEASURE = """
import resource, sys
from llm_gateway.process.heap import keep_freed
if sys.argv[1] == "keep":
    assert keep_freed()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        blocks = [bytes(100_000) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not GNU's")
def test_large_blocks_are_not_mapped_anew_each_time() -> None:
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, how],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert faults("keep") < 100 < faults("as it is")
