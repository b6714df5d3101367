# SPDX-License-Identifier: Apache-2.0
"""The same questions to every engine that runs here, directly and through the gateway.

llama.cpp is real. Text Generation WebUI is real where TGW_SOURCE and TGW_PYTHON name it (with its Transformers loader, and with the
Neuron overlay on a stand-in of the device), else a stand-in. vLLM is real, on a CPU, in `make test-all`. TGI is a stand-in before
llama.cpp, and says so.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.conformance import (
    KNOWN,
    QUESTIONS,
    QUESTIONS_OF,
    Result,
    examine,
    table,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.target import Target

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gateway" / "tests"))

from gateway_support.house import KEY, House
from gateway_support.llamacpp import RealEngine, llamacpp
from gateway_support.vllm import serving

from tests.conformance.tgi_stand_in import tgi_before
from tests.support.tgw_process import STAND_IN, Tgw, name_of, sources
from tests.support.tiny_model import make_tiny_folder

pytestmark = pytest.mark.timeout(900)


@contextmanager
def tgw(folder: Path, source: str, loader: str) -> Iterator[RealEngine]:
    model = make_tiny_folder(folder / "models" / f"tiny{'-neuron' if loader == 'Neuron' else ''}")
    flags = [] if loader == "Neuron" else ["--loader", loader, "--cpu"]
    server = Tgw(source, model.parent, model.name, *flags, TEXTGEN_NEURON_N_POSITIONS="1024", TEXTGEN_QUEUE_MAX="32")
    try:
        server.wait_ready()
        yield RealEngine(f"http://127.0.0.1:{server.port}")
    finally:
        server.kill()


@dataclass(frozen=True)
class StartTgw:
    """`source`: the stand-in, or a checkout."""

    source: str
    loader: str

    def __call__(self, folder: Path) -> AbstractContextManager[RealEngine]:
        return tgw(folder, self.source, self.loader)


@contextmanager
def tgi(folder: Path) -> Iterator[RealEngine]:
    with llamacpp(folder) as behind, tgi_before(behind.url) as url:
        yield RealEngine(url)


def engines():
    yield pytest.param(("llamacpp", llamacpp, "tiny"), id="llamacpp")
    yield pytest.param(("tgi", tgi, "tiny"), id="tgi-stand-in")
    for source in sources():
        for loader in ("Neuron", "Transformers"):
            if loader == "Transformers" and source == STAND_IN:
                continue
            name = "tiny-neuron" if loader == "Neuron" else "tiny"
            yield pytest.param(("tgw", StartTgw(source, loader), name), id=f"tgw-{name_of(source)}-{loader}")
    yield pytest.param(
        ("vllm", functools.partial(serving, kind="bigram", slots=4), "tiny"),
        id="vllm",
        marks=[pytest.mark.full, pytest.mark.timeout(1800)],
    )


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> str:
    """What llama.cpp says of the same weights."""
    with llamacpp(tmp_path_factory.mktemp("golden")) as engine:
        return Target(engine.url, "tiny").complete().text


@pytest.fixture(scope="module", params=engines())
def running(request, tmp_path_factory):
    name, start, model = request.param
    # What upstream does itself is for the real one to show.
    stands_in = isinstance(start, StartTgw) and start.source == STAND_IN
    known = dict.fromkeys(("shape", "errors", "stream_usage"), "a stand-in") if stands_in else {}
    with start(tmp_path_factory.mktemp(name)) as engine:
        yield name, engine.url, model, known


def broken(results):
    return [f"{result.question}: {result.sentence}" for result in results if result.outcome == "broken"]


def test_an_engine_holds_what_clients_rely_on(running, golden):
    engine, url, model, known = running
    assert broken(examine(Target(url, model, engine, golden=golden), known)) == []


def test_it_holds_through_the_gateway_too(running, tmp_path):
    engine, url, model, known = running
    if engine == "tgi":
        pytest.skip("the gateway asks TGI by TGI's own protocol, which gateway/tests/test_protocol_tgi.py is about")
    with House(tmp_path) as house:
        front = house.front(RealEngine(f"{url}?kind={engine}"))
        served = [one["id"] for one in front.get("/v1/models").json["data"]]
        results = examine(Target(front.url, served[0] if served else model, engine, key=KEY, gateway=True), known)
    assert broken(results) == []


@pytest.fixture(scope="module")
def embedding(tmp_path_factory):
    with llamacpp(tmp_path_factory.mktemp("embedding"), "--embeddings", "--pooling", "mean") as engine:
        yield engine.url


KNOWN_OF_LLAMACPP = {"too_long": "it is answered 500", "unknown_model": "it answers for whatever is loaded"}


def test_an_embedding_model_holds_what_clients_rely_on(embedding):
    results = examine(Target(embedding, "tiny", "llamacpp", task="embed"), KNOWN_OF_LLAMACPP)
    assert broken(results) == []
    assert [one.question for one in results if one.outcome == "held"] == [
        name for name in QUESTIONS_OF["embed"] if name not in KNOWN_OF_LLAMACPP
    ]


def test_an_embedding_model_holds_it_through_the_gateway_too(embedding, tmp_path):
    with House(tmp_path) as house:
        front = house.front(RealEngine(f"{embedding}?kind=llamacpp"))
        target = Target(front.url, "tiny", "llamacpp", key=KEY, gateway=True, task="embed")
        assert broken(examine(target, KNOWN_OF_LLAMACPP)) == []


def test_the_table_says_what_was_asked_and_what_became_of_it():
    said = table(
        [
            Result("greedy", "held", "", 0.25),
            Result("stop", "broken", "it went on", 1.5),
            Result("seed", "known", "none"),
        ]
    )
    assert said.splitlines() == [
        "  question  outcome    seconds",
        "  greedy    held          0.25",
        "  stop      BROKEN        1.50  it went on",
        "  seed      not asked           none",
    ]


def test_what_is_known_of_an_engine_names_questions_that_there_are():
    assert all(set(known) <= set(QUESTIONS) for known in KNOWN.values())
