# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.models_settings."""

import json

from modules import loaders, shared
from modules.utils import resolve_model_path


def infer_loader(model_name, model_settings, hf_quant_method=None):
    path = resolve_model_path(model_name)
    if not path.exists():
        return None
    return "llama.cpp" if path.suffix == ".gguf" else "Transformers"


def get_model_metadata(model):
    found = {"truncation_length": shared.settings["truncation_length"], "loader": infer_loader(model, {})}
    assert found["loader"] in (None, *loaders.loaders_and_params)
    config = resolve_model_path(model) / "config.json"
    if config.exists():
        found["truncation_length"] = json.loads(config.read_text())["max_position_embeddings"]
    return found
