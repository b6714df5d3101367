# SPDX-License-Identifier: Apache-2.0
"""The Neuron overlay over HTTP: on the stand-in of upstream always, and on the checkouts that TGW_SOURCE names.

The device is a stand-in in either case: tests/support/tgw/neuronx.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time

import pytest

from tests.support.tgw_process import (
    N_POSITIONS,
    STAND_IN,
    SUPPORT,
    Tgw,
    environment,
    name_of,
    python_of,
    read,
    root_of,
    sources,
)
from tests.support.tiny_model import make_tiny_folder

PROMPT = "This is a cake recipe:\n\n1. Mix the flour and the"
SLOW = {"STAND_IN_TOKEN_S": "0.05"}


@pytest.fixture(scope="module", params=sources(), ids=name_of)
def source(request):
    return request.param


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of models: flat, and divided as in the walk-through."""
    folder = tmp_path_factory.mktemp("models")
    flat = make_tiny_folder(folder / "tiny-neuron")
    divided = folder / "divided"
    shutil.copytree(flat, divided / "model")
    (divided / "tokenizer").mkdir()
    (divided / "neuron_artifacts").mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (divided / "model" / file).rename(divided / "tokenizer" / file)
    (divided / "neuron_artifacts" / "shapes.json").write_text(
        json.dumps({"tp": 4, "batch": [1], "amp": "bf16", "n_positions": 128})
    )
    compiled = {"backend": "tnx", "tp_degree": 4, "batch_size": 1, "n_positions": 128, "dtype": "bf16"}
    (divided / "neuron_artifacts" / "manifest.json").write_text(json.dumps({"key_inputs": compiled}))
    return folder


@pytest.fixture(scope="module")
def start(source, models):
    """Start a server with these variables; the module's end stops it."""
    begun = []

    def run(*flags, model="tiny-neuron", **variables):
        begun.append(Tgw(source, models, model, *flags, **variables))
        return begun[-1]

    yield run
    for one in begun:
        one.kill()


@pytest.fixture(scope="module")
def tgw(start):
    return start().wait_ready()


@pytest.fixture(scope="module")
def slow(start):
    return start(TEXTGEN_QUEUE_MAX="1", TEXTGEN_QUEUE_TIMEOUT_S="20", TEXTGEN_HANG_S="30", **SLOW).wait_ready()


def test_the_hooks_fit_this_upstream(source):
    done = subprocess.run(
        [python_of(source), "-m", "tgw_neuron", "--check"],
        env=environment(source),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("ok: ") == 15


def test_the_loader_of_a_neuron_model_is_neuron(tgw):
    assert tgw.get("/v1/internal/model/info").json["loader"] == "Neuron"
    info = 'textgen_model_info{backend="tnx",loader="Neuron",model="tiny-neuron"} 1'
    assert info in tgw.get("/metrics").body.decode()


def test_readiness_came_after_a_real_token(tgw):
    assert tgw.get("/readyz").json == {"status": "ok"}
    assert tgw.metric("textgen_generated_tokens_total") >= 1


def test_a_pods_address_is_taken_for_a_host(tgw):
    """https://github.com/oobabooga/textgen/issues/7020; probes and the gateway ask so."""
    address = "10.244.0.17:5000"
    assert tgw.get("/readyz", Host=address).status == 200
    assert tgw.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 1}, Host=address).status == 200


def test_the_pieces_of_a_stream_are_the_whole_answer(tgw):
    whole, pieces = tgw.complete(PROMPT), tgw.complete(PROMPT, stream=True)
    assert whole.status == pieces.status == 200
    assert whole.text.strip()
    assert pieces.text == whole.text
    assert len(pieces.events) > 3
    assert pieces.done


def test_a_seed_gives_the_same_answer_again(tgw):
    answers = [tgw.complete(PROMPT, temperature=1.5, seed=seed).text for seed in (7, 7, 8)]
    assert answers[0] == answers[1] != answers[2]


def test_a_stop_string_ends_the_answer_before_it(tgw):
    whole = tgw.complete(PROMPT).text
    word = whole.split()[1]
    for stream in (False, True):
        assert tgw.complete(PROMPT, stop=[word], stream=stream).text == whole[: whole.index(word)]


def test_a_prompt_longer_than_max_tokens_is_answered(tgw):
    """Defect: max_tokens was given as the total length, which counts the prompt."""
    reply = tgw.complete(PROMPT * 3, max_tokens=4)
    assert reply.text.strip()
    assert tgw.metric("textgen_prompt_tokens_total") > 12


@pytest.mark.parametrize("max_tokens", [N_POSITIONS, 4096])
def test_max_tokens_beyond_the_context_leaves_the_prompt_alone(tgw, max_tokens):
    """Upstream cuts the whole prompt away then, and answers 200 to nothing."""
    short, long = tgw.complete(PROMPT).text, tgw.complete(PROMPT, max_tokens=max_tokens).text
    assert long.startswith(short.rstrip())


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_fills_the_context_is_refused(tgw, stream):
    reply = tgw.complete("flour " * N_POSITIONS, stream=stream)
    message = (reply.events[-1] if stream and reply.events else reply.json)["error"]["message"]
    assert "positions hold prompt and answer" in message
    assert stream or reply.status == 400
    assert not reply.done


def test_values_that_mean_off_are_not_handed_to_the_device(tgw):
    """Defect: top_k 0 and temperature 0 were passed on, and raise there."""
    assert tgw.complete(PROMPT, temperature=0, top_k=0, top_p=0).status == 200
    assert tgw.complete(PROMPT, temperature=1, top_k=0, top_p=1, seed=3).status == 200


def test_chat_says_how_many_tokens_the_prompt_had(tgw):
    reply = tgw.chat("How do I make a cake?")
    assert reply.status == 200
    assert reply.json["usage"]["prompt_tokens"] > 3


@pytest.mark.parametrize("asked", [{"logprobs": 3}, {"logit_bias": {"5": 10}}, {"presence_penalty": 0.5}])
def test_what_the_backend_cannot_do_is_refused(tgw, asked):
    reply = tgw.complete(PROMPT, **asked)
    assert reply.status == 400
    assert next(iter(asked)) in reply.json["error"]["message"]


def test_a_broken_body_is_upstreams_business(source, tgw):
    if source == STAND_IN:
        pytest.skip("the stand-in has no validation")
    assert tgw.post("/v1/completions", b"{").status == 422


def test_nobody_else_may_change_the_model(tgw):
    for path in ("model/load", "model/unload", "lora/unload", "stop-generation"):
        assert tgw.post(f"/v1/internal/{path}", {}).status == 403
    assert tgw.post("/v1/internal/logits", {"prompt": "x"}).status == 400


def test_a_client_that_leaves_frees_the_engine(slow):
    for stream in (True, False):
        gone = slow.begin("/v1/completions", {"prompt": PROMPT, "max_tokens": 200, "temperature": 1, "stream": stream})
        wait_for(lambda: slow.metric("textgen_requests_in_flight") == 1)
        time.sleep(0.2)
        gone.close()
        began = time.monotonic()
        assert slow.complete(PROMPT, max_tokens=1).status == 200
        assert time.monotonic() - began < 4
    assert slow.metric("textgen_client_disconnects_total") >= 2


def test_requests_beyond_the_queue_are_told_to_come_again(slow):
    body = {"prompt": PROMPT, "max_tokens": 60, "temperature": 1, "seed": 5}
    first = slow.begin("/v1/completions", body)
    wait_for(lambda: slow.metric("textgen_requests_in_flight") == 1)
    second = slow.begin("/v1/completions", body)
    wait_for(lambda: slow.metric("textgen_requests_queued") == 1)
    third = slow.complete(PROMPT)
    assert third.status == 429
    assert third.headers["retry-after"] == "1"
    assert slow.get("/readyz").status == 200
    assert [read(first).status, read(second).status] == [200, 200]


def test_a_device_that_fails_is_an_error_and_not_an_empty_answer(start):
    broken = start(STAND_IN_DEVICE_FAILS="1").wait_ready()
    whole = broken.complete(PROMPT)
    assert (whole.status, whole.json["error"]["type"]) == (500, "server_error")
    assert "NRT_EXEC_HW_ERR_COLLECTIVES" in whole.json["error"]["message"]
    pieces = broken.complete(PROMPT, stream=True)
    assert "NRT_EXEC" in pieces.events[-1]["error"]["message"]
    assert not pieces.done
    assert broken.metric("textgen_generation_errors_total") == 2
    assert broken.metric("textgen_requests_in_flight") == 0
    broken.kill()


def test_a_pod_that_is_stopped_finishes_its_answers(start):
    server = start(**SLOW).wait_ready()
    running = server.begin(
        "/v1/completions", {"prompt": PROMPT, "max_tokens": 60, "temperature": 1, "seed": 5, "stream": True}
    )
    wait_for(lambda: server.metric("textgen_requests_in_flight") == 1)
    server.process.terminate()
    wait_for(lambda: server.get("/readyz").status == 503)
    assert server.complete(PROMPT).status == 503
    reply = read(running)
    assert reply.done
    assert len(reply.events) > 20
    assert server.process.wait(20) == 0


def test_a_generation_that_hangs_makes_the_pod_unhealthy(start):
    server = start(TEXTGEN_HANG_S="0.5", STAND_IN_TOKEN_S="3").wait_ready()
    waiting = server.begin("/v1/completions", {"prompt": PROMPT, "max_tokens": 2})
    wait_for(lambda: server.get("/healthz").status == 503)
    assert "no token for" in server.get("/healthz").json["status"]
    waiting.close()
    server.kill()


def test_a_key_comes_from_a_file_and_is_seen_nowhere(start, tmp_path):
    (tmp_path / "key").write_text("sk-very-secret\n")
    server = start(TEXTGEN_API_KEY_FILE=str(tmp_path / "key")).wait_ready()
    assert server.complete(PROMPT).status == 401
    assert server.get("/metrics").status == 200
    with_key = server.post(
        "/v1/completions", {"prompt": PROMPT, "max_tokens": 2}, Authorization="Bearer sk-very-secret"
    )
    assert with_key.status == 200
    assert server.stop() == 0
    written = "".join(server.lines)
    assert "[hidden]" in written
    assert "sk-very-secret" not in written + " ".join(server.process.args)


def test_every_line_of_the_log_is_an_object(tgw):
    """Lines that upstream prints, and does not log, are left as they are."""
    entries = [json.loads(line) for line in tgw.lines if line.startswith("{")]
    assert any("loaded by Neuron" in entry["message"] for entry in entries)
    assert {"time", "level", "logger", "message"} <= set(entries[0])


def test_a_divided_folder_is_loaded_with_the_shapes_it_was_compiled_for(start):
    """Defect: tp_degree 12, f16 and batch 1 stood in the code."""
    server = start(model="divided", TEXTGEN_NEURON_N_POSITIONS="").wait_ready()
    assert server.complete(PROMPT).text.strip()
    assert server.chat("How do I make a cake?").status == 200
    server.kill()


def test_shapes_that_were_not_compiled_are_refused_before_loading(start):
    server = start(model="divided", TEXTGEN_NEURON_N_POSITIONS="", TEXTGEN_NEURON_TP="2")
    assert server.process.wait(120) != 0
    time.sleep(0.3)
    assert "TEXTGEN_NEURON_TP is 2" in "".join(server.lines)
    assert "was compiled for 4" in "".join(server.lines)


def test_a_process_without_a_model_ends(start):
    """Upstream would serve on, and answer 200 with nothing in it."""
    server = start(model="not-there")
    assert server.process.wait(120) != 0


def test_upstreams_files_are_as_they_were(source, tgw):
    """Defect: three files of upstream were forked."""
    assert tgw.complete(PROMPT).status == 200
    before = {path.name for path in (root_of(source) / "modules").glob("*.py")}
    ours = {path.name for path in (SUPPORT.parents[2] / "engines" / "tgw").rglob("*.py")}
    assert not (before & ours) - {"__init__.py"}
    assert digest(root_of(source)) == DIGESTS[source]


DIGESTS: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def _remember(source):
    DIGESTS[source] = digest(root_of(source))


def digest(folder):
    files = sorted(path for path in folder.rglob("*.py") if "user_data" not in path.parts)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_another_upstream_than_the_hooks_know_stops_the_build(tmp_path):
    """Never a silent fallback to a model on the CPU."""
    copy = tmp_path / "upstream"
    shutil.copytree(SUPPORT / "upstream", copy)
    file = copy / "modules" / "models.py"
    file.write_text(file.read_text().replace('{"Transformers": transformers_loader}', '{"Transformers": None}'))
    done = subprocess.run(
        [python_of(STAND_IN), "-m", "tgw_neuron", "--check"],
        env=environment(STAND_IN, TGW_ROOT=str(copy)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "load_model calls the Transformers row by its global name" in done.stderr
    assert "Traceback" not in done.stderr


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
