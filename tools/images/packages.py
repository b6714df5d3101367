# SPDX-License-Identifier: Apache-2.0
"""Debian packages that a build needs and this machine lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from .errors import ImageError


def install_missing(programs: Sequence[str]) -> None:
    """Install what is missing by apt-get; each program is in the package of its name. ImageError with the way out."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    by_hand = f"install {' and '.join(missing)} yourself"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ImageError(
            f"{' and '.join(missing)} not found, and only root on Debian or Ubuntu can be helped: {by_hand}"
        )
    print(f"installing {' '.join(missing)} by apt-get", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            check=False,
        )
        if done.returncode != 0 and command[0] == "install":
            last = " | ".join(done.stdout.strip().splitlines()[-5:])
            raise ImageError(f"apt-get could not install {' '.join(missing)}: {last}; {by_hand}")
