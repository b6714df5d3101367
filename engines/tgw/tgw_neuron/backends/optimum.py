# SPDX-License-Identifier: Apache-2.0
"""optimum-neuron: a folder that `optimum-cli export neuron` has written, with transformers' own generate().

https://huggingface.co/docs/optimum-neuron
"""

from __future__ import annotations

from typing import Any

from ..errors import SettingsError
from ..folders import ModelFolder
from ..sampling import Sampling
from . import OnToken


class Optimum:
    name = "optimum"

    def __init__(self, model: Any, n_positions: int, host_scores: bool) -> None:
        self._model, self.n_positions, self.host_scores = model, n_positions, host_scores

    @classmethod
    def load(cls, folder: ModelFolder) -> Optimum:
        compiled = folder.compiled
        if folder.artifacts is None or not compiled.get("sequence_length"):
            raise SettingsError(
                f"{folder.root} has no neuron_config.json with a sequence_length: compile it for backend optimum first"
            )
        if compiled.get("checkpoint_id") and not compiled.get("checkpoint_path"):
            raise SettingsError(
                f"{folder.artifacts} was exported from {compiled['checkpoint_id']} on the Hub and would fetch its weights "
                "from there: export from a local folder"
            )
        from optimum.neuron import NeuronModelForCausalLM

        model = NeuronModelForCausalLM.from_pretrained(str(folder.artifacts))
        return cls(model, int(compiled["sequence_length"]), host_scores=not compiled.get("on_device_sampling"))

    def generate(self, prompt: Any, sampling: Sampling, on_token: OnToken, logits_processor: Any) -> None:
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList

        class Show(StoppingCriteria):  # type: ignore[misc]
            def __call__(self, input_ids: Any, scores: Any, **__: Any) -> Any:
                return torch.full((1,), on_token(int(input_ids[0, -1])), dtype=torch.bool)

        sampled = {} if sampling.greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if not sampling.greedy and sampling.top_k:
            sampled["top_k"] = sampling.top_k
        more = {"logits_processor": logits_processor} if self.host_scores and logits_processor else {}
        # Names that transformers does not know are refused by it, so only these go in.
        self._model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=not sampling.greedy,
            eos_token_id=list(sampling.eos_token_ids) or None,
            stopping_criteria=StoppingCriteriaList([Show()]),
            **sampled,
            **more,
        )

    def close(self) -> None:
        self._model = None
