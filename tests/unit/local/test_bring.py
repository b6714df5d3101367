# SPDX-License-Identifier: Apache-2.0
"""What a cluster consists of is obtained in parallel, and reported in one line."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from local.kubernetes import bring as bringing
from local.kubernetes.config import ClusterConfig
from local.kubernetes.errors import LocalClusterError
from local.kubernetes.programs import NODE_TOOLS, _coredns
from tools import obtain
from tools.progress import GivenUp, Progress

REPO = Path(__file__).resolve().parents[3]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_line_says_how_far_what_and_how_long():
    said, clock = [], Clock()
    progress = Progress({"a": 60, "b": 540, "c": 120}, said.append, processors=2, clock=clock)
    with progress.step("a"), progress.step("b"):
        clock.now = 50
    with progress.step("c"):
        pass
    assert said == [
        "1 of 3 · a · about 7 min left",
        "1 of 3 · a, b · about 7 min left",
        "3 of 3 · c · less than a minute left",
    ]


def test_what_is_left_follows_the_pace_seen():
    said, clock = [], Clock()
    progress = Progress({"a": 100, "b": 300}, said.append, processors=2, clock=clock)
    with progress.step("a"):
        clock.now = 200  # four times as long as thought
    with progress.step("b"):
        pass
    assert said[-1] == "2 of 2 · b · about 10 min left"


def test_steps_of_no_account_say_nothing():
    said = []
    with Progress({}, said.append).step("what is there already"):
        pass
    assert said == []


def test_both_lanes_run_at_once(tmp_path, monkeypatch):
    meeting = threading.Barrier(2, timeout=20)
    monkeypatch.setattr(bringing.debian, "missing", lambda packages: ["p"])
    monkeypatch.setattr(bringing.debian, "install_missing", lambda *__: meeting.wait())
    monkeypatch.setattr(obtain, "costs", lambda *__: {"etcd": 1})
    once = iter([None])

    def obtained(*__):
        if next(once, "again") is None:
            meeting.wait()
        return {}

    monkeypatch.setattr(obtain, "obtain", obtained)
    assert bringing.bring(["etcd"], {"x": "p"}, [], tmp_path, lambda text: None) == bringing.Brought(True, {}, {})


def test_a_lane_that_fails_ends_the_other_after_its_step_and_says_why(tmp_path, monkeypatch):
    failed, begun = threading.Event(), []

    def install(*__):
        failed.set()
        raise bringing.debian.PackageError("no package p")

    def obtained(tools, cache, progress):
        failed.wait(20)
        while not progress._given_up:
            pass
        with progress.step("etcd"):
            begun.append("etcd")

    monkeypatch.setattr(obtain, "obtain", obtained)
    monkeypatch.setattr(obtain, "costs", lambda *__: {"etcd": 1})
    monkeypatch.setattr(bringing.debian, "missing", lambda packages: ["p"])
    monkeypatch.setattr(bringing.debian, "install_missing", install)
    with pytest.raises(LocalClusterError, match="no package p"):
        bringing.bring(["etcd"], {"x": "p"}, [], tmp_path, lambda text: None)
    assert begun == []


def test_nothing_begins_after_giving_up():
    progress = Progress({"a": 1}, lambda text: None)
    progress.give_up()
    with pytest.raises(GivenUp), progress.step("a"):
        pass


def test_what_is_there_costs_nothing(tmp_path):
    for tool in obtain.named(NODE_TOOLS):
        file = obtain.cached_path(tool, tmp_path)
        file.parent.mkdir(parents=True)
        file.touch()
    assert obtain.costs(obtain.named(NODE_TOOLS), tmp_path) == {}


def test_our_coredns_has_each_plugin_that_our_corefile_names(tmp_path):
    config = ClusterConfig("dns", state_root=tmp_path)
    (config.state / "pki").mkdir(parents=True)
    for name in ("ca.crt", "coredns.crt", "coredns.key"):
        (config.state / "pki" / name).touch()
    corefile = next(
        text for path, text in _coredns(config, {"coredns": Path("coredns")}).files.items() if path.name == "Corefile"
    )
    named = {line.split()[0] for line in corefile.splitlines()[1:-1] if line.startswith("    ") and line[4] not in " }"}
    source = (REPO / "tools" / "kubernetes" / "coredns" / "main.go").read_text()
    listed = json.loads("[" + source.split("[]string{")[1].split("}")[0] + "]")
    assert named == set(listed)
    assert all(f'coredns/plugin/{name}"' in source for name in named)
