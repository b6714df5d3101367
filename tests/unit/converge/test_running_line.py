# SPDX-License-Identifier: Apache-2.0
"""What a run says while it waits: each node's own reason, a Job's last words, how far a file is."""

from __future__ import annotations

from types import SimpleNamespace

from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds import job
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.base import Outcome, Run, context_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects import diagnose
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.report import running_line
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import scheduler
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.graph import Vertex


class Waiting:
    """A node that waits for a target until the run has been looked at."""

    slow = False

    def __init__(self, name, target, reason, seen):
        self.name, self.target, self.reason, self.seen = name, target, reason, seen

    def run(self, context):
        context.waits.note("Service other/first", "another one, before")
        context.waits.note("Service other/first", "")
        context.waits.note(self.target, self.reason)
        assert self.seen(self.reason)
        return Outcome()


def test_each_node_says_its_own_reason_and_nothing_when_it_has_ended(monkeypatch):
    monkeypatch.setattr(scheduler, "_LOOK_S", 0.02)
    lines, context = [], context_of(Run(None, check=False))

    def seen(reason):
        return any(context.run.stop.wait(0.02) or [line for line in lines if reason in line] for __ in range(500))

    nodes = [
        Waiting("removal", "PersistentVolumeClaim llm-engines/models", "held by a pod", seen),
        Waiting("wait for Deployment kong/gateway", "Deployment kong/gateway", "0 of 1 ready", seen),
    ]
    vertices = [Vertex(index, f"c{index}", node) for index, node in enumerate(nodes)]
    done = scheduler.run(vertices, context, running=lambda now: lines.append(running_line(now)))
    assert [one.state for one in done] == ["ok", "ok"]
    said = "\n".join(lines)
    assert "c0 (removal, 0 s: PersistentVolumeClaim llm-engines/models: held by a pod)" in said
    assert "c1 (wait for Deployment kong/gateway, 0 s: 0 of 1 ready)" in said
    assert "another one" not in said
    assert context.waits.reason(0) == context.waits.reason(1) == ("", "")


def test_a_jobs_last_words_are_those_of_its_newest_pod(monkeypatch):
    def pod(name, when):
        metadata = {"name": name, "namespace": "n", "creationTimestamp": when}
        return {"metadata": metadata, "spec": {"containers": [{"name": "sync"}]}}

    logs = {"old": "model-store: the connection broke\n", "new": "45 %  2.1 GB of 4.7 GB  80 MB/s  33 s left\n\n"}
    client = SimpleNamespace(logs=lambda _namespace, name, _container, lines: logs[name])
    pods = [pod("new", "2026-01-02T00:00:00Z"), pod("old", "2026-01-01T00:00:00Z")]
    monkeypatch.setattr(diagnose, "pods_of", lambda _client, _job: pods)
    assert diagnose.last_words(client, {}) == "45 %  2.1 GB of 4.7 GB  80 MB/s  33 s left"
    logs["new"] = ""
    assert diagnose.last_words(client, {}) == "model-store: the connection broke"


def test_a_file_on_its_way_into_a_pod_says_how_far_it_is(tmp_path):
    file, noted = tmp_path / "model.gguf", []
    file.write_bytes(b"x" * 2_000_000)
    context = SimpleNamespace(
        waits=SimpleNamespace(note=lambda target, reason: noted.append((target, reason))),
        run=SimpleNamespace(api=lambda: SimpleNamespace(stream_files=stream)),
    )

    def stream(_namespace, _pod, _container, _files, progress):
        progress(2_000_000)

    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "sync"}]}}
    job._stream(context, pod, [file], "Job n/sync")
    ((target, said),) = noted
    assert target == "Job n/sync" and said.startswith("100 %  2 MB of 2 MB")
