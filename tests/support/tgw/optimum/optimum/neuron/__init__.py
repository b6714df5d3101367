# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for optimum.neuron: the exported folder's weights in transformers' own Llama, on the CPU."""

import json
from pathlib import Path


class NeuronModelForCausalLM:
    def __init__(self, model, compiled):
        self._model, self._compiled = model, compiled

    @classmethod
    def from_pretrained(cls, path, **__):
        from transformers import AutoModelForCausalLM

        compiled = json.loads((Path(path) / "neuron_config.json").read_text())
        return cls(AutoModelForCausalLM.from_pretrained(path).float().eval(), compiled)

    def generate(self, input_ids, **given):
        """As the real one: longer prompts than compiled are refused, longer answers are not noticed."""
        if input_ids.shape[-1] > self._compiled["sequence_length"]:
            raise ValueError("the prompt is longer than the sequence length")
        if input_ids.shape[0] > self._compiled["batch_size"]:
            raise ValueError("the batch is larger than the static batch size")
        return self._model.generate(input_ids=input_ids, **given)
