# SPDX-License-Identifier: Apache-2.0
"""Jaeger itself takes what role jaeger writes for it, and keeps spans as the role says."""

from __future__ import annotations

import shutil
import subprocess
import time
from functools import partial

import pytest

from tests.support import jaeger
from tests.support.waiting import until

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(jaeger.missing()), reason=f"made by: {jaeger.missing()}"),
]
SNAPSHOTS = ["default", "trial", "volume"]
# What a user may give as jaeger_storage, where nothing is reached.
STORES = {
    "elasticsearch": {
        "server_urls": ["https://search.example:9200"],
        "auth": {"basic": {"username": "a", "password": "${env:PASSWORD}"}},
    },
    "opensearch": {"server_urls": ["https://search.example:9200"]},
    "grpc": {"endpoint": "store.example:17271"},
    "memory": {"max_traces": 10},
}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def with_store(store):
    config = jaeger.snapshot("trial")
    config["extensions"]["jaeger_storage"]["backends"]["traces"] = store
    return config


def spans(trace=TRACE, span=SPAN, name="asked"):
    now = time.time_ns()
    one = {
        "traceId": trace,
        "spanId": span,
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 1000),
        "status": {"code": 2},
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "client"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "test"}, "spans": [one]}]}]}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_the_program_takes_the_roles_configuration(name, tmp_path):
    assert jaeger.refusal(jaeger.snapshot(name), tmp_path) == ""


@pytest.mark.parametrize("store", STORES)
def test_the_program_takes_the_other_stores_that_the_role_lets_through(store, tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD", "secret")
    assert jaeger.refusal(with_store({store: STORES[store]}), tmp_path) == ""


@pytest.mark.parametrize(
    "store",
    [{"elastic": {"server_urls": ["https://x:1"]}}, {"badger": {"ephemeral": False, "ttl": {"spans": "7d"}}}, {}],
    ids=["name", "days", "none"],
)
def test_the_program_refuses_what_the_role_refuses(store, tmp_path):
    assert jaeger.refusal(with_store(store), tmp_path)


def test_traces_on_a_volume_outlive_the_program(tmp_path):
    config = jaeger.snapshot("volume")
    files = config["extensions"]["jaeger_storage"]["backends"]["traces"]["badger"]["directories"]
    files |= {name: path.replace("/var/lib/jaeger", str(tmp_path)) for name, path in files.items()}
    with jaeger.started(config, tmp_path) as made:
        made.send(spans())
        until(lambda: made.trace(TRACE))
    with jaeger.started(config, tmp_path) as made:
        assert made.trace(TRACE)[SPAN].name == "asked"
        assert made.traces("client", error="true") == {TRACE}


def test_as_many_traces_are_kept_in_memory_as_was_said_and_the_latest_stay(tmp_path):
    traces = [f"{number:032x}" for number in range(1, 6)]
    with jaeger.started(with_store({"memory": {"max_traces": 3}}), tmp_path) as made:
        for trace in traces:
            made.send(spans(trace))
            until(partial(made.trace, trace))
        assert [bool(made.trace(trace)) for trace in traces] == [False, False, True, True, True]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl, which speaks HTTP/2, is missing")
def test_kialis_first_question_is_answered_on_the_port_that_role_kiali_names(tmp_path):
    """GetServices of jaeger.api_v2, as a gRPC message: no compression, no bytes."""
    question = tmp_path / "question"
    question.write_bytes(bytes(5))
    with jaeger.started(jaeger.snapshot("trial"), tmp_path) as made:
        made.send(spans())
        until(lambda: made.trace(TRACE))
        asked = ["curl", "-s", "--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H", "te: trailers"]
        asked += ["--data-binary", f"@{question}", f"http://{made.grpc}/jaeger.api_v2.QueryService/GetServices"]
        said = subprocess.run(asked, capture_output=True, timeout=20, check=True).stdout
    # Field 1, a text of six bytes.
    assert said[5:] == b"\x0a\x06client"
