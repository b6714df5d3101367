# SPDX-License-Identifier: Apache-2.0
"""A new cluster's API: its name is not in DNS at once, its route takes a moment, and it may not know our access entry yet."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds import connect
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.base import NodeError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.errors import ConnectionError

PLACE = SimpleNamespace(endpoint="https://new.example", certificate_authority="PEM")


def context(said):
    cloud = SimpleNamespace(
        cluster="demo", client_at=lambda *__: "client", connection=SimpleNamespace(identity=SimpleNamespace(arn="me"))
    )
    run = SimpleNamespace(
        client=None, check=False, cloud=lambda: cloud, stop=threading.Event(), enter=lambda client: None
    )
    run.stop.wait = lambda seconds: False
    waits = SimpleNamespace(note=lambda name, text: said.append(text))
    return SimpleNamespace(run=run, waits=waits, outputs=SimpleNamespace(resolve=list))


def answering(monkeypatch, answers):
    """`admitted` gives these one after the other; the clock goes on by ten seconds at each look."""
    given = iter(answers)

    def admitted(client):
        answer = next(given)
        if answer is None:
            raise ConnectionError("https://new.example: Name or service not known")
        return answer

    clock = itertools.count(step=10)
    monkeypatch.setattr(connect, "admitted", admitted)
    monkeypatch.setattr(connect.time, "monotonic", lambda: next(clock))


def test_an_endpoint_that_is_not_in_dns_yet_is_waited_for(monkeypatch):
    said: list[str] = []
    answering(monkeypatch, [None, None, False, True])
    here = context(said)
    connect.ConnectNode("cluster", PLACE).run(here)
    assert here.run.client == "client"
    assert said[:3] == ["its endpoint cannot be reached yet"] * 2 + ["our access entry is not known there yet"]


def test_an_endpoint_that_is_never_reached_is_an_error_in_the_end(monkeypatch):
    answering(monkeypatch, itertools.repeat(None))
    with pytest.raises(ConnectionError, match="Name or service not known"):
        connect.ConnectNode("cluster", PLACE).run(context([]))


def test_an_api_that_never_lets_us_in_is_an_error_that_names_who_asks(monkeypatch):
    answering(monkeypatch, itertools.repeat(False))
    with pytest.raises(NodeError, match="does not let me in"):
        connect.ConnectNode("cluster", PLACE).run(context([]))
