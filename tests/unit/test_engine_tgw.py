# SPDX-License-Identifier: Apache-2.0
"""The parts of the Neuron overlay by themselves, and the defects of the walk-through's overlay that show in its files.

Those that show over HTTP are in tests/integration/test_engine_tgw.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import re
import sys
import tarfile
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "engines" / "tgw"))

from tgw_neuron.__main__ import without_our_loader
from tgw_neuron.admission import Admission, GoneError
from tgw_neuron.artifacts import refuse_other_versions
from tgw_neuron.backends import backend_name, shapes_of
from tgw_neuron.backends.tnx import TransformersNeuronx, _Bridge
from tgw_neuron.errors import BusyError, DrainingError, PromptTooLongError, SettingsError
from tgw_neuron.folders import is_neuron, read_folder
from tgw_neuron.hooks import Finder
from tgw_neuron.logs import JsonFormatter
from tgw_neuron.metrics import Counter, Histogram
from tgw_neuron.sampling import not_supported, sampling_of
from tgw_neuron.settings import from_environment
from unpack import unpack

ENGINE = Path(__file__).resolve().parents[2] / "engines" / "tgw"


class Device:
    """Notes how it is called."""

    def sample(self, *given, **named):
        self.given, self.named = given, named
        for ids in ([5, 6, 7], [5, 6, 7, 8], [5, 6, 7, 8, 9]):
            named["streamer"].put(Tensor(ids))
            if named["stopping_criteria_list"](given[0], None):
                return


class Tensor:
    def __init__(self, ids):
        self.ids, self.shape = ids, (1, len(ids))

    def reshape(self, __):
        return self.ids


def sampled(on_token=lambda token: False, **given):
    device = Device()
    prompt = Tensor([5, 6])
    sampling = sampling_of({"max_new_tokens": 4, "eos_token_id": [2], **given}, 2, 64)
    TransformersNeuronx(device, 64).generate(prompt, sampling, on_token, None)
    return device


# --- the nine defects of the walk-through's overlay: here, or by the name given


def test_defect_1_parameters_reach_the_device_by_their_names():
    device = sampled(temperature=0.5)
    assert len(device.given) == 1
    assert device.named["temperature"] == 0.5


def test_defect_2_the_length_counts_the_prompt():
    assert sampled().named["sequence_length"] == 2 + 4


def test_defect_3_criteria_see_every_token_and_can_stop():
    seen = []

    def on_token(token):
        seen.append(token)
        return token == 8

    sampled(on_token)
    assert seen == [7, 8]


def test_defect_4_off_values_become_what_the_device_takes():
    named = sampled(temperature=0, top_k=0, top_p=0, eos_token_id=[]).named
    assert (named["temperature"], named["top_k"], named["top_p"]) == (1.0, 1, 1.0)
    assert named["eos_token_override"] == [-1]
    named = sampled(temperature=1, top_k=0, top_p=1).named
    assert (type(named["temperature"]), named["top_k"], type(named["top_p"])) == (float, None, float)


def test_defect_5_no_file_of_upstream_is_forked():
    """test_upstreams_files_are_as_they_were says the rest."""
    names = {path.relative_to(ENGINE).as_posix() for path in ENGINE.rglob("*.py") if "__pycache__" not in path.parts}
    assert all(name.startswith("tgw_neuron/") or name == "unpack.py" for name in names)


def test_defect_6_shapes_are_those_of_the_artifacts(tmp_path):
    folder = model(
        tmp_path, compiled={"backend": "tnx", "tp_degree": 8, "batch_size": 2, "n_positions": 512, "dtype": "bf16"}
    )
    shapes = shapes_of(folder, from_environment({}))
    assert (shapes.tp_degree, shapes.batch_size, shapes.n_positions, shapes.dtype) == (8, 2, 512, "bf16")
    with pytest.raises(SettingsError, match=r"TEXTGEN_NEURON_TP is 12, and .* was compiled for 8"):
        shapes_of(folder, from_environment({"TEXTGEN_NEURON_TP": "12"}))


def test_defect_7_no_port_is_open_that_nobody_answers_on():
    dockerfile = (ENGINE / "Dockerfile").read_text()
    assert re.findall(r"^EXPOSE (.*)$", dockerfile, re.M) == ["5000"]


def test_defect_8_upstreams_source_is_pinned_by_digest(tmp_path):
    assert "git clone" not in (ENGINE / "Dockerfile").read_text()
    archive = tmp_path / "upstream.tar"
    with tarfile.open(archive, "w") as made:
        info = tarfile.TarInfo("textgen-4.7.3/server.py")
        info.size = 4
        made.addfile(info, io.BytesIO(b"pass"))
    with pytest.raises(SystemExit, match="TGW_SHA256 says nothing"):
        unpack(str(archive), "", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    unpack(str(archive), hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "out")
    assert (tmp_path / "out" / "server.py").read_text() == "pass"


def test_defect_9_other_loaders_keep_their_encode():
    patches = (ENGINE / "tgw_neuron" / "patches.py").read_text()
    assert not re.search(r"module\.encode\s*=", patches)


# --- sampling


@pytest.mark.parametrize(("asked", "given"), [(16, 16), (4096, 54), (0, 54), (None, 54)])
def test_an_answer_is_no_longer_than_what_is_left(asked, given):
    assert sampling_of({"max_new_tokens": asked}, 10, 64).max_new_tokens == given


def test_a_prompt_without_room_for_an_answer_is_refused():
    with pytest.raises(PromptTooLongError, match=r"64 tokens .* 64 positions"):
        sampling_of({}, 64, 64)


def test_a_banned_end_token_ends_nothing():
    assert sampling_of({"eos_token_id": [2], "suppress_tokens": [2]}, 1, 64).eos_token_ids == ()


def test_what_is_asked_for_and_not_there_is_named():
    asked = {"min_p": 0.1, "repetition_penalty": 1.0, "logprobs": 2, "grammar_string": ""}
    assert list(not_supported(asked, host_scores=False)) == ["min_p", "logprobs"]
    assert list(not_supported(asked, host_scores=True)) == ["min_p"]


def test_an_older_librarys_single_tokens_are_seen_too():
    seen = []
    bridge = _Bridge(lambda token: seen.append(token) or token == 9)
    for token in (8, 9):
        bridge.put(Tensor([token]))
    assert seen == [8, 9]
    assert bridge(None, None) is True


# --- folders and settings


def model(folder, compiled=None, divided=False, optimum=None):
    weights = folder / "model" if divided else folder
    weights.mkdir(exist_ok=True)
    (weights / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 4096}))
    if compiled is not None:
        (folder / "neuron_artifacts").mkdir()
        (folder / "neuron_artifacts" / "manifest.json").write_text(json.dumps({"key_inputs": compiled}))
    if optimum is not None:
        (weights / "neuron_config.json").write_text(json.dumps(optimum))
    return read_folder(folder)


def test_without_artifacts_the_models_own_length_bounds_the_default(tmp_path):
    assert shapes_of(model(tmp_path), from_environment({})).n_positions == 2048


def test_a_folder_that_optimum_exported_is_optimums(tmp_path):
    folder = model(tmp_path, optimum={"sequence_length": 4096})
    assert backend_name(folder, from_environment({})) == "optimum"
    with pytest.raises(SettingsError, match="was compiled by 'optimum'"):
        backend_name(folder, from_environment({"TEXTGEN_NEURON_BACKEND": "tnx"}))


def test_a_divided_folder_has_its_parts_in_three_places(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    folder = model(tmp_path, compiled={}, divided=True)
    assert [folder.weights.name, folder.tokenizer.name, folder.artifacts.name] == [
        "model",
        "tokenizer",
        "neuron_artifacts",
    ]


@pytest.mark.parametrize(
    ("name", "made", "neuron"), [("x-neuron", "", True), ("x", "neuron_artifacts", True), ("x", "", False)]
)
def test_the_name_or_the_artifacts_make_a_neuron_model(tmp_path, name, made, neuron):
    (tmp_path / made).mkdir(exist_ok=True)
    assert is_neuron(name, tmp_path) is neuron


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(SettingsError, match="is not synced yet"):
        read_folder(tmp_path)


def test_an_architecture_that_the_library_lacks_says_what_else_can_serve_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(SettingsError, match=r"no 'qwen2'.*backend optimum"):
        TransformersNeuronx.load(read_folder(tmp_path), None)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("TEXTGEN_QUEUE_MAX", "many", "give a whole number"),
        ("TEXTGEN_DRAIN_S", "-1", "give seconds"),
        ("TEXTGEN_NEURON_DTYPE", "int4", "give one of bf16, fp16, fp32"),
        ("TEXTGEN_API_KEY_FILE", "/nowhere/key", "cannot be read"),
    ],
)
def test_a_setting_that_means_nothing_is_named(variable, value, sentence):
    with pytest.raises(SettingsError, match=f"{variable} .*{sentence}"):
        from_environment({variable: value})


@pytest.mark.parametrize("flags", [["--loader", "Neuron"], ["--loader=Neuron"]])
def test_our_loader_is_kept_from_upstreams_command_line(flags):
    assert without_our_loader(["--api", *flags, "--cpu"]) == (["--api", "--cpu"], True)
    assert without_our_loader(["--loader", "Transformers"]) == (["--loader", "Transformers"], False)


def test_graphs_of_other_libraries_are_refused_with_what_differs(tmp_path):
    compiled = {"versions": {"neuronx-cc": "2.20", "transformers": "4.48", "python": "3.10"}}
    folder = model(tmp_path, compiled=compiled)
    refuse_other_versions(folder, {"neuronx-cc": "2.20", "transformers": "4.48"})
    with pytest.raises(
        SettingsError, match=r"neuronx-cc is 2\.21, not 2\.20; transformers is not there, not 4\.48\. Compile it"
    ):
        refuse_other_versions(folder, {"neuronx-cc": "2.21"})


# --- hooks, queue, log, metrics


def test_names_taken_out_of_a_module_are_the_hooked_ones(tmp_path, monkeypatch):
    (tmp_path / "hooked_one.py").write_text("def word():\n    return 'theirs'\n")
    (tmp_path / "hooked_two.py").write_text("from hooked_one import word\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finder = Finder()

    def hook(module: types.ModuleType):
        module.word = lambda: "ours"

    finder.after_import("hooked_one", hook)
    finder.install()
    try:
        import hooked_two

        assert hooked_two.word() == "ours"
    finally:
        finder.remove()
        for name in ("hooked_one", "hooked_two"):
            sys.modules.pop(name, None)


def admission(**options):
    return Admission(**{"queue_max": 2, "timeout_s": 5.0, **options})


async def in_turn(queue, order, name):
    await queue.enter(asyncio.Event())
    order.append(name)


def test_requests_go_in_one_at_a_time_in_the_order_of_their_arrival():
    async def run():
        queue, order = admission(), []
        await in_turn(queue, order, "first")
        waiting = [asyncio.ensure_future(in_turn(queue, order, name)) for name in ("second", "third")]
        await asyncio.sleep(0)
        assert (queue.in_flight, queue.queued, order) == (1, 2, ["first"])
        with pytest.raises(BusyError, match="2 requests are waiting"):
            await queue.enter(asyncio.Event())
        for __ in waiting:
            queue.leave()
            await asyncio.sleep(0.01)
        assert order == ["first", "second", "third"]
        queue.leave()
        assert queue.idle

    asyncio.run(run())


def test_who_leaves_the_queue_leaves_no_gap():
    async def run():
        queue, order, gone = admission(), [], asyncio.Event()
        await in_turn(queue, order, "first")
        left = asyncio.ensure_future(queue.enter(gone))
        cancelled = asyncio.ensure_future(queue.enter(asyncio.Event()))
        await asyncio.sleep(0)
        gone.set()
        cancelled.cancel()
        with pytest.raises(GoneError):
            await left
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        queue.leave()
        assert queue.idle

    asyncio.run(run())


def test_a_turn_that_comes_with_the_clients_leaving_goes_to_the_next():
    async def run():
        queue, order, gone = admission(), [], asyncio.Event()
        await in_turn(queue, order, "first")
        left = asyncio.ensure_future(queue.enter(gone))
        after = asyncio.ensure_future(in_turn(queue, order, "after"))
        await asyncio.sleep(0)
        gone.set()
        queue.leave()
        with pytest.raises(GoneError):
            await left
        await after
        assert order == ["first", "after"]

    asyncio.run(run())


def test_a_wait_has_an_end_and_a_closed_door_lets_nobody_in():
    async def run():
        queue = admission(timeout_s=0.01)
        await queue.enter(asyncio.Event())
        with pytest.raises(BusyError, match=r"waited 0\.01 s"):
            await queue.enter(asyncio.Event())
        queue.draining = True
        with pytest.raises(DrainingError):
            await queue.enter(asyncio.Event())
        assert queue.queued == 0

    asyncio.run(run())


def test_a_key_is_hidden_in_messages_and_tracebacks():
    try:
        raise ValueError("sk-1 is wrong")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "key\n%s", ("sk-1",), sys.exc_info())
    line = JsonFormatter(["sk-1"]).format(record)  # pylint: disable=used-before-assignment
    assert "sk-1" not in line
    assert json.loads(line)["message"] == "key\n[hidden]"


def test_metrics_are_in_prometheus_format():
    counter, histogram = Counter("a_total", "A."), Histogram("b_seconds", "B.", (0.5, 1))
    counter.add(code="200", route='say "hi"')
    for value in (0.5, 0.7, 5):
        histogram.observe(value)
    assert counter.lines()[2:] == [r'a_total{code="200",route="say \"hi\""} 1']
    assert histogram.samples() == [
        'b_seconds_bucket{le="0.5"} 1',
        'b_seconds_bucket{le="1"} 2',
        'b_seconds_bucket{le="+Inf"} 3',
        "b_seconds_sum 6.2",
        "b_seconds_count 3",
    ]
