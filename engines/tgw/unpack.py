# SPDX-License-Identifier: Apache-2.0
"""Unpack upstream's source archive, held to its digest: unpack.py URL_OR_PATH SHA256 FOLDER"""

from __future__ import annotations

import hashlib
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path


def unpack(archive: str, sha256: str, target: Path) -> None:
    """The archive's one top folder becomes `target`. SystemExit with a sentence when the digest is another."""
    with tempfile.NamedTemporaryFile() as file:
        source = archive if "://" in archive else Path(archive).resolve().as_uri()
        with urllib.request.urlopen(source) as stream:  # noqa: S310 - the builder names it, and its digest
            while chunk := stream.read(1 << 20):
                file.write(chunk)
        file.flush()
        found = hashlib.sha256(Path(file.name).read_bytes()).hexdigest()
        if found != sha256.lower():
            raise SystemExit(f"TGW_ARCHIVE {archive} has sha256 {found}, and TGW_SHA256 says {sha256 or 'nothing'}")
        with tarfile.open(file.name) as members, tempfile.TemporaryDirectory(dir=target.parent) as folder:
            members.extractall(folder, filter="data")
            next(Path(folder).iterdir()).rename(target)


if __name__ == "__main__":
    unpack(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
