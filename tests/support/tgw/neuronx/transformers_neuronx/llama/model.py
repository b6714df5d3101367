# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for transformers_neuronx.llama.model.

After the real one's documented behaviour: sequence_length counts the prompt; top_k, top_p and temperature are checked by type;
the stopping criteria are called with the prompt only; a streamer gets one token, or everything when it has response_with_prefix.
It computes what the tiny "bigram" model computes: its blocks add nothing, so a token's successor hangs on that token alone.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file


class LlamaForSampling:
    def __init__(self, folder, batch_size, tp_degree, amp, n_positions):
        self.config = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        self._embedding = weights["model.embed_tokens.weight"].astype(np.float32)
        self._norm = weights["model.norm.weight"].astype(np.float32)
        self._head = weights["lm_head.weight"].astype(np.float32)
        self.batch_sizes, self.tp_degree, self.amp, self.n_positions = [batch_size], tp_degree, amp, n_positions
        self._ready = False

    @classmethod
    def from_pretrained(cls, path, *, batch_size=1, tp_degree=2, amp="f32", n_positions=2048, **__):
        if amp not in ("f32", "f16", "bf16"):
            raise ValueError(f"amp {amp!r}")
        return cls(Path(path), batch_size, tp_degree, amp, n_positions)

    def load(self, directory):
        graphs = Path(directory) / "shapes.json"
        if not graphs.is_file():
            raise FileNotFoundError(f"Could not find a matching NEFF in {directory}")
        compiled = json.loads(graphs.read_text())
        if compiled != self._shapes():
            raise FileNotFoundError(f"Could not find a matching NEFF: compiled {compiled}, wanted {self._shapes()}")

    def cpu_compile(self):
        """All graphs without a device; save() then writes them."""

    def save(self, directory):
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / "shapes.json").write_text(json.dumps(self._shapes()))

    def to_neuron(self):
        self._ready = True

    def _shapes(self):
        return {"tp": self.tp_degree, "batch": self.batch_sizes, "amp": self.amp, "n_positions": self.n_positions}

    def sample(
        self,
        input_ids,
        sequence_length,
        cache_ids=None,
        start_ids=None,
        top_k=50,
        top_p=1.0,
        eos_token_override=None,
        temperature=1.0,
        streamer=None,
        stopping_criteria_list=None,
        no_repeat_ngram_size=None,
        **__,
    ):
        self._check(input_ids, sequence_length, top_k, top_p, temperature)
        eos = eos_token_override if eos_token_override is not None else [self.config["eos_token_id"]]
        eos[0]
        if os.environ.get("STAND_IN_DEVICE_FAILS") and input_ids.shape[-1] > 1:
            raise RuntimeError("NRT_EXEC_HW_ERR_COLLECTIVES")
        ids = [int(one) for one in input_ids.reshape(-1)]
        for _step in range(len(ids), sequence_length):
            time.sleep(float(os.environ.get("STAND_IN_TOKEN_S", "0")))
            token = self._next(ids[-1], top_k, top_p, temperature)
            ids.append(token)
            if streamer is not None:
                with_prefix = getattr(streamer, "response_with_prefix", False)
                streamer.put(torch.tensor([ids] if with_prefix else [[token]]))
            if token in eos or (stopping_criteria_list and stopping_criteria_list(input_ids, None)):
                break
        if streamer is not None:
            streamer.end()
        return torch.tensor([ids])

    def _check(self, input_ids, sequence_length, top_k, top_p, temperature):
        if not self._ready:
            raise RuntimeError("to_neuron() has not been called")
        if not hasattr(input_ids, "shape"):
            raise TypeError("input_ids must be a tensor")
        if input_ids.shape[0] not in self.batch_sizes:
            raise ValueError(f"batch of {input_ids.shape[0]}, compiled for {self.batch_sizes}")
        if top_k is not None and (type(top_k) is not int or top_k < 1):  # pylint: disable=unidiomatic-typecheck
            raise ValueError(f"top_k must be an int above 0, not {top_k!r}")
        if top_p is not None and (type(top_p) is not float or not 0 < top_p <= 1):  # pylint: disable=unidiomatic-typecheck
            raise ValueError(f"top_p must be a float in (0, 1], not {top_p!r}")
        if type(temperature) is not float or temperature <= 0:  # pylint: disable=unidiomatic-typecheck
            raise ValueError(f"temperature must be a float above 0, not {temperature!r}")
        if sequence_length > self.n_positions:
            raise ValueError(f"sequence_length {sequence_length} > n_positions {self.n_positions}")

    def _next(self, token, top_k, top_p, temperature):
        row = self._embedding[token]
        scores = self._head @ (row / np.sqrt((row * row).mean() + self.config["rms_norm_eps"]) * self._norm)
        order = np.argsort(-scores)[: top_k or None]
        weights = np.exp((scores[order] - scores[order[0]]) / temperature)
        weights = weights / weights.sum()
        kept = max(1, int((np.cumsum(weights) - weights < top_p).sum()))
        point = float(torch.rand(1)) * weights[:kept].sum()
        return int(order[min(int(np.searchsorted(np.cumsum(weights[:kept]), point)), kept - 1)])
