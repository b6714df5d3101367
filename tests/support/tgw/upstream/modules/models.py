# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.models."""

import modules.shared as shared  # pylint: disable=consider-using-from-import
from modules.logging_colors import logger
from modules.models_settings import get_model_metadata


def load_model(model_name, loader=None):
    shared.model_name = model_name
    table = {"Transformers": transformers_loader}
    metadata = get_model_metadata(model_name)
    loader = loader or shared.args.loader or metadata["loader"]
    if loader is None:
        raise ValueError
    from modules import sampler_hijack

    sampler_hijack.hijack_samplers()
    shared.args.loader = loader
    output = table[loader](model_name)
    model, tokenizer = output if isinstance(output, tuple) else (output, None)
    if model is None:
        return None, None
    shared.settings["truncation_length"] = metadata["truncation_length"]
    logger.info(f'LOADER: "{loader}"')  # pylint: disable=logging-fstring-interpolation
    return model, tokenizer


def transformers_loader(model_name):
    from modules.transformers_loader import load_model_HF

    return load_model_HF(model_name)


def unload_model(keep_model_name=False):
    shared.model = shared.tokenizer = None
