# SPDX-License-Identifier: Apache-2.0
"""Artifacts for exact inputs: they are found, or compiled once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..models.store import sha256_of
from .compiler import Backend, Runner
from .errors import CompileError, InputError, MismatchError
from .key import Difference, Inputs, config_sha256, differences
from .store import Artifact, ArtifactStore, refuse_mismatch


@dataclass(frozen=True)
class Shapes:
    """What a catalogue entry says about the graphs. `include_weights`: the artifacts contain the weights, so they fit only these."""

    target: str
    tp_degree: int = 2
    batch_size: int = 1
    n_positions: int = 2048
    dtype: str = "bf16"
    quantization: str = ""
    buckets: tuple[int, ...] = ()
    neuron_config: Mapping[str, Any] = field(default_factory=dict)
    compiler_flags: tuple[str, ...] = ()
    logical_nc: int = 1
    image_digest: str = ""
    include_weights: bool = False


@dataclass(frozen=True)
class Outcome:
    """`status`: present, compiled, or absent where nothing was to be compiled.

    `mismatch`: compared with the most similar artifacts.
    """

    status: str
    inputs: Inputs
    artifact: Artifact | None
    mismatch: tuple[Difference, ...] = ()
    seconds: float = 0.0


def inputs_of(backend: Backend, model_path: Path, shapes: Shapes, runner: Runner) -> Inputs:
    """All inputs of the key, read from the model and from the image's own libraries. InputError without a model."""
    config = _config(model_path)
    weights = _weights_digest(model_path) if shapes.include_weights or backend.name == "optimum" else ""
    return Inputs(
        backend.name,
        shapes.target,
        shapes.tp_degree,
        shapes.batch_size,
        shapes.n_positions,
        shapes.dtype,
        config_sha256(config),
        runner.versions(backend),
        shapes.quantization,
        shapes.buckets,
        shapes.neuron_config,
        shapes.compiler_flags,
        shapes.logical_nc,
        shapes.image_digest,
        weights,
    )


def look(store: ArtifactStore, model: str, inputs: Inputs, *, full: bool = False) -> Outcome:
    """The artifacts that exist. Nothing is compiled."""
    found = store.find(model, inputs, full=full)
    if found:
        return Outcome("present", inputs, found)
    nearest = store.nearest(model, inputs)
    return Outcome("absent", inputs, None, tuple(differences(inputs.parts(), nearest.inputs)) if nearest else ())


def verify(store: ArtifactStore, model: str, inputs: Inputs, *, full: bool = False) -> Artifact:
    """The artifacts. MismatchError names what differs, or that none exist."""
    found = store.find(model, inputs, full=full)
    if found:
        return found
    nearest = store.nearest(model, inputs)
    if nearest is not None:
        refuse_mismatch(inputs.parts(), nearest)
    raise MismatchError(
        f"{model} has no artifacts for {inputs.backend} in {store.root}, or they are damaged: compile it"
    )


def ensure(
    store: ArtifactStore,
    model: str,
    model_path: Path,
    inputs: Inputs,
    backend: Backend,
    runner: Runner,
    *,
    force: bool = False,
    wait_s: float = 6 * 3600.0,
    say: Callable[[str], None] = lambda _sentence: None,
) -> Outcome:
    """Compile unless the artifacts exist.

    A second caller waits for the first and finds its work. CompileError, BusyError, ModelStoreError.
    """
    before = look(store, model, inputs)
    if before.artifact and not force:
        store.use(before.artifact)
        return before
    with store.building(model, inputs, wait_s) as staging:
        again = store.find(model, inputs)
        if again and not force:
            return Outcome("present", inputs, again)
        # A folder of its own: a builder that was killed may have left a compiler that still writes into its folder.
        out = Path(tempfile.mkdtemp(prefix="out-", dir=staging))
        say(f"compiling {model} for {inputs.backend}, key {inputs.key}")
        try:
            seconds = runner.compile(backend, _spec(inputs, model_path, out), staging / "compile.log", say)
        except CompileError as problem:
            raise CompileError(f"{model} was not compiled: {problem}", problem.kind, problem.tail) from problem  # pylint: disable=bad-exception-cause
        if not any(out.iterdir()):
            raise CompileError(f"{model} was not compiled: its compiler succeeded and wrote nothing", "empty")
        compiler = inputs.versions.get("neuronx-cc", "")
        artifact = store.publish(out, model, inputs, seconds, compiler)
    return Outcome("compiled", inputs, artifact, before.mismatch, seconds)


def _spec(inputs: Inputs, model_path: Path, out: Path) -> dict[str, Any]:
    config = _config(model_path)
    flags = " ".join(inputs.compiler_flags)
    shapes = {name: getattr(inputs, name) for name in ("target", "tp_degree", "batch_size", "n_positions", "dtype")}
    more = {
        "quantization": inputs.quantization,
        "buckets": list(inputs.buckets),
        "neuron_config": dict(inputs.neuron_config),
    }
    where = {"model_path": str(model_path), "out": str(out), "model_type": str(config.get("model_type", ""))}
    return {**shapes, **more, **where, "flags": flags}


def _config(model_path: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads((model_path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InputError(
            f"{model_path} has no config.json that can be read: sync the model first ({problem})"
        ) from problem
    return found


def _weights_digest(model_path: Path) -> str:
    """The manifest's digest where the model store has published the model; otherwise every file of weights is read."""
    try:
        return str(json.loads((model_path / "manifest.json").read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError):
        pass
    files = sorted(model_path.glob("*.safetensors"))
    return "+".join(sha256_of(file)[:16] for file in files)
