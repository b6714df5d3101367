# SPDX-License-Identifier: Apache-2.0
"""A Neuron library behind one interface. The libraries are imported when a model is loaded, never before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..artifacts import refuse_other_versions
from ..errors import SettingsError
from ..folders import ModelFolder
from ..sampling import Sampling
from ..settings import Settings

# Gets each new token's id; True: stop.
OnToken = Callable[[int], bool]

_DEFAULT_TP, _DEFAULT_POSITIONS = 2, 2048


@dataclass(frozen=True)
class Shapes:
    """What the graphs were compiled for; another value finds no graph."""

    tp_degree: int
    batch_size: int
    n_positions: int
    dtype: str


class Backend(Protocol):
    """`n_positions`: prompt and answer together. `host_scores`: it samples on the host, so logits processors work."""

    name: str
    n_positions: int
    host_scores: bool

    def generate(self, prompt: Any, sampling: Sampling, on_token: OnToken, logits_processor: Any) -> None:
        """Generate after `prompt` (a [1, n] tensor), giving each token to `on_token`."""

    def close(self) -> None: ...


def open_backend(folder: ModelFolder, settings: Settings) -> Backend:
    """Load the model onto the device. SettingsError for what cannot work."""
    name = backend_name(folder, settings)
    refuse_other_versions(folder)
    if name == "optimum":
        from .optimum import Optimum

        return Optimum.load(folder)
    from .tnx import TransformersNeuronx

    return TransformersNeuronx.load(folder, shapes_of(folder, settings))


def backend_name(folder: ModelFolder, settings: Settings) -> str:
    """The one that compiled the artifacts; without artifacts, the one that is set. SettingsError where both differ."""
    compiled_by = "optimum" if folder.compiled else str(folder.manifest.get("key_inputs", {}).get("backend", ""))
    if settings.backend and compiled_by and settings.backend != compiled_by:
        raise SettingsError(
            f"TEXTGEN_NEURON_BACKEND is {settings.backend!r}, and {folder.artifacts} was compiled by {compiled_by!r}: "
            "unset the variable, or compile for the other backend"
        )
    return settings.backend or compiled_by or "tnx"


def shapes_of(folder: ModelFolder, settings: Settings) -> Shapes:
    """The manifest's shapes; without a manifest the settings', then the model's. SettingsError where both differ."""
    compiled = folder.manifest.get("key_inputs", {})
    longest = int(folder.config.get("max_position_embeddings") or _DEFAULT_POSITIONS)
    defaults = {
        "tp_degree": _DEFAULT_TP,
        "batch_size": 1,
        "n_positions": min(_DEFAULT_POSITIONS, longest),
        "dtype": "fp16",
    }
    variables = {"tp_degree": "TP", "batch_size": "BATCH", "n_positions": "N_POSITIONS", "dtype": "DTYPE"}
    chosen: dict[str, Any] = {}
    for name, variable in variables.items():
        wanted, there = getattr(settings, name), compiled.get(name)
        if wanted and there and wanted != there:
            raise SettingsError(
                f"TEXTGEN_NEURON_{variable} is {wanted!r}, and {folder.artifacts} was compiled for {there!r}: "
                "unset the variable, or compile again"
            )
        chosen[name] = there or wanted or defaults[name]
    return Shapes(**chosen)
