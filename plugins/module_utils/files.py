# SPDX-License-Identifier: Apache-2.0
"""Files that others may read at any time: they see the old content or the new one, never a part."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(file: Path, content: bytes | str, *, private: bool = False) -> None:
    """Write a file atomically, by a rename; a missing folder is created. `private`: only the owner can read it (mode 0600)."""
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
