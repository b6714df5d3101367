# SPDX-License-Identifier: Apache-2.0
"""Names of models: aliases, canaries, fallbacks; holding requests for a model that wakes up; slow start."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from gateway_support.house import House

from llm_gateway.config.catalogue import Catalogue
from llm_gateway.errors import ConfigError


@pytest.mark.parametrize(
    "section",
    [
        {"a": {"alias": "b", "split": {"c": 1}}},
        {"a": {"alias": "a"}},
        {"a": {"alias": "b"}, "b": {"alias": "a"}},
        {"a": {"split": {"b": -1}}},
        {"a": {"split": {"b": 0}}},
        {"a": {"policy": "best"}},
        {"a": {"fallbacks": ["a"]}},
        {"a": {"alais": "b"}},
        {"a": {"queue_size": -1}},
        {"a": 7},
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(section: dict) -> None:
    with pytest.raises(ConfigError, match="models: a"):
        Catalogue(section)


def test_a_split_follows_its_weights_and_aliases_chain() -> None:
    catalogue = Catalogue({"name": {"alias": "mix"}, "mix": {"split": {"old": 9, "new": 1}}})
    chance = random.Random(1)
    found = Counter(catalogue.resolve("name", chance) for __ in range(1000))
    assert 60 <= found["new"] <= 140
    assert found["new"] + found["old"] == 1000


def test_a_model_may_have_a_share_of_its_own_split() -> None:
    catalogue = Catalogue({"tiny": {"split": {"tiny": 9, "next": 1}}, "other": {"alias": "tiny"}})
    chance = random.Random(1)
    for name in ("tiny", "other"):
        found = Counter(catalogue.resolve(name, chance) for __ in range(1000))
        assert 60 <= found["next"] <= 140
        assert found["next"] + found["tiny"] == 1000


def test_a_canary_has_a_share_while_it_has_an_engine_that_answers(house: House) -> None:
    old, new = house.engine(), house.engine(model="next")
    models = {
        "tiny": {"split": {"tiny": 1, "next": 3}},
        "gone": {"split": {"tiny": 1, "nowhere": 3, "known": 3}},
        "left": {"split": {"tiny": 0, "nowhere": 1}},
        "known": {},
    }
    front = house.front(old, new, models=models)
    for engine in (old, new):
        engine.requests.clear()

    def share() -> tuple[int, int]:
        before = len(old.requests), len(new.requests)
        assert {front.chat(model="tiny").status for __ in range(40)} == {200}
        return len(old.requests) - before[0], len(new.requests) - before[1]

    kept, went = share()
    assert kept > 0
    assert went > kept
    assert {front.chat(model=name).status for name in ("gone", "left") for __ in range(20)} == {200}
    house.run(new.stop())
    # Those that meet it first are asked of nobody else: it is another model.
    for __ in range(40):
        front.chat(model="tiny")
    assert share() == (40, 0)


def test_an_alias_reaches_the_engine_under_the_models_own_name(house: House) -> None:
    engine = house.engine()
    front = house.front(engine, models={"gpt-4o": {"alias": "tiny"}})
    assert front.chat(model="gpt-4o", tools=[{"type": "x"}]).status == 200
    assert engine.requests[0]["model"] == "tiny"
    assert engine.requests[0]["tools"] == [{"type": "x"}]
    assert [model["id"] for model in front.get("/v1/models").json["data"]] == ["gpt-4o", "tiny"]


def test_a_model_names_its_root_as_vllms_own_clients_expect(house: House) -> None:
    front = house.front(house.engine())
    listed = front.get("/v1/models").json["data"]
    assert [(model["id"], model["root"], model["parent"]) for model in listed] == [("tiny", "tiny", None)]
    assert front.get("/v1/models/tiny").json == listed[0]


def test_a_key_may_be_scoped_to_an_alias_or_to_the_model_behind_it(house: House) -> None:
    import json
    from hashlib import sha256

    folder = house.folder / "keys"
    folder.mkdir()
    for name, models in (("alias", ["gpt"]), ("model", ["tiny"]), ("none", ["other"])):
        (folder / name).write_text(json.dumps({"sha256": sha256(name.encode()).hexdigest(), "models": models}))
    front = house.front(house.engine(), keys_dir=str(folder), models={"gpt": {"alias": "tiny"}})
    assert [front.chat(key=key, model="gpt").status for key in ("alias", "model", "none")] == [200, 200, 403]
    assert [front.chat(key=key, model="tiny").status for key in ("alias", "model", "none")] == [403, 200, 403]


def test_a_fallback_answers_when_the_model_has_no_engine(house: House) -> None:
    engine = house.engine(model="small")
    front = house.front(engine, models={"big": {"fallbacks": ["none", "small"]}, "small": {}})
    assert front.chat(model="big").status == 200
    assert engine.requests[0]["model"] == "small"
    assert front.metric('fallbacks_total{model="big",fallback="small"') == 1


def test_a_fallback_answers_when_all_engines_of_the_model_fail(house: House) -> None:
    broken, good = house.engine(model="big", mode="status:503"), house.engine(model="small")
    front = house.front(broken, good, models={"big": {"fallbacks": ["small"]}})
    for __ in range(5):
        assert front.chat(model="big").status == 200
        assert front.open_stream(model="big", max_tokens=2).events()[-1] == "data: [DONE]"


def test_a_request_is_held_while_its_model_wakes_up(house: House) -> None:
    from llm_gateway.engines.registry import Endpoint

    awake, asleep = house.engine(), house.engine(model="asleep")
    front = house.front(awake, models={"asleep": {"hold_timeout": 10}})
    stream = front.open_stream(model="asleep", max_tokens=2)
    dispatcher = front.gateway.fleet.dispatchers["asleep"]
    house.until(lambda: len(dispatcher.waiting) == 1)
    assert front.metric('queue_depth{model="asleep"') == 1
    endpoints = [Endpoint("127.0.0.1", engine.port, models=(engine.model,)) for engine in (awake, asleep)]
    house.call(front.gateway.fleet.registry.replace, endpoints)
    assert stream.events()[-1] == "data: [DONE]"


def test_holding_has_an_end(house: House) -> None:
    front = house.front(house.engine(), models={"asleep": {"hold_timeout": 0.2, "queue_timeout": 0.1}})
    reply = front.chat(model="asleep")
    assert (reply.status, reply.code) == (503, "no_ready_engine")
    assert reply.headers["retry-after"]


def test_an_engine_that_has_not_said_its_model_yet_makes_unknown_models_503(house: House) -> None:
    engine = house.engine()
    house.run(engine.stop())
    front = house.front(engine)
    assert front.chat().status == 503


def test_a_new_engine_gets_a_small_share_at_first(house: House) -> None:
    front = house.front(house.engine(), house.engine(), slow_start=100.0)
    engines = list(front.gateway.fleet.registry.engines.values())

    def warm(age_s: float) -> float:
        engines[0].warm_up(engines[0].created_at + age_s, 100.0)
        return engines[0].share

    assert [house.call(warm, age) for age in (0, 50, 100)] == [0.1, 0.5, 1.0]


def test_a_request_without_a_model_means_the_default_one(house: House) -> None:
    front = house.front(house.engine(), house.engine(model="other"), default_model="tiny")
    assert front.post("/v1/completions", {"model": "", "prompt": "x"}).status == 200


def test_a_ceiling_of_one_model_leaves_the_others_alone(house: House) -> None:
    engine = house.engine(mode="hang")
    front = house.front(engine, models={"tiny": {"engine_concurrency": 1, "queue_size": 0}})
    held = front.open_stream()
    house.wait(engine.seen)
    assert front.chat().code == "queue_full"
    held.close()
