# SPDX-License-Identifier: Apache-2.0
"""Several worker processes on one port: one limit, one set of metrics, and the death of one is its own."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from gateway_support.house import House
from gateway_support.process import Process

pytestmark = pytest.mark.programs


def engines(*found) -> list[str]:
    return [part for engine in found for part in ("--engine", engine.url)]


def test_limits_and_metrics_are_right_across_workers(house: House) -> None:
    engine = house.engine()
    with Process(house.folder, "--workers", "3", "--limit-requests-per-minute", "60", *engines(engine)) as front:
        statuses = [front.chat().status for __ in range(90)]
        assert (statuses.count(200), statuses.count(429)) == (60, 30)
        assert {front.metric('requests_total{model="tiny",status="200"') for __ in range(6)} == {60}
        assert front.stop() == 0


def test_a_client_that_asks_again_at_once_finds_its_place_free_at_any_worker(house: House) -> None:
    engine = house.engine()
    with Process(house.folder, "--workers", "3", "--limit-concurrency", "1", *engines(engine)) as front:
        assert [front.chat().status for __ in range(60)] == [200] * 60
        engine.mode = "status:400"
        assert [front.chat().status for __ in range(30)] == [400] * 30


def test_an_engines_ceiling_holds_over_all_workers_and_waiting_requests_get_their_turn(house: House) -> None:
    engine = house.engine(gap_s=0.01)
    flags = ["--workers", "3", "--engine-concurrency", "2", "--queue-size", "50", "--queue-timeout", "20"]
    with Process(house.folder, *flags, *engines(engine)) as front:
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(front.chat(max_tokens=3).status)) for __ in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 24
        assert engine.most_active == 2
        assert front.metric("requests_in_flight") == 0
        assert front.metric("queue_depth") == 0


def test_a_killed_worker_takes_only_its_own_requests_with_it(house: House) -> None:
    engine = house.engine(gap_s=0.01)
    with Process(house.folder, "--workers", "2", "--limit-concurrency", "100", *engines(engine)) as front:
        streams = [front.open_stream(max_tokens=200) for __ in range(12)]
        for stream in streams:
            assert stream.event().startswith("data: ")
        before = front.children()
        os.kill(before[0], signal.SIGKILL)
        whole = 0
        for stream in streams:
            try:
                whole += stream.events()[-1] == "data: [DONE]"
            except OSError:
                continue
            except Exception as error:  # an incomplete read, in http.client's words
                assert "IncompleteRead" in type(error).__name__
        assert 0 < whole < 12
        until = time.monotonic() + 10
        while len(front.children()) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert front.children() != before
        assert [front.chat().status for __ in range(10)] == [200] * 10
        assert front.stop() == 0


def test_stopping_under_load_cuts_no_stream_and_refuses_no_connected_client(house: House) -> None:
    engine = house.engine(gap_s=0.02)
    with Process(house.folder, "--workers", "2", *engines(engine)) as front:
        streams = [front.open_stream(max_tokens=40) for __ in range(20)]
        for stream in streams:
            assert stream.event()
        front.popen.send_signal(signal.SIGTERM)
        assert all(stream.events()[-1] == "data: [DONE]" for stream in streams)
        assert front.stop() == 0


def test_counters_never_go_back_when_a_worker_is_replaced(house: House) -> None:
    with Process(house.folder, "--workers", "2", *engines(house.engine())) as front:
        for __ in range(20):
            front.chat()
        assert front.metric("requests_total") == 20
        old = front.children()
        os.kill(old[1], signal.SIGKILL)
        until = time.monotonic() + 10
        while time.monotonic() < until and (len(front.children()) < 2 or front.children() == old):
            time.sleep(0.02)
        front.chat()
        assert front.metric("requests_total") >= 21


def test_a_port_that_is_taken_is_one_clear_sentence(house: House) -> None:
    import subprocess
    import sys

    from gateway_support.process import SOURCE

    with Process(house.folder, *engines(house.engine())) as front:
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "llm_gateway",
                "serve",
                "--anonymous",
                "--workers",
                "2",
                "--engine",
                "http://127.0.0.1:1",
                "--listen",
                f"127.0.0.1:{front.port}",
            ],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert result.returncode == 2
        assert result.stderr.startswith("llm-gateway: listen ")
        assert "Traceback" not in result.stderr
