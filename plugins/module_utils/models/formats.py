# SPDX-License-Identifier: Apache-2.0
"""What a file of weights must look like before an engine may read it."""

from __future__ import annotations

import json
from pathlib import Path

from .errors import ContentError

_PICKLES = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth", ".joblib")
# The library's own limit: https://github.com/huggingface/safetensors
_HEADER_MAX_BYTES = 100_000_000


def is_pickle(path: str) -> bool:
    """Whether loading the file may run code."""
    return path.lower().endswith(_PICKLES)


def check_header(path: Path, shown: str) -> None:
    """ContentError when a .safetensors or .gguf file has another format, or its tensors do not fill it exactly."""
    if path.suffix == ".gguf":
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ContentError(f"{shown} is not a GGUF file: it does not begin with the letters GGUF")
    elif path.suffix == ".safetensors":
        _check_safetensors(path, shown)


def _check_safetensors(path: Path, shown: str) -> None:
    """https://github.com/huggingface/safetensors#format: 8 bytes of length, JSON, then the tensors without gaps."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER_MAX_BYTES, size - 8):
            raise ContentError(f"{shown} is not a safetensors file: its header would take {length} of {size} bytes")
        try:
            header = json.loads(file.read(length))
            offsets = sorted(
                tuple(map(int, one["data_offsets"])) for name, one in header.items() if name != "__metadata__"
            )
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ContentError(f"{shown} has a header that cannot be read: {problem!r}") from problem
    end = 0
    for begin, after in offsets:
        if begin != end or after < begin:
            raise ContentError(f"{shown} has a gap or an overlap between its tensors at byte {end}")
        end = after
    if 8 + length + end != size:
        raise ContentError(
            f"{shown} has {size} bytes and its header announces {8 + length + end}: the file is truncated"
        )
