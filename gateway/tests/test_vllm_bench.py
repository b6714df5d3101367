# SPDX-License-Identifier: Apache-2.0
"""vLLM's own load generator, `vllm bench serve`, against the gateway with a real engine behind it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
from gateway_support.house import KEY, Front, House
from gateway_support.llamacpp import RealEngine, llamacpp
from gateway_support.vllm import environment, program

REQUESTS, PROMPT_TOKENS, ANSWER_TOKENS = 40, 32, 16

# The first of them may have to install it.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.programs]


def bench(front: Front, folder: Path, backend: str, endpoint: str, *flags: str, key: str = KEY) -> tuple[Any, str]:
    """Run it: its result, and what it printed."""
    command = [program(), "bench", "serve", "--backend", backend, "--base-url", front.url, "--endpoint", endpoint]
    command += ["--tokenizer", tokenizer_folder(folder / "tokenizer"), "--dataset-name", "random"]
    command += ["--random-input-len", str(PROMPT_TOKENS), "--random-output-len", str(ANSWER_TOKENS)]
    command += ["--num-prompts", str(REQUESTS), "--max-concurrency", "4", *flags]
    command += ["--save-result", "--save-detailed", "--result-dir", folder, "--result-filename", "result.json"]
    done = subprocess.run(
        command,
        env=environment(OPENAI_API_KEY=key),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((folder / "result.json").read_text())
    assert result["completed"] == REQUESTS, [error for error in result["errors"] if error][:1]
    return result, done.stdout


@pytest.mark.parametrize(
    ("backend", "endpoint"),
    [
        ("openai", "/v1/completions"),
        ("openai-chat", "/v1/chat/completions"),
        ("openai-responses", "/v1/responses"),
    ],
)
def test_every_stream_is_answered_and_its_tokens_are_counted(
    house: House, tmp_path: Path, backend: str, endpoint: str
) -> None:
    with llamacpp(tmp_path / "model") as engine:
        front = house.front(RealEngine(engine.url + "?kind=llamacpp"))
        result, __ = bench(front, tmp_path, backend, endpoint, "--model", "tiny")
        assert all(result["generated_texts"])
        assert front.metric('tokens_total{model="tiny",direction="completion"}') == REQUESTS * ANSWER_TOKENS
        # llama.cpp's completions have their usage beside the last choice, where the client does not look: it counts by itself then.
        if endpoint != "/v1/completions":
            assert result["total_output_tokens"] == REQUESTS * ANSWER_TOKENS
            assert result["total_input_tokens"] == front.metric('tokens_total{model="tiny",direction="prompt"}')


def test_a_model_that_is_not_named_is_looked_up_and_prompts_are_fitted_to_its_tokenizer(
    house: House, tmp_path: Path
) -> None:
    # Both of which it does without a key.
    log = tmp_path / "access.log"
    with llamacpp(tmp_path / "model") as engine:
        front = house.front(RealEngine(engine.url + "?kind=llamacpp"), anonymous=True, access_log=str(log))
        __, said = bench(front, tmp_path, "openai", "/v1/completions", key="")
    assert "First model name: tiny, first model id: tiny" in said
    assert "re-aligning prompts" in said
    house.call(front.gateway.tick)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert {call["status"] for call in calls} == {200}
    assert {"/tokenize", "/detokenize", "/v1/completions"} <= {call["path"] for call in calls}


def test_embeddings_are_answered_whole(house: House, tmp_path: Path) -> None:
    with llamacpp(tmp_path / "model", "--embeddings", "--pooling", "mean") as engine:
        front = house.front(RealEngine(engine.url + "?kind=llamacpp"))
        result, __ = bench(front, tmp_path, "openai-embeddings", "/v1/embeddings", "--model", "tiny")
        assert front.metric('tokens_total{model="tiny",direction="prompt"}') == result["total_input_tokens"] > 0


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer that transformers can load and that is not the engine's: bytes, and pairs of capitals."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir()
    pairs = [(first, second) for first in ascii_uppercase for second in ascii_uppercase]
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(first + second for first, second in pairs)]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048})
    )
    return folder
