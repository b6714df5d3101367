# SPDX-License-Identifier: Apache-2.0
"""Whether this upstream has all that is hooked. Run while the image is built: a new tag that differs stops the build."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import ContractError
from .patches import APPLICATIONS, LOADER, row_of


def check(root: Path) -> list[str]:
    """What was found to hold, a sentence each. ContractError with all that does not."""
    _import_as_upstream_does(root)
    held: list[str] = []
    broken: list[str] = []
    for sentence, holds in _claims():
        try:
            (held if holds() else broken).append(sentence)
        except Exception as problem:  # whatever upstream's module raises, its hook does not fit
            broken.append(f"{sentence} ({type(problem).__name__}: {problem})")
    if broken:
        raise ContractError(
            f"{len(broken)} of {len(held) + len(broken)} hooks do not fit this upstream: " + "; ".join(broken)
        )
    return held


def _import_as_upstream_does(root: Path) -> None:
    """By server.py's own order: its modules import each other in circles. Not as __main__, so nothing is started."""
    try:
        runpy.run_path(str(root / "server.py"), run_name="tgw_neuron_check")
    except ImportError as problem:
        raise ContractError(f"{root}: upstream cannot be imported here: {problem}") from problem


def _claims() -> Iterator[tuple[str, Callable[[], bool]]]:
    modules = {name: sys.modules.get(f"modules.{name}") for name in ("models", "models_settings", "shared")}
    models: Any = modules["models"]
    settings: Any = modules["models_settings"]
    shared: Any = modules["shared"]
    loaders: Any = importlib.import_module("modules.loaders")
    generation: Any = importlib.import_module("modules.text_generation")
    yield (
        "modules.shared.args has loader, model_dir and api_key",
        lambda: all(hasattr(shared.args, name) for name in ("loader", "model_dir", "api_key")),
    )
    yield "modules.shared.settings has truncation_length", lambda: "truncation_length" in shared.settings
    yield (
        "modules.loaders has the new loader's rows",
        lambda: LOADER in loaders.loaders_and_params and LOADER in loaders.loaders_samplers,
    )
    yield (
        "modules.models_settings.infer_loader is ours, over (model_name, model_settings, …)",
        lambda: _wraps(settings.infer_loader, "model_name", "model_settings"),
    )
    yield (
        "modules.models_settings.get_model_metadata is ours, over (model)",
        lambda: _wraps(settings.get_model_metadata, "model"),
    )
    yield (
        "modules.models.load_model is ours, over (model_name, loader)",
        lambda: _wraps(models.load_model, "model_name", "loader"),
    )
    yield (
        "load_model calls the Transformers row by its global name",
        lambda: row_of(models) in models.load_model.__wrapped__.__code__.co_names,
    )
    yield "modules.models.unload_model is ours", lambda: hasattr(models.unload_model, "__wrapped__")
    yield (
        "modules.text_generation.generate_reply_HF is ours, over (question, …, state)",
        lambda: _wraps(generation.generate_reply_HF, "question", "state"),
    )
    yield (
        "generate_reply_HF calls shared.model.generate with stopping_criteria",
        lambda: _says(generation.generate_reply_HF.__wrapped__, r"shared\.model\.generate\(", "stopping_criteria"),
    )
    yield (
        "generate_reply_HF asks get_max_prompt_length",
        lambda: _says(generation.generate_reply_HF.__wrapped__, "get_max_prompt_length"),
    )
    yield (
        "modules.text_generation.encode takes add_bos_token",
        lambda: "add_bos_token" in inspect.signature(generation.encode).parameters,
    )
    yield (
        "modules.sampler_hijack.hijack_samplers is ours",
        lambda: hasattr(importlib.import_module("modules.sampler_hijack").hijack_samplers, "__wrapped__"),
    )
    yield (
        "load_tokenizer takes tokenizer_dir",
        lambda: (
            "tokenizer_dir"
            in inspect.signature(importlib.import_module("modules.transformers_loader").load_tokenizer).parameters
        ),
    )
    yield "the HTTP application has our middleware", _has_front


def _wraps(function: Any, *names: str) -> bool:
    """Whether ours is around upstream's, and upstream's takes what ours hands on."""
    original = function.__wrapped__
    return set(names) <= set(inspect.signature(original).parameters)


def _says(function: Any, *patterns: str) -> bool:
    source = inspect.getsource(function)
    return all(re.search(pattern, source) for pattern in patterns)


def _has_front() -> bool:
    for name in APPLICATIONS:
        try:
            module: Any = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        return any(getattr(one.cls, "__name__", "") == "Front" for one in module.app.user_middleware)
    return False
