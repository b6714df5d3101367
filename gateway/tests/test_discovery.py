# SPDX-License-Identifier: Apache-2.0
"""Discovery by EndpointSlices cannot go stale, whatever happens to the watch."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from gateway_support.api_server import FakeApiServer, endpoint, make_slice
from gateway_support.house import Front, House

from llm_gateway.discovery.api_client import READ_AHEAD_BYTES, ApiClient, ApiServer, ApiServerError
from llm_gateway.discovery.slices import Slice, SliceSet
from llm_gateway.engines.engine import Engine, Health
from llm_gateway.engines.registry import Endpoint, Pool, Registry


def build(document: dict) -> Slice:
    return msgspec.json.decode(msgspec.json.encode(document), type=Slice)


class Cluster:
    """An API server, and a gateway that watches it."""

    def __init__(self, house: House, **options) -> None:
        self.house = house
        self.api = FakeApiServer(**options)
        house.run(self.api.start())

    def front(self, **options) -> Front:
        return self.house.front(
            engine=(),
            kubernetes=True,
            kubernetes_api=f"http://127.0.0.1:{self.api.port}",
            kubernetes_token_file="",
            kubernetes_resync=1.0,
            probe_interval=0.0,
            **options,
        )

    def put(self, name: str, *addresses, **labels: str) -> None:
        self.house.call(lambda: self.api.put(name, list(addresses), **labels))

    def delete(self, name: str) -> None:
        self.house.call(self.api.delete, name)


@pytest.fixture
def cluster(house: House) -> Iterator[Cluster]:
    found = Cluster(house)
    yield found
    house.run(found.api.stop())


def ready(front: Front, model: str = "tiny") -> set[str]:
    pool = front.gateway.fleet.registry.pools.get(model)
    return set() if pool is None else {engine.where.host for engine in pool.ready}


def test_endpoints_come_and_go_as_the_slices_say(cluster: Cluster, house: House) -> None:
    cluster.put(
        "a", endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=False), **{"llm.on-eks/model": "tiny"}
    )
    front = cluster.front()
    house.until(lambda: ready(front) == {"10.0.0.1"})
    cluster.put("a", endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=True), **{"llm.on-eks/model": "tiny"})
    house.until(lambda: ready(front) == {"10.0.0.1", "10.0.0.2"})
    cluster.put(
        "a",
        endpoint("10.0.0.1", ready=True, serving=True, terminating=True),
        endpoint("10.0.0.2", ready=True, serving=False),
        endpoint("10.0.0.3"),
        **{"llm.on-eks/model": "tiny"},
    )
    house.until(lambda: ready(front) == {"10.0.0.3"})
    cluster.put("a", **{"llm.on-eks/model": "tiny"})
    house.until(lambda: ready(front) == set())
    assert front.chat().code == "no_ready_engine"


def test_a_model_whose_slices_are_deleted_was_removed(cluster: Cluster, house: House) -> None:
    for name, address in (("tiny", "10.0.0.1"), ("other", "10.0.0.2")):
        cluster.put(name, endpoint(address, ready=True), **{"llm.on-eks/model": name})
    front = cluster.front()
    house.until(lambda: ready(front) == {"10.0.0.1"})
    cluster.delete("tiny")
    house.until(lambda: "tiny" not in front.gateway.fleet.registry.pools)
    reply = front.chat()
    assert (reply.status, reply.code) == (404, "model_not_found")
    assert "tiny" not in front.gateway.fleet.dispatchers


def test_a_lost_deletion_is_made_good_by_the_next_list(cluster: Cluster, house: House) -> None:
    """production-stack #1091: a dead pod that stays for ever."""
    cluster.put("a", endpoint("10.0.0.1", ready=True), **{"llm.on-eks/model": "tiny"})
    front = cluster.front()
    house.until(lambda: ready(front) == {"10.0.0.1"})
    house.call(cluster.api.slices.clear)
    house.until(lambda: ready(front) == set(), 5)


def test_410_and_broken_watches_lead_to_a_new_list(cluster: Cluster, house: House) -> None:
    cluster.put("a", endpoint("10.0.0.1", ready=True), **{"llm.on-eks/model": "tiny"})
    front = cluster.front()
    house.until(lambda: ready(front) == {"10.0.0.1"})
    lists = cluster.api.lists

    def expire() -> None:
        cluster.api.gone = True
        cluster.api.break_watches()

    house.call(expire)
    house.until(lambda: cluster.api.lists >= lists + 2)
    cluster.put("a", endpoint("10.0.0.9", ready=True), **{"llm.on-eks/model": "tiny"})
    house.until(lambda: ready(front) == {"10.0.0.9"})


def test_an_api_server_that_is_away_changes_nothing_but_the_age(cluster: Cluster, house: House) -> None:
    cluster.put("a", endpoint("10.0.0.1", ready=True), **{"llm.on-eks/model": "tiny"})
    front = cluster.front()
    house.until(lambda: ready(front) == {"10.0.0.1"})

    def vanish() -> None:
        cluster.api.unavailable = True
        cluster.api.break_watches()

    house.call(vanish)
    house.until(lambda: front.gateway.discovery_seen_at < time.monotonic() - 0.5)
    assert ready(front) == {"10.0.0.1"}
    assert front.metric("discovery_age_seconds") > 0.4


def test_long_lists_come_in_pages(house: House) -> None:
    cluster = Cluster(house, page=3)
    for number in range(10):
        cluster.put(f"s{number}", endpoint(f"10.0.0.{number}", ready=True), **{"llm.on-eks/model": "tiny"})
    front = cluster.front()
    house.until(lambda: len(ready(front)) == 10)
    house.run(cluster.api.stop())


@pytest.mark.parametrize("seed", range(4))
def test_lost_repeated_and_reordered_events_never_leave_a_wrong_picture(house: House, seed: int) -> None:
    """Random changes, a third of their events mishandled; after the next full list the picture is the truth."""
    cluster = Cluster(house, chaos=0.35, seed=seed)
    chance = random.Random(seed)
    front = cluster.front()
    for __ in range(300):
        name = f"s{chance.randrange(6)}"
        if name in cluster.api.slices and chance.random() < 0.3:
            cluster.delete(name)
        else:
            conditions = [
                chance.choice(({"ready": True}, {"ready": False}, {"ready": True, "terminating": True}))
                for __ in range(3)
            ]
            addresses = [endpoint(f"10.{name[1]}.0.{n}", **condition) for n, condition in enumerate(conditions)]
            cluster.put(name, *addresses, **{"llm.on-eks/model": "tiny"})
    cluster.api.chaos = 0.0
    truth = SliceSet()
    truth.replace(build(item) for item in cluster.api.slices.values())
    wanted = {found.host for found in truth.endpoints() if found.ready}
    house.until(lambda: ready(front) == wanted, 10)
    known = {engine.where.host for engine in front.gateway.fleet.registry.engines.values()}
    assert known == {found.host for found in truth.endpoints()}
    house.run(cluster.api.stop())


def test_an_old_event_after_a_newer_one_changes_nothing() -> None:
    slices = SliceSet()
    new = build(make_slice("a", 9, [endpoint("10.0.0.9")]))
    old = build(make_slice("a", 5, [endpoint("10.0.0.5")]))
    assert slices.apply("ADDED", new)
    assert not slices.apply("MODIFIED", old)
    assert not slices.apply("DELETED", old)
    assert slices.apply("DELETED", build(make_slice("a", 11, [])))
    assert not slices.apply("ADDED", new)
    assert slices.endpoints() == []


def test_what_a_new_slice_says_in_the_same_place_and_words_is_the_same_endpoint() -> None:
    slices = SliceSet()
    labels = {"llm.on-eks/model": "tiny"}
    first = [endpoint(f"10.0.0.{number}", ready=True) for number in range(4)]
    slices.replace([build(make_slice("a", 1, first, **labels))])
    before = slices.endpoints()
    slices.apply(
        "MODIFIED",
        build(make_slice("a", 2, [first[0], endpoint("10.0.0.1", ready=False), first[3], first[2]], **labels)),
    )
    after = slices.endpoints()
    assert [(found.host, found.ready) for found in after] == [
        ("10.0.0.0", True),
        ("10.0.0.1", False),
        ("10.0.0.3", True),
        ("10.0.0.2", True),
    ]
    assert after[0] is before[0]
    slices.apply("MODIFIED", build(make_slice("a", 3, first, **{"llm.on-eks/model": "other"})))
    assert {found.models for found in slices.endpoints()} == {("other",)}


def test_an_event_that_changes_states_only_tells_the_engines_that_changed() -> None:
    labels = {"llm.on-eks/model": "tiny"}
    all_ready = [endpoint(f"10.0.0.{number}", ready=True) for number in range(4)]
    slices = SliceSet()
    slices.replace([build(make_slice("a", 1, all_ready, **labels)), build(make_slice("b", 1, [], **labels))])
    assert slices.changed("a") is None  # nobody has looked yet
    slices.endpoints()

    def after(version: int, addresses: list, **other: str) -> list[tuple[str, bool]] | None:
        assert slices.apply("MODIFIED", build(make_slice("a", version, addresses, **(labels | other))))
        found = slices.changed("a")
        return None if found is None else [(each.host, each.ready) for each in found]

    one_less = [*all_ready[:2], endpoint("10.0.0.2", ready=False), all_ready[3]]
    assert after(2, one_less) == [("10.0.0.2", False)]
    assert after(3, one_less) == []
    assert after(4, all_ready) == [("10.0.0.2", True)]
    assert after(5, all_ready[:3]) is None  # one is gone
    assert after(6, all_ready) is None  # and back
    assert after(7, [all_ready[1], all_ready[0], *all_ready[2:]]) is None  # two have changed places
    assert after(8, all_ready, **{"llm.on-eks/model": "other"}) is None
    slices.apply("MODIFIED", build(make_slice("b", 9, all_ready[:1])))
    slices.endpoints()
    assert after(10, one_less) is None  # an address stands in two slices: which of them counts, all of them tell
    assert slices.apply("DELETED", build(make_slice("a", 11, [])))
    assert slices.changed("a") is None


def make_engine(said: Endpoint) -> Engine:
    return Engine(said.host, said.port)


def shown(registry: Registry) -> tuple:
    engines = {
        address: (engine.name, engine.serving, engine.weight, engine.models)
        for address, engine in registry.engines.items()
    }
    pools = {model: {engine.address for engine in pool.ready} for model, pool in registry.pools.items() if pool.engines}
    return engines, pools


@pytest.mark.parametrize("seed", range(20))
def test_a_registry_that_followed_many_changes_is_as_one_that_saw_the_last_only(seed: int) -> None:
    chance = random.Random(seed)

    def anything() -> Endpoint:
        # Few addresses, so that some are doubled.
        return Endpoint(
            f"10.0.0.{chance.randrange(6)}",
            80,
            models=(chance.choice("ab"),),
            ready=chance.random() < 0.5,
            weight=chance.choice((1.0, 2.0)),
        )

    followed = Registry(make_engine)
    said = [anything() for __ in range(5)]
    for __ in range(60):
        place = chance.randrange(len(said) + 1)
        match chance.randrange(4):
            case 0:
                said.insert(place, anything())
            case 1:
                del said[place : place + 1]
            case _ if said:
                place = chance.randrange(len(said))
                said[place] = replace(said[place], ready=not said[place].ready)
        followed.replace(said)
        fresh = Registry(make_engine)
        fresh.replace(said)
        assert shown(followed) == shown(fresh)


def test_nobody_is_told_of_a_change_while_an_engine_that_is_gone_still_counts() -> None:
    registry = Registry(make_engine)
    one, other = Endpoint("10.0.0.1", 80, models=("a",)), Endpoint("10.0.0.2", 80, models=("a",), ready=False)
    registry.replace([one, other])
    told: list[set[str]] = []
    registry.on_change.append(lambda __: told.append({engine.where.host for engine in registry.pools["a"].ready}))
    registry.replace([replace(other, ready=True)])
    assert told == [{"10.0.0.2"}]


@pytest.mark.parametrize("seed", range(20))
def test_following_events_comes_to_the_same_as_looking_at_all_slices(seed: int) -> None:
    chance = random.Random(seed)
    slices, followed = SliceSet(), Registry(make_engine)
    followed.replace(slices.endpoints())
    now: dict[str, dict] = {}
    in_place = 0
    for version in range(1, 80):
        name = chance.choice("abc")
        # Seldom in a slice that is not its own.
        addresses = [f"10.0.{name if chance.random() < 0.98 else 'a'}.{number}" for number in range(4)]
        known = now.get(name)
        if known is not None and chance.random() < 0.8:
            fresh = [dict(each) for each in known["endpoints"]]
            fresh[chance.randrange(4)]["conditions"] = {"ready": chance.random() < 0.5}
            now[name] = make_slice(name, version, fresh, **known["metadata"]["labels"])
        elif known is not None and chance.random() < 0.2:
            slices.apply("DELETED", build(now.pop(name)))
            followed.replace(slices.endpoints())
            continue
        else:
            now[name] = make_slice(
                name, version, [endpoint(each) for each in addresses], **{"llm.on-eks/model": chance.choice("xy")}
            )
        assert slices.apply("MODIFIED", build(now[name]))
        changed = slices.changed(name)
        if changed is None:
            followed.replace(slices.endpoints())
        else:
            in_place += 1
            followed.update(changed)
        truth, all_of_them = Registry(make_engine), SliceSet()
        all_of_them.replace([build(item) for item in now.values()])
        truth.replace(all_of_them.endpoints())
        assert shown(followed) == shown(truth)
    assert in_place > 10


@pytest.mark.parametrize("seed", range(20))
def test_a_pool_that_follows_one_engine_is_as_one_that_looks_at_all(seed: int) -> None:
    chance = random.Random(seed)
    pool, other = Pool("tiny"), Pool("tiny")
    pool.engines = [Engine(f"10.0.0.{number}", 80) for number in range(4)]
    other.engines = pool.engines
    pool.refresh()
    seen = set()
    for __ in range(300):
        engine = chance.choice(pool.engines)
        match chance.randrange(3):
            case 0:
                engine.serving = not engine.serving
                pool.turned(engine)
            case 1:
                engine.drained = not engine.drained
                pool.turned(engine)
            case _:
                engine.health = chance.choice(list(Health))
                pool.refresh()
        other.refresh()
        assert sorted(each.address for each in pool.ready) == sorted(each.address for each in other.ready)
        seen.add(len(pool.ready))
    assert len(seen) >= 4


def test_an_api_server_that_falls_silent_is_left(house: House) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n")
        await reader.read()
        writer.close()

    async def lines() -> list[bytes]:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        client = ApiClient(ApiServer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        found = []
        with pytest.raises(ApiServerError, match=r"silent for 0\.3 s"):
            async for line in client.lines("/", 0.3):
                found.append(line)
        server.close()
        return found

    began = time.monotonic()
    assert house.run(lines()) == [b"one\n"]
    assert 0.25 < time.monotonic() - began < 5


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux tells the timers of connections")
def test_a_watch_finds_out_when_nobody_knows_its_connection_any_more(house: House) -> None:
    """As when a mesh takes in the gateway's pod (istio/istio#48876): the kernel asks after 15 s of silence, not the watch after 150 s."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n")
        await reader.read()
        writer.close()

    async def timer() -> list[str]:
        """Kind and remaining time (in hundredths of a second, hexadecimal) of the timer of the client's end."""
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        lines = ApiClient(ApiServer(f"http://127.0.0.1:{port}")).lines("/", 30)
        await anext(lines)
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        [found] = [one[5] for one in table if one[2].endswith(f":{port:04X}") and one[3] == "01"]
        await lines.aclose()
        server.close()
        return found.split(":")

    kind, left = house.run(timer())
    assert kind == "02", "TCP keepalive"
    assert int(left, 16) <= 1500


def test_a_list_is_read_whole_and_no_faster_than_it_is_used(house: House) -> None:
    body = b"".join(b"%08d" % number for number in range(3 << 19))  # three times what is read ahead

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await reader.read()
        writer.close()

    async def read() -> tuple[bytes, int]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = ApiClient(ApiServer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        pieces = []
        async for piece in client.chunks("/", 5.0):
            pieces.append(piece)
            await asyncio.sleep(0.2 if len(pieces) == 1 else 0)
        server.close()
        return b"".join(pieces), max(map(len, pieces))

    found, largest = house.run(read())
    assert found == body
    assert largest < 2 * READ_AHEAD_BYTES


def test_requests_follow_the_slices(cluster: Cluster, house: House) -> None:
    one, other = house.engine(), house.engine()

    def put(engine) -> None:
        cluster.api.put("a", [endpoint("127.0.0.1", ready=True)], **{"llm.on-eks/model": "tiny"})
        cluster.api.slices["a"]["ports"] = [{"name": "http", "port": engine.port}]
        cluster.api.break_watches()

    house.call(put, one)
    front = cluster.front()
    house.until(lambda: bool(ready(front)))
    assert [front.chat().status for __ in range(3)] == [200] * 3
    house.call(put, other)
    house.until(lambda: ("127.0.0.1", other.port, "") in front.gateway.fleet.registry.engines)
    assert [front.chat().status for __ in range(3)] == [200] * 3
    assert (len(one.requests), len(other.requests)) == (3, 3)
