# SPDX-License-Identifier: Apache-2.0
"""The real engine with a tiny model: it answers, streams, and ends its pod's life without cutting an answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.tiny_model import make_tiny_gguf

ENGINE = Path(__file__).resolve().parents[2] / "engines" / "llamacpp"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "llamacpp_engine", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ENGINE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    for line in process.stdout:
        if " ready on " in line:
            return process, line.split()[-1]
    raise AssertionError(f"the engine ended with {process.wait()} before it was ready")


@pytest.fixture
def engine(model):
    process, url = start("-m", str(model), "--alias", "tiny", "--port", str(free_port()), "-np", "2", "--metrics")
    yield process, url
    process.kill()
    process.wait()


def complete(url, stream=False, **more):
    body = {"model": "tiny", "prompt": "This is a cake recipe:", "max_tokens": 20, "temperature": 0, **more}
    return requests.post(f"{url}/v1/completions", json={**body, "stream": stream}, stream=stream, timeout=60)


def test_it_answers_under_its_alias(engine):
    __, url = engine
    assert requests.get(f"{url}/health", timeout=10).json() == {"status": "ok"}
    assert [one["id"] for one in requests.get(f"{url}/v1/models", timeout=10).json()["data"]] == ["tiny"]
    answer = complete(url, ignore_eos=True).json()
    assert answer["usage"]["completion_tokens"] == 20
    assert answer["choices"][0]["text"]
    assert "llamacpp:requests_processing" in requests.get(f"{url}/metrics", timeout=10).text


def test_embeddings_are_pooled_as_asked(model):
    process, url = start("-m", str(model), "--port", str(free_port()), "--embeddings", "--pooling", "mean")
    try:
        found = requests.post(f"{url}/v1/embeddings", json={"input": ["cake", "a cake"]}, timeout=60).json()
    finally:
        process.kill()
        process.wait()
    assert [len(each["embedding"]) for each in found["data"]] == [128, 128]


def test_sigterm_in_the_middle_of_a_stream_lets_it_finish(engine):
    process, url = engine
    tokens = 2000
    events = complete(url, stream=True, max_tokens=tokens, ignore_eos=True).iter_lines()
    first = next(line for line in events if line)
    assert first.startswith(b"data: {")
    process.send_signal(signal.SIGTERM)
    rest = [line.removeprefix(b"data: ") for line in events if line.startswith(b"data: ")]
    assert rest[-1] == b"[DONE]"
    assert json.loads(rest[-2])["usage"]["completion_tokens"] == tokens
    assert process.wait(30) == 0
    assert "drained" in process.stdout.read()


def test_the_drain_has_an_end(model):
    process, url = start("-m", str(model), "--port", str(free_port()), "-c", "2048", "--drain-timeout", "0")
    stream = complete(url, stream=True, max_tokens=2000, ignore_eos=True)
    next(stream.iter_lines())
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_an_unknown_flag_ends_it_with_a_sentence(model):
    done = subprocess.run(
        [sys.executable, "-m", "llamacpp_engine", "-m", str(model), "--no-such-flag"],
        capture_output=True,
        text=True,
        cwd=ENGINE,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("llamacpp-engine: unknown: --no-such-flag.")


def test_an_empty_host_is_every_address_of_both_families(model):
    process, url = start("-m", str(model), "--host", "", "--port", str(free_port()))
    port = url.rsplit(":", 1)[1]
    try:
        for host in ("127.0.0.1", "[::1]"):
            assert requests.get(f"http://{host}:{port}/health", timeout=10).json() == {"status": "ok"}
    finally:
        process.kill()
        process.wait()
