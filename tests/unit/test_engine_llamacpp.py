# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "engines" / "llamacpp"))

from llamacpp_engine.drain import IDLE_READINGS, requests_under_way, wait_until_idle
from llamacpp_engine.flags import UsageError, parse
from llamacpp_engine.weights import gguf_file


def metrics(processing, deferred=0):
    return (
        "# HELP llamacpp:requests_processing Number of requests processing.\n"
        "# TYPE llamacpp:requests_processing gauge\n"
        f"llamacpp:requests_processing {processing}\n"
        f"llamacpp:requests_deferred {deferred}\n"
    )


def test_flags_have_llama_servers_names():
    settings = parse(
        ["-m", "x.gguf", "-a", "tiny", "-c", "1024", "-np", "2", "-t", "3", "--metrics", "--drain-timeout", "5"]
    )
    assert (settings.model, settings.alias, settings.context_tokens, settings.parallel) == ("x.gguf", "tiny", 1024, 2)
    assert (settings.threads, settings.threads_batch, settings.metrics, settings.drain_timeout_s) == (3, 3, True, 5.0)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("-m x --flash-attn on", "unknown: --flash-attn on"),
        ("-m x --ctx 5", "unknown: --ctx 5"),
        ("-m x --parallel 0", "--parallel is 0: give 1 or more"),
        ("-m x --port eighty", "invalid int value: 'eighty'"),
        ("-m x --embeddings --pooling most", "invalid choice: 'most'"),
        ("--metrics", "--model is missing"),
    ],
)
def test_a_line_that_means_nothing_here_is_refused(line, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(line.split())


def test_requests_in_slots_and_waiting_for_one_are_under_way():
    assert requests_under_way(metrics(2, 3)) == 5
    assert requests_under_way("") == 0


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def __call__(self):
        return self.now


def drain(readings, timeout_s=60.0):
    clock = Clock()
    left = list(readings)

    def read():
        return metrics(left.pop(0) if len(left) > 1 else left[0])

    return wait_until_idle(read, timeout_s, clock.sleep, clock), clock.now


def test_one_idle_reading_between_busy_ones_is_not_the_end():
    rest, seconds = drain([1, 0, 1, 0, 0, 0])
    assert rest == 0
    assert seconds == pytest.approx(0.5)


def test_an_idle_engine_stops_at_once():
    rest, seconds = drain([0])
    assert rest == 0
    assert seconds == pytest.approx(0.1 * (IDLE_READINGS - 1))


def test_a_drain_ends_at_its_timeout_and_says_what_is_left():
    rest, seconds = drain([2], timeout_s=3.0)
    assert rest == 2
    assert seconds == pytest.approx(3.0, abs=0.2)


def published(folder, *names):
    files = [{"path": name, "size_bytes": 1, "sha256": "0" * 64} for name in names]
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return str(folder)


def test_a_published_folder_names_its_file(tmp_path):
    assert gguf_file(published(tmp_path, "README.md", "model.gguf")) == tmp_path / "model.gguf"


def test_the_first_of_a_split_model_is_loaded(tmp_path):
    folder = published(tmp_path, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    assert gguf_file(folder).name == "m-00001-of-00002.gguf"


@pytest.mark.parametrize(
    ("names", "sentence"),
    [(["a.gguf", "b.gguf"], "2 GGUF models"), (["model.safetensors"], "0 GGUF models")],
)
def test_a_folder_without_one_clear_model_is_refused(tmp_path, names, sentence):
    with pytest.raises(UsageError, match=sentence):
        gguf_file(published(tmp_path, *names))


def test_a_folder_that_is_not_published_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not published"):
        gguf_file(str(tmp_path))
    with pytest.raises(UsageError, match="no such file"):
        gguf_file(str(tmp_path / "none.gguf"))
