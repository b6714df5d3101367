# SPDX-License-Identifier: Apache-2.0
"""The admin API, `explain`, and configuration that changes while serving."""

from __future__ import annotations

import json
import os
from urllib.parse import quote

import pytest
from gateway_support.house import KEY, Front, House
from gateway_support.process import Process

from llm_gateway import cli

ADMIN = "admin-secret"


@pytest.fixture
def front(house: House) -> Front:
    (house.folder / "admin").write_text(ADMIN + "\n")
    return house.front(
        house.engine(),
        house.engine(),
        admin_key_file=str(house.folder / "admin"),
        admin_keys_dir=str(house.folder / "made"),
        models={"gpt": {"alias": "tiny"}},
    )


def test_only_an_admin_key_opens_the_admin_api_and_it_opens_nothing_else(front: Front) -> None:
    assert front.get("/admin/status", key=None).status == 401
    assert front.get("/admin/status", key=KEY).code == "admin_key_required"
    assert front.get("/admin/status", key=ADMIN).status == 200
    assert front.chat(key=ADMIN).status == 403


def test_the_status_shows_models_engines_and_use(front: Front) -> None:
    for __ in range(4):
        front.chat()
    front.open_stream(max_tokens=3).events()
    status = front.get("/admin/status", key=ADMIN).json
    [model] = status["models"]
    assert model["name"] == "tiny"
    assert model["requests"] == {"200": 5}
    assert [engine["state"] for engine in model["engines"]] == ["ready", "ready"]
    assert sum(engine["served"] for engine in model["engines"]) == 5
    assert sum(model["histograms"]["time_to_first_token"]["counts"]) == 5
    assert status["aliases"] == {"gpt": "tiny"}
    assert status["keys"][0]["name"] == "key-1"
    assert status["keys"][0]["requests"] == 5
    assert KEY not in json.dumps(status)


def test_a_key_is_made_used_rotated_and_revoked(front: Front) -> None:
    made = front.post("/admin/keys", {"name": "team-a", "models": ["tiny"], "limits": {"concurrency": 5}}, key=ADMIN)
    assert made.status == 201
    key = made.json["key"]
    assert front.chat(key=key).status == 200
    assert front.post("/admin/keys", {"name": "team-a"}, key=ADMIN).code == "key_exists"
    rotated = front.post("/admin/keys/team-a/rotate", {"overlap": 60}, key=ADMIN).json
    assert front.chat(key=key).status == front.chat(key=rotated["key"]).status == 200
    again = front.post("/admin/keys/team-a/rotate", {"overlap": 0}, key=ADMIN).json
    assert front.chat(key=rotated["key"]).status == 401
    listed = front.get("/admin/keys", key=ADMIN)
    assert [entry["name"] for entry in listed.json["data"]] == ["admin", "key-1", "team-a"]
    assert again["key"].encode() not in listed.body
    assert front.request("DELETE", "/admin/keys/team-a", key=ADMIN).status == 200
    assert front.chat(key=again["key"]).status == 401
    assert front.request("DELETE", "/admin/keys/team-a", key=ADMIN).status == 404


@pytest.mark.parametrize("body", [b'{"name":"\xff"}', b'{"name":' + b"[" * 9000, b"1"])
def test_a_body_that_makes_no_sense_is_a_400(front: Front, body: bytes) -> None:
    assert front.post("/admin/keys", body, key=ADMIN).status == 400


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a/b", "x" * 200])
def test_a_keys_name_never_leads_out_of_its_folder(front: Front, house: House, name: str) -> None:
    assert front.post("/admin/keys", {"name": name}, key=ADMIN).status == 400
    assert not (house.folder / "evil").exists()


def test_a_made_key_is_stored_hashed_and_for_nobody_else_to_read(front: Front, house: House) -> None:
    key = front.post("/admin/keys", {"name": "team-a"}, key=ADMIN).json["key"]
    file = house.folder / "made" / "team-a"
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_drained_engine_gets_nothing_new(front: Front, house: House) -> None:
    names = [engine["name"] for engine in front.get("/admin/status", key=ADMIN).json["models"][0]["engines"]]
    assert front.post(f"/admin/engines/{names[0]}/drain", {}, key=ADMIN).json == {"name": names[0], "drained": True}
    for __ in range(6):
        assert front.chat().status == 200
    counts = [len(engine.requests) for engine in house._engines]
    assert sorted(counts) == [0, 6]
    front.post(f"/admin/engines/{names[0]}/undrain", {}, key=ADMIN)
    for __ in range(6):
        front.chat()
    assert min(len(engine.requests) for engine in house._engines) >= 2
    assert front.post("/admin/engines/none/drain", {}, key=ADMIN).status == 404


def test_explain_says_why_and_changes_nothing(front: Front, capsys: pytest.CaptureFixture[str], house: House) -> None:
    found = front.get("/admin/explain?model=gpt&prompt=hello", key=ADMIN).json
    assert (found["model"], found["policy"]) == ("tiny", "least-in-flight")
    assert found["engine"]
    name = found["engines"][0]["name"]
    front.post(f"/admin/engines/{name}/drain", {}, key=ADMIN)
    flags = ["explain", "--url", front.url, "--admin-key-file", str(house.folder / "admin"), "--model", "tiny"]
    assert cli.main(flags) == 0
    shown = capsys.readouterr().out
    assert "drained by an operator" in shown
    assert "picks it among 1 with room" in shown
    assert cli.main([*flags[:-1], "never"]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not any(engine.requests for engine in house._engines)


def test_explain_knows_where_a_prompt_has_been_and_does_not_learn_it(house: House) -> None:
    (house.folder / "admin").write_text(ADMIN)
    engines = [house.engine() for __ in range(8)]
    front = house.front(*engines, policy="prefix", admin_key_file=str(house.folder / "admin"))
    for number in range(12):
        prompt = f"{number} and so on " * 200
        path = f"/admin/explain?model=tiny&prompt={quote(prompt)}"
        before = [front.get(path, key=ADMIN).json["engine"] for __ in range(2)]
        assert before[0] == before[1]
        counts = [len(engine.requests) for engine in engines]
        assert front.post("/v1/completions", {"model": "tiny", "prompt": prompt}).status == 200
        (asked,) = [engine for engine, count in zip(engines, counts, strict=True) if len(engine.requests) > count]
        assert front.get(path, key=ADMIN).json["engine"] == asked.url.removeprefix("http://")


def test_settings_are_shown(front: Front) -> None:
    assert front.get("/admin/settings", key=ADMIN).json["queue_size"] == 100


@pytest.mark.programs
def test_a_changed_document_counts_without_a_restart_and_a_bad_one_is_refused_whole(house: House) -> None:
    config = house.folder / "config.yaml"
    config.write_text("limit_requests_per_minute: 2\n")
    (house.folder / "admin").write_text(ADMIN)
    flags = ["--config", str(config), "--admin-key-file", str(house.folder / "admin"), "--engine", house.engine().url]
    with Process(house.folder, *flags) as front:
        assert [front.chat().status for __ in range(3)] == [200, 200, 429]

        def change(text: str):
            fresh = house.folder / "fresh"
            fresh.write_text(text)
            os.replace(fresh, config)
            return front.post("/admin/reload", {}, key=ADMIN)

        assert change("limit_requests_per_minute: 5\n").status == 200
        assert [front.chat().status for __ in range(4)] == [200, 200, 200, 429]
        refused = change("limit_requests_per_minute: many\n")
        assert (refused.status, refused.code) == (409, "config_refused")
        assert "limit_requests_per_minute" in refused.json["error"]["message"]
        assert front.metric("config_good") == 0
        assert front.chat().status == 429
        assert change("limit_requests_per_minute: 0\nmodels: {gpt: {alias: tiny}}\n").status == 200
        assert front.metric("config_good") == 1
        assert [front.chat(model="gpt").status for __ in range(10)] == [200] * 10


@pytest.mark.programs
def test_a_key_made_in_one_worker_is_good_in_all(house: House) -> None:
    (house.folder / "admin").write_text(ADMIN)
    flags = [
        "--workers",
        "3",
        "--admin-key-file",
        str(house.folder / "admin"),
        "--admin-keys-dir",
        str(house.folder / "m"),
    ]
    with Process(house.folder, *flags, "--engine", house.engine().url) as front:
        key = front.post("/admin/keys", {"name": "team-a"}, key=ADMIN).json["key"]
        assert [front.chat(key=key).status for __ in range(12)] == [200] * 12
        status = front.get("/admin/status", key=ADMIN).json
        assert status["workers"] == 3
        assert [(use["name"], use["requests"]) for use in status["keys"] if use["requests"]] == [("team-a", 12)]
