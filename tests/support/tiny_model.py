# SPDX-License-Identifier: Apache-2.0
"""A Llama small enough to be made on the spot: about 4 MB of GGUF or safetensors in two seconds, no torch, no download.

`random`  random weights: token soup with some invalid UTF-8, good for tests of streams.
`bigram`  words that follow each other in the corpus: the SVD of log P(next | current) goes into the embedding and the
          head of a Llama whose blocks add nothing. One spare coordinate makes every row equally long, so that the final
          RMSNorm is a constant factor. No training.

The corpus is CPython's own help text, which is wherever a Python is, and sentences made from templates.
At temperature 0 every engine gives the same text for the same file, and for either kind of file.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

Kind = Literal["random", "bigram"]
Matrix = npt.NDArray[np.float32]

BOS, EOS = 1, 2
SPECIALS = ["<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Sizes of the network. `context` in tokens; 32 per head suits llama.cpp, vLLM and transformers alike."""

    vocabulary: int = 2048
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    inner: int = 384
    context: int = 2048

    @property
    def head(self) -> int:
        return self.hidden // self.heads


def make_tiny_gguf(path: str | Path, kind: Kind = "bigram", seed: int = 0, shape: Shape | None = None) -> Path:
    """Write the model to `path` (its folder is made) and return that path. The same arguments give the same text."""
    target, shape = Path(path), shape or Shape()
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, f"tiny-{kind}", shape, *_model(kind, seed, shape))
    return target


def make_tiny_folder(path: str | Path, kind: Kind = "bigram", seed: int = 0, shape: Shape | None = None) -> Path:
    """The same model as a folder as transformers and vLLM load it. Returns its path."""
    folder, shape = Path(path), shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, weights = _model(kind, seed, shape)
    # GGUF says in its metadata that a text begins with <s>; here the tokenizer does.
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    tokenizer.save(str(folder / "tokenizer.json"))
    words = {"bos_token": SPECIALS[BOS], "eos_token": SPECIALS[EOS], "pad_token": SPECIALS[EOS]}
    known = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": shape.context}
    (folder / "tokenizer_config.json").write_text(json.dumps(words | known | {"chat_template": CHAT_TEMPLATE}))
    (folder / "config.json").write_text(json.dumps(_config(shape)))
    tensors = {_their_name(name): _their_layout(name, values, shape) for name, values in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _model(kind: Kind, seed: int, shape: Shape) -> tuple[Tokenizer, dict[str, Matrix]]:
    documents = _documents(random.Random(seed))
    tokenizer = _train_tokenizer(documents, shape.vocabulary)
    rng = np.random.default_rng(seed)
    if kind == "random":
        weights = _random_weights(shape, rng)
    else:
        tokens = [token for encoded in tokenizer.encode_batch(documents) for token in [*encoded.ids, EOS]]
        weights = _bigram_weights(shape, np.asarray(tokens), rng)
    return tokenizer, weights


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
        "torch_dtype": "float32",
    }


_THEIR_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _their_name(name: str) -> str:
    """llama.cpp's `blk.0.attn_q.weight` as transformers calls it."""
    *block, part, weight = name.split(".")
    return ".".join([*(["model.layers", block[1]] if block else []), _THEIR_NAMES[part], weight])


def _their_layout(name: str, values: Matrix, shape: Shape) -> Matrix:
    """llama.cpp rotates neighbouring rows of a head, transformers the rows of its two halves."""
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
    if heads:
        values = values.reshape(heads, shape.head // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)
    return np.ascontiguousarray(values)


def _documents(rng: random.Random) -> list[str]:
    dishes = ["cake", "soup", "bread", "pie", "salad", "stew", "pancake", "cookie", "pizza", "pasta"]
    items = [
        "flour",
        "sugar",
        "butter",
        "milk",
        "eggs",
        "salt",
        "yeast",
        "water",
        "chocolate",
        "cheese",
        "tomatoes",
        "onions",
    ]
    verbs = ["Mix", "Stir", "Add", "Bake", "Heat", "Chop", "Pour", "Fold", "Serve", "Cool"]
    recipes = []
    for __ in range(400):
        steps = [
            f"{number}. {rng.choice(verbs)} the {rng.choice(items)} and the {rng.choice(items)}"
            f" for {rng.randint(2, 40)} minutes."
            for number in range(1, rng.randint(4, 7))
        ]
        recipes.append("\n".join([f"This is a {rng.choice(dishes)} recipe:", "", *steps]) + "\n")
    return [topics[name] for name in sorted(topics)] + recipes


def _train_tokenizer(documents: list[str], size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIALS,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def _blocks(shape: Shape, rng: np.random.Generator, scale: float, silent: bool) -> dict[str, Matrix]:
    """The transformer blocks under llama.cpp's names; `silent` ones add nothing to what passes through."""

    def noise(rows: int, columns: int) -> Matrix:
        return (rng.standard_normal((rows, columns)) * scale).astype(np.float32)

    def out(rows: int, columns: int) -> Matrix:
        return np.zeros((rows, columns), np.float32) if silent else noise(rows, columns)

    q, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    weights: dict[str, Matrix] = {}
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        weights[block + "attn_norm.weight"] = np.ones(shape.hidden, np.float32)
        weights[block + "ffn_norm.weight"] = np.ones(shape.hidden, np.float32)
        weights[block + "attn_q.weight"] = noise(q, shape.hidden)
        weights[block + "attn_k.weight"] = noise(kv, shape.hidden)
        weights[block + "attn_v.weight"] = noise(kv, shape.hidden)
        weights[block + "attn_output.weight"] = out(shape.hidden, q)
        weights[block + "ffn_gate.weight"] = noise(shape.inner, shape.hidden)
        weights[block + "ffn_up.weight"] = noise(shape.inner, shape.hidden)
        weights[block + "ffn_down.weight"] = out(shape.hidden, shape.inner)
    return weights


def _random_weights(shape: Shape, rng: np.random.Generator) -> dict[str, Matrix]:
    size = (shape.vocabulary, shape.hidden)
    return _blocks(shape, rng, 0.05, silent=False) | {
        "token_embd.weight": rng.standard_normal(size).astype(np.float32),
        "output.weight": (rng.standard_normal(size) * 0.1).astype(np.float32),
        "output_norm.weight": np.ones(shape.hidden, np.float32),
    }


def _bigram_weights(shape: Shape, tokens: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Matrix]:
    """logits(next | current) = log P, smoothed, factored to rank hidden - 1."""
    size, rank = shape.vocabulary, shape.hidden - 1
    counts = np.zeros((size, size), np.float32)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    np.fill_diagonal(counts, 0)  # else greedy text is one token for ever
    single = counts.sum(0) + 0.01
    single /= single.sum()
    logs = np.log((counts + 0.5 * single[None, :]) / (counts.sum(1, keepdims=True) + 0.5) + 1e-9)
    logs -= logs.mean(1, keepdims=True)
    left, right = _factors(logs, rank, rng)
    length = float(np.linalg.norm(left, axis=1).max()) * 1.0001
    spare = np.sqrt(length**2 - (left**2).sum(1))
    return _blocks(shape, rng, 0.02, silent=True) | {
        "token_embd.weight": np.concatenate([left, spare[:, None]], 1).astype(np.float32),
        "output.weight": np.concatenate([right.T, np.zeros((size, 1), np.float32)], 1).astype(np.float32),
        # RMSNorm divides by length / sqrt(hidden); this multiplies it back.
        "output_norm.weight": np.full(shape.hidden, length / np.sqrt(shape.hidden), np.float32),
    }


def _factors(matrix: Matrix, rank: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """`left @ right` close to `matrix`: randomized SVD after Halko, Martinsson and Tropp (2011), two power steps."""
    sketch = matrix @ rng.standard_normal((matrix.shape[1], rank + 16)).astype(np.float32)
    for __ in range(2):
        sketch, __ = np.linalg.qr(matrix @ (matrix.T @ sketch))
    basis, __ = np.linalg.qr(sketch)
    u, s, vt = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    root = np.sqrt(s[:rank])
    return (basis @ u)[:, :rank] * root, vt[:rank] * root[:, None]


def _write(path: Path, name: str, shape: Shape, tokenizer: Tokenizer, weights: dict[str, Matrix]) -> None:
    bpe = json.loads(tokenizer.to_str())["model"]
    # Lists in tokenizers from 0.20 on, strings before; GGUF wants strings.
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]]
    words = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)
    words += [f"<pad{number}>" for number in range(len(words), shape.vocabulary)]
    control = {*SPECIALS, *(word for word in words if word.startswith("<pad"))}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.CONTROL if word in control else gguf.TokenType.NORMAL for word in words])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_pad_token_id(EOS)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)
    for tensor, values in weights.items():
        writer.add_tensor(tensor, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path, help="the GGUF file to write, or a folder for transformers and vLLM")
    parser.add_argument("--kind", choices=["random", "bigram"], default="bigram")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    make = make_tiny_gguf if chosen.out.suffix == ".gguf" else make_tiny_folder
    path = make(chosen.out, chosen.kind, chosen.seed)
    files = [path] if path.is_file() else list(path.iterdir())
    print(f"{path}: {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
