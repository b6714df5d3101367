# SPDX-License-Identifier: Apache-2.0
"""Obtain the binaries we need, each in the cheapest way that can be trusted.

cache → PATH (if it is the right version) → the publisher's download (held to the publisher's checksum) → a build from the
published Go modules (held to go.sum). Progress goes to stderr; stdout is one JSON object with `changed` and `paths`.
Standard library only: it runs before anything of ours is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.progress import Progress

HERE = Path(__file__).resolve().parent
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CONNECT_TIMEOUT_S = 5


class ObtainError(Exception):
    """A binary could not be obtained; the sentence says what was tried and what to do."""


@dataclass(frozen=True)
class Tool:
    """One row of versions.json. `cpu_seconds` and `megabytes`: the cost of a build, for the announcement.

    Without `binary` and `archive` nobody publishes it. `by_name`: obtained only when it is named, for the full tests.
    `files`: a pattern of files in its module that are kept beside it.
    """

    name: str
    version: str
    module: str
    package: str
    cpu_seconds: int
    megabytes: int
    says: list[str] = field(default_factory=list)
    binary: str = ""
    archive: str = ""
    member: str = ""
    checksums: str = ""
    files: str = ""
    by_name: bool = False


def load_tools(file: Path = HERE / "versions.json") -> dict[str, Tool]:
    rows: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return {name: Tool(name=name, **row) for name, row in rows.items()}


def default_cache() -> Path:
    return Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks")


def say(text: str) -> None:
    print(f"tools: {text}", file=sys.stderr, flush=True)


@functools.cache
def say_once(text: str) -> None:
    """Print a message that concerns many binaries only once."""
    say(text)


def cached_path(tool: Tool, cache: Path) -> Path:
    return cache / "tools" / tool.name / tool.version / tool.name


def files_of(name: str, cache: Path) -> list[Path]:
    """The files that are kept beside an obtained program."""
    tool = load_tools()[name]
    return sorted(cached_path(tool, cache).parent.glob(Path(tool.files).name)) if tool.files else []


def missing(tools: list[Tool], cache: Path) -> list[Tool]:
    """Those that the cache does not hold yet."""
    return [tool for tool in tools if not cached_path(tool, cache).exists()]


def announcement(tools: list[Tool], cache: Path) -> str:
    """What must be obtained, how long a build takes at most, and how much disk; empty when everything is cached."""
    absent = missing(tools, cache)
    if not absent:
        return ""
    names = ", ".join(f"{tool.name} {tool.version}" for tool in absent)
    minutes = max(1, round(sum(tool.cpu_seconds for tool in absent) / 60 / (os.cpu_count() or 1)))
    return (
        f"{names}: {sum(tool.megabytes for tool in absent)} MB in {cache}; downloaded in a minute or two where the "
        f"publishers can be reached, else built from Go modules in about {minutes} minutes (and 4 GB of Go's own cache)"
    )


def costs(tools: list[Tool], cache: Path) -> dict[str, float]:
    """Missing binary -> CPU seconds of its build."""
    return {tool.name: tool.cpu_seconds for tool in missing(tools, cache)}


def named(names: list[str]) -> list[Tool]:
    """Raises ObtainError for a name that versions.json does not have."""
    known = load_tools()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ObtainError(f"unknown tool {unknown[0]}; known are {', '.join(known)}")
    return [known[name] for name in names]


def obtain(names: list[str], cache: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Paths of the named binaries, obtained where needed. Raises ObtainError."""
    tools = named(names)
    if progress is None:
        progress = Progress(costs(tools, cache), say)
        with progress.repeated():
            return obtain(names, cache, progress)
    return {tool.name: obtain_one(tool, cache, progress) for tool in tools}


def obtain_one(tool: Tool, cache: Path, progress: Progress) -> Path:
    target = cached_path(tool, cache)
    if target.exists():
        return target
    with progress.step(tool.name), locked(target):
        if target.exists():  # another process was faster
            return target
        found = on_path(tool) if tool.says else None
        if found:
            publish(found, target)
            return target
        if not download(tool, target):
            build(tool, target)
    return target


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """One process at a time obtains a given binary."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def publish(source: Path, target: Path) -> None:
    """Copy, make executable, rename: a reader never sees a part of a binary."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as staging:
        shutil.copyfile(source, staging.name)
    Path(staging.name).chmod(0o755)
    Path(staging.name).replace(target)


def on_path(tool: Tool) -> Path | None:
    found = shutil.which(tool.name)
    if not found:
        return None
    done = subprocess.run([found, *tool.says], capture_output=True, text=True, timeout=30, check=False)
    words = (done.stdout + done.stderr).replace(",", " ").split()
    number = tool.version.lstrip("v")
    right = any(word.split("+")[0].lstrip("v") == number for word in words)
    return Path(found) if right else None


def download(tool: Tool, target: Path) -> bool:
    """True when the publisher's file arrived and matched the publisher's checksum; False when it cannot be reached."""
    if not (tool.binary or tool.archive):
        return False
    arch = ARCHITECTURES[platform.machine()]
    fill = {"version": tool.version, "number": tool.version.lstrip("v"), "arch": arch}
    address = (tool.binary or tool.archive).format(**fill)
    checksums = (tool.checksums or f"{tool.binary}.sha256").format(**fill)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        file = Path(folder) / address.rsplit("/", 1)[1]
        try:
            wanted = checksum_for(fetch_text(checksums), file.name)
            fetch(address, file)
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            say_once(f"a publisher cannot be reached ({getattr(error, 'reason', error)}): building from Go modules")
            return False
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != wanted:
            raise ObtainError(
                f"{tool.name} {tool.version}: {address} has sha256 {found}, its publisher says {wanted}; "
                "something between here and there changes it"
            )
        if tool.archive:
            file = unpack(file, tool.member.format(**fill), Path(folder))
        publish(file, target)
    return True


def checksum_for(text: str, name: str) -> str:
    """The checksum of file `name` in a publisher's checksum file: one bare digest, or `digest  name` lines."""
    for line in text.splitlines():
        digest, __, file = line.strip().partition(" ")
        if len(digest) == 64 and (not file or file.strip().lstrip("*").rsplit("/", 1)[-1] == name):
            return digest.lower()
    raise ObtainError(f"the publisher's checksum file names no {name}")


def fetch_text(address: str) -> str:
    with urllib.request.urlopen(address, timeout=CONNECT_TIMEOUT_S) as answer:  # noqa: S310 - addresses are ours
        data: bytes = answer.read()
    return data.decode()


def fetch(address: str, target: Path) -> None:
    with urllib.request.urlopen(address, timeout=60) as answer, target.open("wb") as file:  # noqa: S310
        shutil.copyfileobj(answer, file, 1 << 20)


def unpack(archive: Path, member: str, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        source = tar.extractfile(member)
        if source is None:
            raise ObtainError(f"{archive.name} holds no {member}")
        target = folder / "binary"
        with target.open("wb") as file:
            shutil.copyfileobj(source, file)
    return target


def build(tool: Tool, target: Path) -> None:
    """`go build` with the versions and sums of our own go.mod. Raises ObtainError."""
    go = shutil.which("go")
    if not go:
        raise ObtainError(
            f"{tool.name} {tool.version} can be neither downloaded nor built: its publisher cannot be reached and there is "
            "no Go; install Go 1.25 or newer, or put the binary on the PATH"
        )
    keep_files(tool, go, target.parent)
    # A build of a killed run may still go on, and write to its own folder.
    for left in target.parent.glob(".building-*"):
        left.unlink(missing_ok=True)
    staging = target.parent / f".building-{os.getpid()}"
    command = [
        go,
        "build",
        "-trimpath",
        "-mod=readonly",
        # The linker would drop debug data (-s -w): not generating it saves a fifth of the time.
        "-gcflags=all=-dwarf=false",
        "-ldflags",
        linker_flags(tool),
        "-o",
        str(staging),
        tool.package,
    ]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(
        command,
        cwd=HERE / tool.module,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ObtainError(f"{tool.name} {tool.version}: go build failed: {' '.join(done.stdout.split())[-600:]}")
    staging.chmod(0o755)
    staging.replace(target)


def keep_files(tool: Tool, go: str, folder: Path) -> None:
    """Copy what the program's module publishes beside it, custom resource definitions for instance."""
    if not tool.files:
        return
    command = [go, "list", "-mod=readonly", "-f", "{{.Module.Dir}}", tool.package]
    done = subprocess.run(command, cwd=HERE / tool.module, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ObtainError(f"{tool.name} {tool.version}: go list failed: {' '.join(done.stderr.split())[-600:]}")
    for file in Path(done.stdout.strip()).glob(tool.files):
        shutil.copyfile(file, folder / file.name)


def linker_flags(tool: Tool) -> str:
    """Stripped, and with the version that the program reports."""
    flags = ["-s", "-w"]
    if tool.package.startswith("k8s.io/kubernetes/"):
        major, minor, __ = tool.version.lstrip("v").split(".")
        for name, value in (("gitVersion", tool.version), ("gitMajor", major), ("gitMinor", minor)):
            flags += [
                "-X",
                f"k8s.io/component-base/version.{name}={value}",
                "-X",
                f"k8s.io/client-go/pkg/version.{name}={value}",
            ]
    if tool.name == "helm":
        flags += ["-X", f"helm.sh/helm/v4/internal/version.version={tool.version}"]
    return " ".join(flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="tools to obtain; when none is named, those that a local cluster needs"
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (LLM_ON_EKS_CACHE)")
    parser.add_argument("--plan", action="store_true", help="obtain nothing, say what would be obtained")
    arguments = parser.parse_args()
    known = load_tools()
    names = arguments.names or [name for name, tool in known.items() if not tool.by_name]
    wanted = [known[name] for name in names if name in known]
    announced = announcement(wanted, arguments.cache)
    if announced:
        say(announced)
    if arguments.plan:
        here = {tool.name: str(cached_path(tool, arguments.cache)) for tool in wanted}
        print(json.dumps({"changed": bool(announced), "paths": here}))
        return
    try:
        paths = obtain(names, arguments.cache)
    except ObtainError as error:
        raise SystemExit(f"tools: {error}") from None
    print(json.dumps({"changed": bool(announced), "paths": {name: str(path) for name, path in paths.items()}}))


if __name__ == "__main__":
    main()
