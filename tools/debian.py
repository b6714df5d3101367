# SPDX-License-Identifier: Apache-2.0
"""Installs missing Debian packages without starting their services."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# While this file exits with 101, Debian's maintainer scripts start no service (invoke-rc.d(8)).
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# Of llm.on_eks, while it installs packages.\nexit 101\n"
# The repair after a dpkg that was killed.
_UNFINISHED = Path("/var/lib/dpkg/updates")
# Where Debian keeps programs that are not on an ordinary user's PATH.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PackageError(Exception):
    """A package could not be installed; the sentence says which and what to do."""


def find(program: str) -> str | None:
    """The program's path, also from system folders that PATH omits; an absolute name is only checked."""
    return shutil.which(program) or shutil.which(program, path=_SYSTEM_PATH)


def missing(programs: Mapping[str, str]) -> list[str]:
    """Packages to install so that all `programs` (program or file -> package) are there."""
    return sorted({package for program, package in programs.items() if not (find(program) or Path(program).exists())})


def install_missing(programs: Mapping[str, str], say: Callable[[str], None] | None = None) -> bool:
    """True when anything was installed. A program that exists, from whichever package, is left as it is."""
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    packages = missing(programs)
    if not packages:
        return False
    names = " ".join(packages)
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise PackageError(
            f"these packages are missing and only root on Debian or Ubuntu can be helped; install them yourself: {names}"
        )
    say(f"installing the Debian packages {names} (their services are not started)")
    with _no_service_starts():
        if any(_UNFINISHED.iterdir()):
            _run("dpkg", "--configure", "-a")
        _apt("update", "-q")
        _apt("install", "-q", "-y", "--no-install-recommends", *packages)
    return True


@contextmanager
def _no_service_starts() -> Iterator[None]:
    if _POLICY.exists() and _POLICY.read_text(errors="replace") != _POLICY_TEXT:  # the machine owner's own policy
        yield
        return
    _POLICY.write_text(_POLICY_TEXT)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _apt(*arguments: str) -> None:
    done = _run("apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments)
    if done.returncode and arguments[0] == "install":
        last = " ".join(done.stdout.split())[-400:]
        raise PackageError(f"apt-get could not install {' '.join(arguments[4:])}: {last}; install them yourself")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def main() -> None:
    """`python tools/debian.py PROGRAM=PACKAGE …`: what cannot be installed is said, not failed on; what needs it skips with a word."""
    programs = dict(word.partition("=")[::2] for word in sys.argv[1:])
    try:
        install_missing(programs)
    except PackageError as error:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
