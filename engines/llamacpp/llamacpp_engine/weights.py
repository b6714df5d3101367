# SPDX-License-Identifier: Apache-2.0
"""Which GGUF file to load."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .flags import UsageError

# The second and later files of a split GGUF; llama.cpp finds them itself from the first.
_LATER_PART = re.compile(r"-(?!00001-)\d{5}-of-\d{5}\.gguf$")


def gguf_file(model: str) -> Path:
    """The file itself, or the one GGUF that the manifest of a published folder names. UsageError if there is not one."""
    path = Path(model)
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(f"--model {model}: no such file or folder")
        return path
    manifest = path / "manifest.json"
    if not manifest.is_file():
        raise UsageError(f"--model {model}: the folder has no manifest.json, so the model is not published (yet)")
    names = [str(entry["path"]) for entry in json.loads(manifest.read_text(encoding="utf-8"))["files"]]
    files = [name for name in names if name.endswith(".gguf") and not _LATER_PART.search(name)]
    if len(files) != 1:
        raise UsageError(f"--model {model}: the folder has {len(files)} GGUF models, {sorted(names)}; name one file")
    return path / files[0]
