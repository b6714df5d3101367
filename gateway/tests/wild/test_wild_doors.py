# SPDX-License-Identifier: Apache-2.0
"""Doors where clients knock: spellings, probes, models, browsers, files. The sources stand in docs/compatibility.md."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from gateway_support.told import CARD, Asked, Say, Wild, chat, messages

BASE = CARD | {"id": "org/base:7b", "created": 5, "max_model_len": 32768}
ADAPTER = CARD | {"id": "lora-a", "root": "/loras/a", "parent": "org/base:7b", "max_model_len": None}
ANTHROPIC = {"anthropic_version": "2023-06-01"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions?api-version=2024-10-21",
        "//v1/chat/completions",
        "/v1/chat/completions/",
        "/chat/completions",
        "/v1/v1/chat/completions",
        "/openai/deployments/m/chat/completions?api-version=2024-10-21",
        "/openai/v1/openai/deployments/m/chat/completions",
        "/openai/v1/chat/completions",
        "/some/base/v1/chat/completions",
    ],
)
def test_a_chat_is_found_however_its_path_is_spelt(wild: Wild, path: str) -> None:
    front, engine = wild.both()
    assert front.post(path, chat()).status == 200
    assert engine.asked[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/anthropic/v1/messages", "/v1/messages/"])
def test_so_are_messages(wild: Wild, path: str) -> None:
    front, __ = wild.both()
    assert front.post(path, messages(), **ANTHROPIC).json["content"][0]["text"] == "hello"


@pytest.mark.parametrize("path", ["/openai/responses?api-version=2026-01-01-preview", "/responses"])
def test_so_are_responses(wild: Wild, path: str) -> None:
    front, __ = wild.both()
    assert front.post(path, {"model": "m", "input": "hi"}).json["object"] == "response"


def test_a_deployment_names_the_model(wild: Wild) -> None:
    engine = wild.engine(models=[BASE, ADAPTER])
    front = wild.gateway(engine)
    path = f"/openai/deployments/{quote('org/base:7b', safe='')}/chat/completions"
    assert front.post(path, chat() | {"model": ""}).status == 200
    assert engine.last["model"] == "org/base:7b"


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/health", "/ping", "/version", "/v1", "/readyz", "/metrics", "/openapi.json"]
)
def test_a_probe_is_answered_without_a_key_with_get_and_head(wild: Wild, path: str) -> None:
    front, __ = wild.both()
    assert front.get(path, key=None).status == 200
    head = front.request("HEAD", path, key=None)
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("path", ["/models", "/v1/models/", "//v1/models"])
def test_models_are_found_too(wild: Wild, path: str) -> None:
    front, __ = wild.both()
    assert [model["id"] for model in front.get(path).json["data"]] == ["m"]
    assert front.get(path, key=None).status == 401


def test_models_are_as_the_engine_says_them(wild: Wild) -> None:
    front = wild.gateway(wild.engine(models=[BASE, ADAPTER]), models={"gpt": {"alias": "org/base:7b"}})
    found = {model["id"]: model for model in front.get("/v1/models").json["data"]}
    assert found["org/base:7b"]["max_model_len"] == found["gpt"]["max_model_len"] == 32768
    assert found["lora-a"]["parent"] == "org/base:7b"
    assert found["org/base:7b"]["root"] == "org/base:7b"


@pytest.mark.parametrize("name", ["org/base:7b", "lora@v1.2", "模型", "a b", "lora/with/many/slashes", "ünïcode"])
def test_a_model_of_any_name_can_be_asked_for(wild: Wild, name: str) -> None:
    front = wild.gateway(wild.engine(models=[CARD | {"id": name}]))
    for path in (quote(name), quote(name, safe="")):
        assert front.get(f"/v1/models/{path}").json["id"] == name
    assert front.post("/v1/chat/completions", chat() | {"model": name}).status == 200


def test_an_adapter_comes_and_goes(wild: Wild) -> None:
    engine = wild.engine(models=[BASE])
    front = wild.gateway(engine, probe_interval=0.05)
    engine.models = [BASE, ADAPTER]
    wild.house.until(lambda: "lora-a" in front.gateway.fleet.dispatchers)
    assert front.post("/v1/chat/completions", chat() | {"model": "lora-a"}).status == 200
    engine.models = [BASE]
    wild.house.until(lambda: "lora-a" not in front.gateway.fleet.dispatchers)
    assert front.post("/v1/chat/completions", chat() | {"model": "lora-a"}).status == 404


def test_anthropics_clients_see_models_in_their_shape(wild: Wild) -> None:
    front, __ = wild.both()
    found = front.get("/v1/models?limit=1000", **ANTHROPIC).json
    assert (found["has_more"], found["data"][0]["type"], found["data"][0]["display_name"]) == (False, "model", "m")
    assert front.get("/v1/models/m", **ANTHROPIC).json["type"] == "model"
    assert front.get("/v1/models/n", **ANTHROPIC).json["type"] == "error"
    assert front.get("/v1/models", key=None, **ANTHROPIC).json["type"] == "error"
    assert front.post("/v1/messages", messages()).headers["request-id"]


ORIGIN = "https://chat.example"


@pytest.mark.parametrize("setting", ["*", ORIGIN])
def test_pages_may_call_where_the_setting_says_so(wild: Wild, setting: str) -> None:
    front, __ = wild.both(cors_origins=(setting,))
    asked = {
        "origin": ORIGIN,
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization,x-own",
    }
    for path in ("/v1/chat/completions", "/v1/models", "/v1/messages"):
        reply = front.request("OPTIONS", path, key=None, **asked)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, setting)
        assert reply.headers["access-control-allow-headers"] == "authorization,x-own"
    for reply in (
        front.chat(headers={"origin": ORIGIN}),
        front.chat(stream=True, headers={"origin": ORIGIN}),
        front.chat(key="wrong", headers={"origin": ORIGIN}),
        front.get("/v1/models", origin=ORIGIN),
    ):
        assert reply.headers["access-control-allow-origin"] == setting
    assert "access-control-allow-origin" not in front.chat().headers


def test_no_page_may_call_otherwise(wild: Wild) -> None:
    front, __ = wild.both()
    assert front.request("OPTIONS", "/v1/chat/completions", key=None, origin=ORIGIN).status == 405
    assert "access-control-allow-origin" not in front.chat(headers={"origin": ORIGIN}).headers
    front, __ = wild.both(cors_origins=("https://other.example",))
    assert "access-control-allow-origin" not in front.chat(headers={"origin": ORIGIN}).headers


FORM = (
    b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--B\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
    + bytes(range(256)) * 40
    + b"\r\n--B--\r\n"
)


@pytest.mark.parametrize(
    "path", ["/v1/audio/transcriptions", "/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits"]
)
def test_a_form_goes_to_the_engine_of_its_model(wild: Wild, path: str) -> None:
    async def answer(asked: Asked, say: Say) -> None:
        assert asked.headers["content-type"] == "multipart/form-data; boundary=B"
        await say.json({"text": "spoken"})

    front, engine = wild.both(answer)
    reply = front.post(path, FORM, content_type="multipart/form-data; boundary=B")
    assert reply.json == {"text": "spoken"}
    assert engine.asked[-1].body == FORM


def test_a_form_may_name_an_alias(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.body(b"1\n00:00 --> 00:01\nspoken\n", "text/plain")

    front, engine = wild.both(answer, models={"whisper-1": {"alias": "m"}})
    reply = front.post(
        "/v1/audio/transcriptions",
        FORM.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper-1\r\n"),
        content_type="multipart/form-data; boundary=B",
    )
    assert reply.body.startswith(b"1\n00:00")
    assert engine.asked[-1].body == FORM


@pytest.mark.parametrize(
    "path",
    [
        "/pooling",
        "/classify",
        "/v1/classify",
        "/v2/rerank",
        "/v1/rerank",
        "/score",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/audio/speech",
    ],
)
def test_what_an_engine_has_is_reached(wild: Wild, path: str) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.json({"data": [1]})

    front, engine = wild.both(answer)
    body = json.dumps({"model": "m", "input": "x", "own": [1, 2.50]}).encode()
    assert front.post(path, body).json == {"data": [1]}
    assert (engine.asked[-1].path, engine.asked[-1].body) == (path, body)


def test_what_is_not_served_is_named(wild: Wild) -> None:
    front, __ = wild.both()
    assert "/x/ " in front.post("/x/", chat()).json["error"]["message"]
