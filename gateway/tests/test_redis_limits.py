# SPDX-License-Identifier: Apache-2.0
"""Limits over several gateways, in a real Redis; and what happens when it goes away."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_support.house import House
from gateway_support.process import free_port

SERVER = shutil.which("redis-server") or shutil.which("valkey-server")
pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(SERVER is None, reason="needs Debian's redis-server (or valkey-server)"),
]


class Server:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self.popen = subprocess.Popen(
            [SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
        )
        import redis

        self.client = redis.Redis(port=self.port)
        until = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        self.client.close()
        self.popen.terminate()
        self.popen.wait(10)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def test_two_gateways_share_one_count_of_requests(house: House, redis_server: Server) -> None:
    engine = house.engine()
    fronts = [house.front(engine, redis_url=redis_server.url, limit_requests_per_minute=20) for __ in range(2)]
    statuses: list[int] = []

    def ask(front) -> None:
        for __ in range(15):
            statuses.append(front.chat().status)

    threads = [threading.Thread(target=ask, args=(front,)) for front in fronts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(429)) == (20, 10)
    refused = fronts[0].chat()
    assert refused.code == "rate_limit_exceeded"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < int(refused.headers["retry-after"]) <= 60


def test_tokens_are_reserved_for_all_gateways_and_settled(house: House, redis_server: Server) -> None:
    engine = house.engine(gap_s=0.02)
    one, other = [house.front(engine, redis_url=redis_server.url, limit_tokens_per_minute=1000) for __ in range(2)]
    stream = one.open_stream(max_tokens=900)
    assert stream.event()
    assert other.chat(max_tokens=200).code == "rate_limit_exceeded"
    stream.close()
    house.until(lambda: float(redis_server.client.hget("llm-gateway:key:key-1", "t:c")) < 300)
    assert other.chat(max_tokens=20).status == 200


def test_requests_at_once_are_counted_over_gateways_and_given_back(house: House, redis_server: Server) -> None:
    engine = house.engine(mode="hang")
    one, other = [house.front(engine, redis_url=redis_server.url, limit_concurrency=1) for __ in range(2)]
    held = one.open_stream()
    house.wait(engine.seen)
    assert other.chat().code == "concurrency_limit_exceeded"
    held.close()
    house.until(lambda: redis_server.client.zcard("llm-gateway:key:key-1:now") == 0)
    engine.mode = "ok"
    assert other.chat().status == 200


def test_a_budget_is_one_for_all(house: House, redis_server: Server) -> None:
    engine = house.engine()
    fronts = [house.front(engine, redis_url=redis_server.url, limit_budget_tokens=50) for __ in range(2)]
    replies = [fronts[number % 2].chat(max_tokens=10) for number in range(6)]
    assert replies[0].status == replies[1].status == 200
    assert replies[-1].code == "insufficient_quota"


def test_without_redis_each_gateway_allows_its_share(house: House, redis_server: Server) -> None:
    front = house.front(house.engine(), redis_url=redis_server.url, limit_requests_per_minute=8, limit_replicas=2)
    assert front.chat().status == 200
    redis_server.popen.terminate()
    redis_server.popen.wait(10)
    assert [front.chat().status for __ in range(6)] == [200] * 4 + [429] * 2
    assert front.metric("limits_degraded_total") == 6
