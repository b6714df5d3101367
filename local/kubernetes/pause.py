# SPDX-License-Identifier: Apache-2.0
"""The sandbox image: one process that waits for ever. It is made here because a registry may not be reachable.

The program is `for (;;) pause();` as an ELF file of under 200 bytes; the archive has the layout of `docker save`, which
containerd imports.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import struct
import tarfile

REFERENCE = "localhost/llm.on_eks/pause:1"
_LOAD_ADDRESS = 0x400000
_HEADERS = 64 + 56
# pause(2) is system call 34 on x86-64; arm64 has only ppoll (73), asked here with no descriptors and no timeout.
_CODE = {
    "x86_64": (62, bytes.fromhex("b8220000000f05ebf7")),
    "aarch64": (
        183,
        struct.pack("<7I", 0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA),
    ),
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def program(machine: str) -> bytes:
    """A static ELF executable for `machine` (as `platform.machine()` names it)."""
    elf_machine, code = _CODE[machine]
    size = _HEADERS + len(code)
    identity = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header = struct.pack("<HHIQQQIHHHHHH", 2, elf_machine, 1, _LOAD_ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return identity + header + segment + code


def archive(machine: str | None = None) -> bytes:
    """The image as a `docker save` archive."""
    machine = machine or platform.machine()
    layer = _tar({"pause": (program(machine), 0o755)})
    config = {
        "architecture": _ARCHITECTURES[machine],
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [REFERENCE], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": (json.dumps(config).encode(), 0o644),
            "layer.tar": (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (data, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
