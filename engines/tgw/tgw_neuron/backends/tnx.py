# SPDX-License-Identifier: Apache-2.0
"""transformers-neuronx: LlamaForSampling and its kin. Its sample() is strict about types and counts the prompt.

https://awsdocs-neuron.readthedocs-hosted.com/en/latest/libraries/transformers-neuronx/
"""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import SettingsError
from ..folders import ModelFolder
from ..sampling import Sampling
from . import OnToken, Shapes

# config.json's model_type -> (module, class) in transformers_neuronx
CLASSES = {
    "bloom": ("bloom", "BloomForSampling"),
    "gpt2": ("gpt2", "GPT2ForSampling"),
    "gpt_neox": ("gptneox", "GPTNeoXForSampling"),
    "gptj": ("gptj", "GPTJForSampling"),
    "llama": ("llama", "LlamaForSampling"),
    "mistral": ("mistral", "MistralForSampling"),
    "mixtral": ("mixtral", "MixtralForSampling"),
    "opt": ("opt", "OPTForSampling"),
}
AMP = {"bf16": "bf16", "fp16": "f16", "fp32": "f32"}
# sample() looks at the first end token at every step: without one it is given one that no vocabulary has.
_NO_END = [-1]


class TransformersNeuronx:
    name = "tnx"
    host_scores = False

    def __init__(self, model: Any, n_positions: int) -> None:
        self._model, self.n_positions = model, n_positions

    @classmethod
    def load(cls, folder: ModelFolder, shapes: Shapes) -> TransformersNeuronx:
        kind = str(folder.config.get("model_type"))
        if kind not in CLASSES:
            raise SettingsError(
                f"{folder.weights}: transformers-neuronx has no {kind!r}; it has {', '.join(CLASSES)}. "
                "Compile for backend optimum, or serve it with another engine"
            )
        module, name = CLASSES[kind]
        library = importlib.import_module(f"transformers_neuronx.{module}.model")
        model = getattr(library, name).from_pretrained(
            str(folder.weights),
            batch_size=shapes.batch_size,
            tp_degree=shapes.tp_degree,
            amp=AMP[shapes.dtype],
            n_positions=shapes.n_positions,
        )
        if folder.artifacts:
            # Before to_neuron(), which then takes these graphs instead of compiling.
            model.load(str(folder.artifacts))
        model.to_neuron()
        return cls(model, shapes.n_positions)

    def generate(self, prompt: Any, sampling: Sampling, on_token: OnToken, logits_processor: Any) -> None:
        bridge = _Bridge(on_token)
        self._model.sample(
            prompt,
            sequence_length=prompt.shape[-1] + sampling.max_new_tokens,
            top_k=sampling.top_k or None,
            top_p=sampling.top_p,
            temperature=sampling.temperature,
            no_repeat_ngram_size=sampling.no_repeat_ngram_size or None,
            eos_token_override=list(sampling.eos_token_ids) or _NO_END,
            streamer=bridge,
            stopping_criteria_list=bridge,
        )

    def close(self) -> None:
        self._model = None


class _Bridge:
    """Streamer and stopping criterion of sample() in one.

    sample() shows its criteria the prompt only, so whether to stop is found out where the tokens come by.
    """

    # put() gets prompt and answer so far; releases that do not know this give one token.
    response_with_prefix = True

    def __init__(self, on_token: OnToken) -> None:
        self._on_token, self._stop = on_token, False

    def put(self, ids: Any) -> None:
        self._stop = self._on_token(int(ids.reshape(-1)[-1])) or self._stop

    def end(self) -> None: ...

    def __call__(self, input_ids: Any, scores: Any, **__: Any) -> bool:
        return self._stop
