# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.transformers_loader. It has no Transformers model: such a one fails to load, as upstream's can."""

from pathlib import Path

from tokenizers import Tokenizer

from modules import shared


def load_tokenizer(model_name, tokenizer_dir=None):
    return _Tokenizer(Path(tokenizer_dir or f"{shared.args.model_dir}/{model_name}"))


def load_model_HF(model_name):
    return None


class Stream:
    def __init__(self, callback_func=None):
        self.callback_func = callback_func

    def __call__(self, input_ids, scores):
        self.callback_func(input_ids[0])
        return False


class _Tokenizer:
    def __init__(self, folder):
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.bos_token_id = self._tokenizer.token_to_id("<s>")
        self.eos_token_id = self._tokenizer.token_to_id("</s>")

    def encode(self, text):
        return self._tokenizer.encode(text).ids

    def decode(self, ids):
        return self._tokenizer.decode([int(one) for one in ids])
