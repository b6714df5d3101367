# SPDX-License-Identifier: Apache-2.0
"""Neuron artifacts, with a fake compiler that counts: tests/support/fake_compiler.py is a program as the backends' are."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.models import store as model_store
from ansible_collections.llm.on_eks.plugins.module_utils.neuron import compiler
from ansible_collections.llm.on_eks.plugins.module_utils.neuron import ensure as ensures
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.compiler import Backend, Runner, classify
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.ensure import Shapes, ensure, inputs_of, look, verify
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.errors import CompileError, InputError, MismatchError
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.job import main
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.key import Inputs, canonical, differences
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.store import ArtifactStore

pytestmark = pytest.mark.programs

FAKE = Path(__file__).resolve().parents[1] / "support" / "fake_compiler.py"
FAKES = {name: Backend(name, FAKE) for name in ("tnx", "optimum", "vllm")}
SHAPES = Shapes(target="inf2")


@pytest.fixture
def world(tmp_path):
    """A model, an empty store, and a compiler that counts into a file."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64, "_name_or_path": "x"}))
    (model / "w.safetensors").write_bytes(b"weights")
    return World(tmp_path, model)


class World:
    def __init__(self, folder, model):
        self.folder, self.model = folder, model
        self.store = ArtifactStore(folder / "neuron")
        self.count_file = folder / "count"
        self.environment = {"FAKE_COUNT": str(self.count_file)}

    @property
    def compiled(self):
        return len(self.count_file.read_text().split()) if self.count_file.exists() else 0

    def runner(self, **environment):
        return Runner(environment={**self.environment, **environment}, timeout_s=20)

    def inputs(self, shapes=SHAPES, backend="tnx", **environment):
        return inputs_of(FAKES[backend], self.model, shapes, self.runner(**environment))

    def ensure(self, shapes=SHAPES, backend="tnx", **environment):
        inputs = self.inputs(shapes, backend, **environment)
        return ensure(self.store, "m", self.model, inputs, FAKES[backend], self.runner(**environment), wait_s=10)


CHANGES = {
    "target": {"target": "trn2"},
    "tp_degree": {"tp_degree": 4},
    "batch_size": {"batch_size": 2},
    "n_positions": {"n_positions": 4096},
    "dtype": {"dtype": "fp16"},
    "quantization": {"quantization": "s8"},
    "buckets": {"buckets": (128, 512)},
    "neuron_config": {"neuron_config": {"fuse_qkv": True}},
    "compiler_flags": {"compiler_flags": ("-O1",)},
    "logical_nc": {"logical_nc": 2},
    "image_digest": {"image_digest": "sha256:1"},
    "weights": {"include_weights": True},
}


def test_each_part_of_the_key_alone_is_compiled_once(world):
    assert world.ensure().status == "compiled"
    for number, (part, change) in enumerate(CHANGES.items(), 1):
        changed = dataclasses.replace(SHAPES, **change)
        (found,) = differences(world.inputs().parts(), world.inputs(changed).parts())
        assert found.part.partition(".")[0] == part
        assert [world.ensure(changed).status for __ in range(2)] == ["compiled", "present"]
        assert world.compiled == 1 + number


def test_backend_versions_and_architecture_are_parts_too(world):
    world.ensure()
    assert world.ensure(backend="vllm").status == "compiled"
    for package in ("neuronx-cc", "transformers", "python", "prefix"):
        assert [world.ensure(FAKE_VERSIONS=json.dumps({package: "9"})).status for __ in range(2)] == [
            "compiled",
            "present",
        ]
    config = world.model / "config.json"
    config.write_text(json.dumps({"model_type": "llama", "hidden_size": 128}))
    assert [world.ensure().status for __ in range(2)] == ["compiled", "present"]
    assert world.compiled == 7


def test_every_field_of_the_inputs_is_covered_by_these_tests():
    covered = {*CHANGES, "backend", "versions", "config_sha256", "schema"}
    assert {field.name for field in dataclasses.fields(Inputs)} == covered


def test_nothing_that_does_not_matter_compiles_anew(world, monkeypatch):
    world.ensure()
    (world.model / "config.json").write_text(
        json.dumps({"model_type": "llama", "hidden_size": 64, "_name_or_path": "y"})
    )
    (world.model / "w.safetensors").write_bytes(b"a fine-tune of the same architecture")
    for path in world.store.root.rglob("*"):
        os.utime(path, (0, 0))
    monkeypatch.setattr(sys, "version", "3.99")
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    same = dataclasses.replace(SHAPES, target="trn1")
    assert world.ensure(same).status == "present"
    flags = dataclasses.replace(SHAPES, compiler_flags=("-O1", "--lnc=1"))
    assert world.ensure(flags).status == "compiled"
    assert world.ensure(dataclasses.replace(flags, compiler_flags=("--lnc=1", "-O1"))).status == "present"
    assert world.compiled == 2


def test_a_mismatch_names_what_differs_and_what_a_compilation_takes(world):
    world.ensure(FAKE_SECONDS="0.1")
    other = world.inputs(dataclasses.replace(SHAPES, n_positions=4096))
    with pytest.raises(
        MismatchError, match=r"n_positions is 2048, not 4096\. Compile it again \(the last time took \d+ s\)"
    ):
        verify(world.store, "m", other)
    assert verify(world.store, "m", world.inputs()).key == world.inputs().key
    with pytest.raises(MismatchError, match="has no artifacts"):
        verify(world.store, "other", other)


def test_a_damaged_artifact_is_compiled_again(world):
    path = world.ensure().artifact.path
    (path / "graph-0.neff").write_bytes(b"cut")
    assert look(world.store, "m", world.inputs()).status == "absent"
    assert world.ensure().status == "compiled"
    full = (path / "graph-0.neff").read_bytes()
    (path / "graph-0.neff").write_bytes(bytes(len(full)))
    assert look(world.store, "m", world.inputs()).status == "present"
    assert look(world.store, "m", world.inputs(), full=True).status == "absent"


def test_two_builders_compile_once(world):
    found = []
    inputs = world.inputs()

    def build():
        made = ensure(world.store, "m", world.model, inputs, FAKES["tnx"], world.runner(FAKE_SECONDS="0.5"), wait_s=20)
        found.append(made.status)

    threads = [threading.Thread(target=build) for __ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == ["compiled", "present"]
    assert world.compiled == 1


def count(few, all_of_them):
    return pytest.mark.parametrize(
        "times",
        [pytest.param(few, id=str(few)), pytest.param(all_of_them, id=str(all_of_them), marks=pytest.mark.full)],
    )


@count(5, 50)
def test_a_crash_at_any_point_leaves_no_half_artifact(world, times):
    inputs = world.inputs()
    program = (
        "import sys; sys.path[:0] = {path!r}\n"
        "from pathlib import Path\n"
        "from tests.unit.test_neuron_artifacts import FAKES, World\n"
        "w = World(Path({folder!r}), Path({model!r}))\n"
        "w.ensure(FAKE_SECONDS='0.2', FAKE_VERSIONS={versions!r})\n"
    )
    for number in range(times):
        versions = json.dumps({"round": str(number)})
        path = [*sys.path, str(FAKE.parents[2])]
        code = program.format(path=path, folder=str(world.folder), model=str(world.model), versions=versions)
        child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        time.sleep(random.Random(number).uniform(0.1, 2.0))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for _model, artifact in world.store.list():
            assert artifact.damaged(full=True) == []
        for lock in (world.store.root / ".locks").glob("*"):
            os.utime(lock, (0, 0))
        made = world.ensure(FAKE_VERSIONS=versions)
        assert made.artifact.damaged(full=True) == []
    assert inputs.key not in {artifact.key for _model, artifact in world.store.list()}


@pytest.mark.parametrize(
    ("said", "code", "kind", "sentence"),
    [
        ("x\nCompilerInternalError: [F137] neuronx-cc was killed", 70, "out_of_memory", "ran out of memory"),
        ("", -9, "out_of_memory", "on a node with more"),
        ("OSError: [Errno 28] No space left on device", 1, "no_space", "no room"),
        ("unsupported architecture: transformers-neuronx has no qwen2", 1, "unsupported", "another backend"),
        ("AssertionError: number of heads must be divisible by tp degree", 1, "not_divisible", "a divisor"),
        ("Got a cached failed neff at …/model.neff", 1, "cached_failure", "--retry_failed_compilation"),
        ("ModuleNotFoundError: No module named 'torch_neuronx'", 1, "missing_package", "the image that serves it"),
        ("it is Tuesday", 3, "other", "ended with 3: it is Tuesday"),
    ],
)
def test_each_failure_has_its_sentence(said, code, kind, sentence):
    found = classify(code, said)
    assert found.kind == kind
    assert sentence in str(found)


@pytest.mark.parametrize(("fails", "kind"), [("F137", "out_of_memory"), ("No space left on device", "no_space")])
def test_a_failed_compilation_publishes_nothing_and_may_be_tried_again(world, fails, kind):
    with pytest.raises(CompileError, match="m was not compiled") as raised:
        world.ensure(FAKE_FAILS=fails)
    assert raised.value.kind == kind
    assert world.store.list() == []
    assert list((world.store.root / ".staging").iterdir()) == []
    assert world.ensure().status == "compiled"


def test_a_compiler_that_hangs_is_stopped_with_its_children(world, monkeypatch):
    runner = Runner(environment={**world.environment, "FAKE_SECONDS": "60"}, timeout_s=1.5)
    with pytest.raises(CompileError, match="was stopped"):
        ensure(world.store, "m", world.model, world.inputs(), FAKES["tnx"], runner)
    child = int((world.folder / "count.child").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_inputs_that_no_device_can_have_are_refused(world):
    with pytest.raises(InputError, match="tp_degree is 3, which inf2 cannot connect: take one of 1, 2, 4, 8, 12, 24"):
        world.inputs(dataclasses.replace(SHAPES, tp_degree=3))
    with pytest.raises(InputError, match="sync the model first"):
        inputs_of(FAKES["tnx"], world.folder / "none", SHAPES, world.runner())
    with pytest.raises(InputError, match="write it in quotes"):
        canonical({"a": [0.5]})


def test_the_program_compiles_verifies_and_collects(world, capsys, monkeypatch):
    monkeypatch.setattr(compiler, "BACKENDS", FAKES)
    monkeypatch.setattr("ansible_collections.llm.on_eks.plugins.module_utils.neuron.job.BACKENDS", FAKES)
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    line = ["--root", str(world.store.root)]
    inputs = ["--model=m", f"--model-path={world.model}", "--backend=tnx", "--target=inf2"]
    assert main([*line, "verify", *inputs]) == 3
    assert main([*line, "compile", *inputs]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (made["status"], world.compiled) == ("compiled", 1)
    assert main([*line, "compile", *inputs]) == 0
    link = world.folder / "artifacts"
    assert main([*line, "verify", *inputs, f"--link={link}"]) == 0
    assert link.resolve().name == made["key"]
    assert main([*line, "verify", *inputs, "--n-positions=64"]) == 3
    assert "n_positions is 2048, not 64" in capsys.readouterr().err
    assert main([*line, "collect", "--wanted=m"]) == 0
    assert len(world.store.list()) == 1
    assert main([*line, "collect"]) == 0
    assert world.store.list() == []
    monkeypatch.setenv("FAKE_FAILS", "F137")
    assert main([*line, "compile", *inputs]) == 7
    capsys.readouterr()
    assert main([*line, "metrics"]) == 0
    counted = capsys.readouterr().out
    for name in ("hits", "misses", "failures"):
        assert f'neuron_artifacts_{name}_total{{model="m",backend="tnx"}} 1\n' in counted


def test_old_keys_go_and_those_in_use_stay(world):
    keys = []
    for positions in (128, 256, 512, 1024):
        keys.append(world.ensure(dataclasses.replace(SHAPES, n_positions=positions)).artifact.key)
    # The first is wanted again: now it is the newest.
    assert world.ensure(dataclasses.replace(SHAPES, n_positions=128)).status == "present"
    old = [one.key for one in world.store.old({"m"}, set(), 1)]
    assert sorted(old) == sorted(keys[1:3])
    assert world.store.old({"m"}, {"m.tnx"}, 0) == []
    assert len(world.store.old({"other"}, set(), 3)) == 4


def test_the_stores_lock_is_the_model_stores():
    assert model_store.LOCK_STALE_S == 120
    assert ensures.ArtifactStore is ArtifactStore
