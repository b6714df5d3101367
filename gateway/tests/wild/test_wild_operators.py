# SPDX-License-Identifier: Apache-2.0
"""What operators need: engines by https, under a path, with a key of their own; names for what they do not know; kinds found by asking."""

from __future__ import annotations

import datetime
import ssl
import time
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gateway_support.house import House
from gateway_support.told import CARD, Wild, chat, messages

from llm_gateway import cli
from llm_gateway.config import engine_url
from llm_gateway.engines.address import Address
from llm_gateway.engines.engine import Engine
from llm_gateway.errors import ConfigError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for `localhost` that vouches for itself, and a server's context with it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    return cert, context


def test_an_engine_by_https_under_a_path_with_a_key_of_its_own(
    wild: Wild, certificate: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    cert, tls = certificate
    key = tmp_path / "key"
    key.write_text("sk-hosted\n")
    hosted = wild.engine(models=[CARD | {"id": "big"}, CARD | {"id": "other"}], base="/openai/v1", tls=tls)
    own = wild.engine()
    url = f"{hosted.url}/openai/v1?key_file={key}&ca_file={cert}&model=big&name=hosted"
    front = wild.gateway(engine=(own.url, url), models={"m": {"fallbacks": ["big"]}})
    for stream in (False, True):
        reply = front.post(
            "/v1/chat/completions", chat(stream=stream) | {"model": "big"}, x_forwarded_for="203.0.113.9"
        )
        assert reply.status == 200 and b"llo" in reply.body
        assert reply.headers["x-llm-gateway-engine"] == "hosted"
    asked = hosted.asked[-1]
    assert asked.path == "/openai/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer sk-hosted"
    assert "x-forwarded-for" not in asked.headers  # somebody else's engine need not know who asks
    assert front.post("/v1/messages", messages() | {"model": "big"}).json["content"][0]["text"] == "hello"
    assert front.post("/v1/chat/completions", chat() | {"model": "other"}).status == 404
    # As a fallback of a model whose own engine is gone.
    wild.house.run(own.stop())
    assert front.post("/v1/chat/completions", chat()).status == 200
    assert hosted.last["model"] == "big"


def test_an_engines_new_key_is_taken_in(wild: Wild, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("old")
    engine = wild.engine()
    front = wild.gateway(engine, engine=(f"{engine.url}?key_file={key}",))
    front.post("/v1/chat/completions", chat())
    assert engine.asked[-1].headers["authorization"] == "Bearer old"
    assert wild.house.call(front.worker.reload)
    key.write_text("new")
    assert wild.house.call(front.worker.reload)
    front.post("/v1/chat/completions", chat())
    assert engine.asked[-1].headers["authorization"] == "Bearer new"


def test_a_certificate_that_nobody_vouches_for_is_refused(wild: Wild, certificate: tuple[Path, ssl.SSLContext]) -> None:
    engine = wild.engine(tls=certificate[1])
    front = wild.gateway(engine, engine=(f"{engine.url}?model=m",))
    reply = front.post("/v1/chat/completions", chat())
    assert reply.status == 503
    assert not engine.asked
    assert front.metric('engine_failures_total{engine="localhost') >= 1
    assert 'reason="tls"' in front.get("/metrics").body.decode()


@pytest.mark.parametrize(
    ("base", "asked", "target"),
    [
        ("", "/v1/chat/completions", "/v1/chat/completions"),
        ("", "/info", "/info"),
        ("/v1", "/v1/models", "/v1/models"),
        ("/v1", "/tokenize", "/tokenize"),
        ("/llm", "/v1/chat/completions", "/llm/v1/chat/completions"),
        ("/llm", "/tokenize", "/llm/tokenize"),
        ("/openai/v1", "/v1/models", "/openai/v1/models"),
        ("/openai/v1", "/metrics", "/openai/metrics"),
        ("/v1beta/openai", "/v1/models", "/v1beta/openai/models"),
        ("/vision", "/v1/models", "/vision/v1/models"),
    ],
)
def test_a_base_path_stands_before_an_engines_own(base: str, asked: str, target: str) -> None:
    assert Address("h", 80, base).target(asked.encode()) == target.encode()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "http://x:99999",
        "http://x?mode=1",
        "http://x?weight=0",
        "http://x?weight=nan",
        "http://x?ca_file=/x",
        "https://user@x",
        "https://x/a b",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="engine"):
        engine_url.read(url)


def test_one_engine_stands_there_once() -> None:
    assert len(engine_url.read_all(("https://x/a", "https://x/b", "http://x"))) == 3
    with pytest.raises(ConfigError, match="twice"):
        engine_url.read_all(("https://x/v1?model=a", "https://x/v1/?model=b"))


def test_a_key_file_that_is_not_there_is_said_before_anything_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "c.yaml"
    document.write_text(f"engine: ['http://x?key_file={tmp_path}/none']\n")
    assert cli.main(["check", str(document)]) == 2
    assert "none: cannot be read" in capsys.readouterr().err


# --- names


NAMES: dict[str, Any] = {
    "claude-*": {"alias": "m"},
    "claude-*-haiku-*": {"alias": "small"},
    "gpt-?": {"alias": "small"},
    "canary-*": {"split": {"m": 1, "small": 0}},
}


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("claude-opus-4-6", "m"),
        ("claude-x-haiku-4-5", "small"),
        ("gpt-?", "small"),
        ("canary-1", "m"),
        ("m", "m"),
        ("claude-real", "claude-real"),
        ("claude", None),
        ("xclaude-1", None),
        ("gpt-4", None),
    ],
)
def test_a_name_with_an_asterisk_stands_for_all_like_it(wild: Wild, asked: str, model: str | None) -> None:
    engine = wild.engine(models=[CARD, CARD | {"id": "small"}, CARD | {"id": "claude-real"}])
    front = wild.gateway(engine, models=NAMES)
    reply = front.post("/v1/chat/completions", chat() | {"model": asked})
    assert reply.status == (404 if model is None else 200)
    assert model is None or engine.last["model"] == model
    assert front.get(f"/v1/models/{quote(asked)}").status == reply.status
    assert not any("*" in entry["id"] for entry in front.get("/v1/models").json["data"])


def test_an_asterisk_alone_is_for_every_unknown_name(wild: Wild) -> None:
    engine = wild.engine(models=[CARD, CARD | {"id": "small"}])
    front = wild.gateway(engine, models={"*": {"alias": "small"}, "x-*": {"alias": "m"}})
    for asked, model in (("anything/at all", "small"), ("x-1", "m"), ("m", "m"), ("small", "small")):
        assert front.post("/v1/chat/completions", chat() | {"model": asked}).status == 200
        assert engine.last["model"] == model


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("{'claude-*': {queue_size: 3}}", "say alias or split"),
        ("{'claude-*': }", "say alias or split"),
        ("{a: {alias: 'b-*'}}", "not in those of models"),
        ("{a: {fallbacks: ['b-*']}}", "not in those of models"),
    ],
)
def test_check_says_what_an_asterisk_cannot_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str, why: str
) -> None:
    document = tmp_path / "c.yaml"
    document.write_text(f"models: {section}\n")
    assert cli.main(["check", str(document)]) == 2
    assert why in capsys.readouterr().err


# --- kinds

TGI = {"model_id": "m", "max_total_tokens": 4096, "max_concurrent_requests": 128, "router": "text-generation-router"}
TEI = {"model_id": "m", "max_input_length": 512, "max_concurrent_requests": 512}


@pytest.mark.parametrize(
    ("owner", "gets", "kind"),
    [
        ("vllm", {}, "vllm"),
        ("sglang", {}, "sglang"),
        ("llamacpp", {}, "llamacpp"),
        ("m", {"/info": TGI}, "tgi"),
        ("m", {"/info": TEI}, ""),
        ("me", {"/props": {"default_generation_settings": {}, "total_slots": 1}}, "llamacpp"),
        ("user", {"/v1/internal/model/info": {"model_name": "m", "lora_names": []}}, "tgw"),
        ("organization-owner", {"/info": ["no", "object"]}, ""),
    ],
)
def test_an_engines_kind_is_found_by_asking(wild: Wild, owner: str, gets: dict[str, Any], kind: str) -> None:
    engine = wild.engine(models=[CARD | {"owned_by": owner}], gets=gets)
    front = wild.gateway(engine, probe_interval=0.05)
    (found,) = front.gateway.fleet.registry.engines.values()
    assert found.kind == kind
    asked = len(engine.got)
    wild.house.until(lambda: len(engine.got) > asked + 3)
    # It is asked once; after that, for its models alone.
    assert {request.path for request in engine.got[asked:]} == {
        "/v1/internal/model/info" if kind == "tgw" else "/v1/models"
    }


def test_a_kind_that_somebody_said_is_not_asked_for(wild: Wild) -> None:
    engine = wild.engine(models=[CARD | {"owned_by": "x"}], gets={"/info": TGI})
    front = wild.gateway(engine, engine=(f"{engine.url}?kind=vllm",))
    (found,) = front.gateway.fleet.registry.engines.values()
    assert found.kind == "vllm"
    assert [request.path for request in engine.got] == ["/v1/models"]


# --- slow or broken


def test_an_engine_stands_still_when_all_that_it_began_is_silent() -> None:
    engine = Engine("127.0.0.1", 1)
    for __ in range(2):
        engine.enter()
    assert not engine.stands_still(100.0, 10.0)  # it has begun nothing: its queue may be long
    engine.heard_at = 95.0
    assert not engine.stands_still(100.0, 10.0)
    assert engine.stands_still(106.0, 10.0)
    assert not engine.stands_still(106.0, 0.0)
    engine.leave()
    assert engine.stands_still(106.0, 10.0)  # the others have left it
    engine.heard_at = 107.0
    assert not engine.stands_still(120.0, 10.0)  # one alone may hold back its words for long


def test_streams_of_an_engine_that_stands_still_are_given_up(house: House) -> None:
    """It answers every probe, but none of the streams that it began goes on."""
    engine = house.engine(mode="stall")
    front = house.front(engine, stall_timeout=0.3)
    streams = [front.open_stream(max_tokens=9) for __ in range(2)]
    began = time.monotonic()
    for stream in streams:
        with pytest.raises(IncompleteRead) as caught:
            stream.events()
        assert b"broke off" in caught.value.partial and b"[DONE]" not in caught.value.partial
    assert time.monotonic() - began < 10
    assert front.metric("engine_failures_total{") == 2


def test_one_silent_stream_is_waited_for_while_others_go_on(house: House) -> None:
    engine = house.engine(mode="stall")
    front = house.front(engine, stall_timeout=0.3)
    silent = front.open_stream(max_tokens=9)
    silent.event(), silent.event()
    engine.mode = "ok"
    for __ in range(10):
        assert front.chat(max_tokens=1).status == 200
        time.sleep(0.1)
    assert front.gateway.active
    house.call(engine.release.set)


def test_a_first_token_of_minutes_has_its_bucket(house: House) -> None:
    front = house.front(house.engine())
    histogram = front.gateway.metrics.first_token.of("tiny")
    for seconds in (70, 130, 400, 1200):
        histogram.observe(seconds)
    shown = front.get("/metrics").body.decode()
    for bound, count in (("60", 0), ("90", 1), ("180", 2), ("450", 3), ("1800", 4)):
        assert f'time_to_first_token_seconds_bucket{{model="tiny",le="{bound}"}} {count}' in shown
