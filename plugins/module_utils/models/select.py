# SPDX-License-Identifier: Apache-2.0
"""Which files of a repository an engine needs: one format of the weights, one quantisation, and their configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .errors import SyncError
from .formats import is_pickle
from .listing import RemoteFile

# Other formats of the same weights for other libraries, pictures, and training state.
UNWANTED = (
    ".*", "*/.*", "*.h5", "*.msgpack", "*.onnx", "*.onnx_data", "*.ot", "*.tflite", "*.mlmodel", "coreml/*", "onnx/*", "openvino/*",
    "original/*", "metal/*", "consolidated*.pth", "consolidated*.safetensors", "optimizer*", "training_args*", "rng_state*", "scheduler*",
    "runs/*", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.svg", "*.mp4", "*.pdf",
)  # fmt: skip
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
# Q4_K_M, IQ2_XXS, F16, BF16, MXFP4 …: https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md
_QUANTISATION = re.compile(
    r"(?<![A-Za-z0-9])(I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4|BF16|F16|F32)(?![A-Za-z0-9])", re.IGNORECASE
)
_SPLIT = re.compile(r"-\d{5}-of-\d{5}(?=\.)")


@dataclass(frozen=True)
class Wanted:
    """`include`, `exclude`: patterns of paths; an empty `include` means the files that an engine needs.

    `quantization`: of a GGUF repository.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    quantization: str = ""
    allow_pickle: bool = False

    def text(self) -> str:
        """Two selections with the same text choose the same files."""
        parts = [*map("+".__add__, self.include), *map("-".__add__, self.exclude)]
        return " ".join([*parts, self.quantization, "pickle" if self.allow_pickle else ""]).strip()


def choose(files: Sequence[RemoteFile], wanted: Wanted, where: str) -> tuple[RemoteFile, ...]:
    """The wanted files, by path. SyncError when there are none, when several models match, or when only pickles exist."""
    chosen = [file for file in files if _matches(file.path, wanted)]
    if not wanted.include:
        chosen = _one_format(chosen, wanted, where)
    pickles = [file.path for file in chosen if is_pickle(file.path)]
    if pickles and not wanted.allow_pickle:
        raise SyncError(
            f"{where}: {', '.join(pickles[:3])} can run code when loaded: take a revision with safetensors, "
            "or set allow_pickle: true if you trust its publisher"
        )
    if not chosen:
        raise SyncError(f"{where}: none of its {len(files)} files is wanted; check include and exclude")
    return tuple(sorted(chosen, key=lambda file: file.path))


def _matches(path: str, wanted: Wanted) -> bool:
    if any(fnmatchcase(path, pattern) for pattern in wanted.exclude):
        return False
    if wanted.include:
        return any(fnmatchcase(path, pattern) for pattern in wanted.include)
    return not any(fnmatchcase(path, pattern) for pattern in UNWANTED)


def _one_format(files: list[RemoteFile], wanted: Wanted, where: str) -> list[RemoteFile]:
    """safetensors preferred; of GGUF one quantisation; pickles only where nothing else exists."""
    kinds = {ending for file in files for ending in _WEIGHTS if file.path.endswith(ending)}
    if ".gguf" in kinds and (wanted.quantization or ".safetensors" not in kinds):
        return _one_quantisation(files, wanted.quantization, where)
    if ".safetensors" in kinds:
        return [
            file for file in files if not is_pickle(file.path) and not file.path.endswith((".gguf", ".bin.index.json"))
        ]
    return files


def _one_quantisation(files: list[RemoteFile], quantization: str, where: str) -> list[RemoteFile]:
    models = {_SPLIT.sub("", file.path) for file in files if file.path.endswith(".gguf")}
    named = {model: _names(model) for model in models}
    fitting = [model for model in models if not quantization or quantization.upper() in named[model]]
    if len(fitting) != 1:
        known = ", ".join(sorted({name for names in named.values() for name in names})) or ", ".join(sorted(models))
        said = (
            f"{len(fitting)} of its models are {quantization}" if quantization else f"it has {len(models)} GGUF models"
        )
        raise SyncError(f"{where}: {said}; set quantization to one of {known}, or name the file with include")
    weights = _WEIGHTS
    return [file for file in files if _SPLIT.sub("", file.path) == fitting[0] or not file.path.endswith(weights)]


def _names(model: str) -> set[str]:
    return {name.upper() for name in _QUANTISATION.findall(model)}
