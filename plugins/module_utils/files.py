# SPDX-License-Identifier: Apache-2.0
"""Files that others read while they are written: whole, or as they were."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(file: Path, content: bytes | str, *, private: bool = False) -> None:
    """Write a file by one rename; its folder is made where it is missing. `private`: only its owner can read it (mode 0600)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with os.fdopen(
            os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "wb"
        ) as stream:
            stream.write(data)
        staging.replace(file)
    finally:
        staging.unlink(missing_ok=True)
