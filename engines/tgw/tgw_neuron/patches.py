# SPDX-License-Identifier: Apache-2.0
"""What is wrapped in upstream, and why. Each wrapper leaves other models to upstream."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from . import logs
from .adapter import NeuronModel
from .backends import open_backend
from .engine import Engine
from .errors import PromptTooLongError, SettingsError
from .folders import is_divided, is_neuron, read_folder
from .hooks import Finder
from .server import Front
from .ticket import Ticket, current_ticket

log = logging.getLogger(__package__)

LOADER = "Neuron"
# Upstream's row that loads a Transformers model, by tag: since v3.0, and before.
ROWS = ("transformers_loader", "huggingface_loader")
# The HTTP application, by tag: since v4.2, and before.
APPLICATIONS = ("modules.api.script", "extensions.openai.script")
SAMPLERS = (
    "temperature",
    "top_p",
    "top_k",
    "do_sample",
    "seed",
    "auto_max_new_tokens",
    "no_repeat_ngram_size",
    "add_bos_token",
    "skip_special_tokens",
    "ban_eos_token",
)


def install(finder: Finder, engine: Engine, *, forced: bool = False) -> None:
    """Hook upstream's modules. `forced`: the command line asks for this loader, whatever the folder looks like."""
    patches = Patches(engine, forced)
    finder.after_import("modules.logging_colors", patches.logging)
    finder.after_import("modules.shared", patches.shared)
    finder.after_import("modules.loaders", patches.loaders)
    finder.after_import("modules.models_settings", patches.models_settings)
    finder.after_import("modules.models", patches.models)
    finder.after_import("modules.sampler_hijack", patches.sampler_hijack)
    finder.after_import("modules.text_generation", patches.text_generation)
    for name in APPLICATIONS:
        finder.after_import(name, patches.application)


class Patches:
    def __init__(self, engine: Engine, forced: bool = False) -> None:
        self._engine, self._forced = engine, forced
        # The folder that is being loaded by our loader, in the thread that loads it.
        self._loading = threading.local()

    def logging(self, module: ModuleType) -> None:
        """Upstream's handlers wrap lines and print keys."""
        settings = self._engine.settings
        logs.set_up((settings.api_key, settings.admin_key), settings.log_format)

    def shared(self, module: Any) -> None:
        """Keys come from files; on a command line every process sees them."""
        settings = self._engine.settings
        if settings.api_key:
            module.args.api_key = settings.api_key
        if settings.admin_key or settings.api_key:
            module.args.admin_key = settings.admin_key or settings.api_key

    def loaders(self, module: Any) -> None:
        """The loader's row in the tables of presets, page and API."""
        module.loaders_and_params[LOADER] = ["ctx_size", "no_use_fast"]
        module.loaders_samplers[LOADER] = set(SAMPLERS)

    def models_settings(self, module: Any) -> None:
        """Which loader a folder wants, and where a divided folder has what upstream reads."""
        infer, read = module.infer_loader, module.get_model_metadata

        @functools.wraps(infer)
        def infer_loader(model_name: str, *rest: Any, **more: Any) -> Any:
            root = _root(module, model_name)
            if root.exists() and (self._forced or is_neuron(model_name, root)):
                return LOADER
            return infer(model_name, *rest, **more)

        @functools.wraps(read)
        def get_model_metadata(model: str, *rest: Any, **more: Any) -> Any:
            found = read(model, *rest, **more)
            if found.get("loader") == LOADER and is_divided(_root(module, model)):
                for part in ("model", "tokenizer"):
                    _take_over(found, read(f"{model}/{part}", *rest, **more), part)
            return found

        module.infer_loader, module.get_model_metadata = infer_loader, get_model_metadata

    def models(self, module: Any) -> None:
        """load_model() keeps its table of loaders to itself, so a Neuron model takes the way of a Transformers one."""
        load, unload = module.load_model, module.unload_model
        row = row_of(module)
        transformers_row = getattr(module, row)

        def neuron_or_transformers(model_name: str) -> Any:
            root = getattr(self._loading, "root", None)
            return transformers_row(model_name) if root is None else self._open(model_name, root)

        @functools.wraps(load)
        def load_model(model_name: str, loader: str | None = None) -> Any:
            started, shared = time.monotonic(), module.shared
            chosen = loader or shared.args.loader or module.get_model_metadata(model_name)["loader"]
            try:
                if chosen == LOADER:
                    model, tokenizer = self._load(load, shared, model_name, _root(module, model_name))
                else:
                    model, tokenizer = load(model_name, loader)
                if model is None:
                    # Upstream would go on and answer 200 with nothing in it.
                    raise SettingsError(
                        f"model {model_name} could not be loaded by {chosen}: see the lines before this"
                    )
                self._engine.loaded(model_name, str(chosen), model, started)
            except BaseException as problem:  # whatever ended the loading, readiness says it
                self._engine.failed = f"model {model_name} could not be loaded: {problem}"
                raise
            return model, tokenizer

        @functools.wraps(unload)
        def unload_model(*rest: Any, **more: Any) -> Any:
            model = self._engine.neuron
            self._engine.unloaded()
            if model is not None:
                model.close()
            return unload(*rest, **more)

        setattr(module, row, neuron_or_transformers)
        module.load_model, module.unload_model = load_model, unload_model

    def _load(self, load: Callable[..., Any], shared: Any, model_name: str, root: Path) -> Any:
        self._loading.root = root
        # Tags before v2.8 move token ids to the GPU unless this is set.
        before, shared.args.cpu = getattr(shared.args, "cpu", False), True
        try:
            model, tokenizer = load(model_name, "Transformers")
        except BaseException:  # upstream's setting is given back, whatever ended the loading
            shared.args.cpu = before
            raise
        finally:
            self._loading.root = None
        shared.args.loader = LOADER
        length = int(shared.settings.get("truncation_length") or model.n_positions)
        shared.settings["truncation_length"] = min(length, model.n_positions)
        return model, tokenizer

    def _open(self, model_name: str, root: Path) -> Any:
        from modules import transformers_loader

        artifacts = self._engine.settings.artifacts
        folder = read_folder(root, Path(artifacts) if artifacts else None)
        model = NeuronModel(open_backend(folder, self._engine.settings), self._engine.metrics)
        return model, transformers_loader.load_tokenizer(model_name, tokenizer_dir=folder.tokenizer)

    def sampler_hijack(self, module: Any) -> None:
        """Upstream's samplers would be applied on top of optimum's own."""
        hijack = module.hijack_samplers

        @functools.wraps(hijack)
        def hijack_samplers() -> None:
            if getattr(self._loading, "root", None) is None:
                hijack()

        module.hijack_samplers = hijack_samplers

    def text_generation(self, module: Any) -> None:
        """Lengths that fit, failures that are seen, and generations that can be stopped."""
        generate, longest = module.generate_reply_HF, module.get_max_prompt_length

        @functools.wraps(longest)
        def get_max_prompt_length(state: dict[str, Any]) -> int:
            model = self._engine.neuron
            if model is None:
                # With max_tokens above the context this was negative, and cut the prompt away from its beginning.
                return max(int(longest(state)), 1)
            return _limit(state, model) - 1

        @functools.wraps(generate)
        def generate_reply_HF(*given: Any, **more: Any) -> Iterator[Any]:
            model = self._engine.neuron
            if model is None:
                yield from generate(*given, **more)
                return
            ticket = model.ticket = current_ticket.get() or Ticket()
            state = _state(given, more)
            try:
                _fit(state, given[0], model, module.encode)
            except PromptTooLongError as problem:
                ticket.failure = problem
                raise
            # Streamed inside, an answer ends between two tokens when nobody wants it any more.
            state["stream"] = True
            yield from generate(*given, **more)
            # Upstream logs what went wrong and goes on as if nothing had been generated.
            if ticket.failure is not None:
                raise ticket.failure

        module.generate_reply_HF, module.get_max_prompt_length = generate_reply_HF, get_max_prompt_length

    def application(self, module: Any) -> None:
        """Added last, so it is asked first: before the check of the Host header, which probes would not pass."""
        module.app.add_middleware(Front, engine=self._engine)


def row_of(module: Any) -> str:
    """The name of upstream's function that loads a Transformers model."""
    return next(name for name in ROWS if hasattr(module, name))


def _root(module: Any, model_name: str) -> Path:
    resolve = getattr(module, "resolve_model_path", None)
    return Path(resolve(model_name)) if resolve else Path(module.shared.args.model_dir) / model_name


def _take_over(found: dict[str, Any], part: dict[str, Any], name: str) -> None:
    """What upstream reads of a flat folder, from the two halves of a divided one."""
    for key, value in part.items():
        from_template = key.startswith("instruction_template")
        if key == "loader" or value is None or (from_template and "instruction_template_str" not in part):
            continue
        if key not in found or name == "model" or from_template:
            found[key] = value


def _state(given: tuple[Any, ...], more: dict[str, Any]) -> dict[str, Any]:
    """Tags before v3.0 have a seed before it."""
    found: dict[str, Any] = next((one for one in given if isinstance(one, dict)), more.get("state", {}))
    return found


def _limit(state: dict[str, Any], model: NeuronModel) -> int:
    return min(int(state.get("truncation_length") or model.n_positions), model.n_positions)


def _fit(state: dict[str, Any], question: str, model: NeuronModel, encode: Callable[..., Any]) -> None:
    limit = _limit(state, model)
    prompt_tokens = int(encode(question, add_bos_token=state.get("add_bos_token", True)).shape[-1])
    if prompt_tokens >= limit:
        raise PromptTooLongError(
            f"the prompt has {prompt_tokens} tokens, and {limit} positions hold prompt and answer: shorten it"
        )
    state["truncation_length"] = limit
    state["max_new_tokens"] = min(int(state["max_new_tokens"]), limit - prompt_tokens)
