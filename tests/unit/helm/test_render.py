# SPDX-License-Identifier: Apache-2.0
"""Rendering: whole, kept by its inputs, without secrets where others could read them, and clear when it fails."""

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import Chart
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import binary, render, source
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.documents import split
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.errors import ChartError
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions
from tests.support.charts import CHARTS

pytestmark = pytest.mark.programs

CANARY = "canary-7f3a9c"


@pytest.fixture
def options(tmp_path):
    return ChartOptions(cache=tmp_path, helm=binary.find(ChartOptions()))


@pytest.fixture
def ran(monkeypatch):
    """An entry for each run of a program."""
    runs = []
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **more: runs.append(1) or real(*arguments, **more))  # pylint: disable=subprocess-run-check
    return runs


def request_of(chart, **values):
    return render.Request(source.obtain(Chart(path=str(CHARTS / chart)), ChartOptions()), "rel", "ns", values)


def rendered(options, chart, **values):
    return render.render(request_of(chart, **values), options, render.Cluster())


def test_a_chart_is_split_into_definitions_objects_and_hooks(options):
    definitions, objects, hooks = split(rendered(options, "hooks").documents)
    assert not definitions
    assert [document["metadata"]["name"] for document in objects] == ["rel"]
    assert [hook.weight for hook in hooks] == sorted(hook.weight for hook in hooks)
    assert {event for hook in hooks for event in hook.events} > {"pre-install", "test", "post-delete"}


def test_definitions_come_from_both_places(options):
    definitions, __, __ = split(rendered(options, "definitions").documents)
    assert {document["spec"]["names"]["kind"] for document in definitions} == {"Widget", "Gadget", "Gizmo"}


def test_a_charts_own_definitions_count_as_served(options):
    __, objects, __ = split(rendered(options, "definitions", careful=True).documents)
    assert "Widget" in {document["kind"] for document in objects}


def test_lists_are_taken_apart_and_text_stays_text(options):
    documents = {document["metadata"]["name"]: document for document in rendered(options, "web").documents}
    assert documents["rel-facts"]["data"]["time"] == "12:30:45"
    assert documents["rel-facts"]["data"]["date"] == "2026-01-02"
    assert documents["rel-facts"]["data"]["mode"] == "0644"
    assert documents["rel-side"]["data"]["word"] == "from the parent"


def test_what_a_chart_makes_up_is_found(options):
    made = rendered(options, "secrets")
    assert {".".join(map(str, item.path)) for item in made.generated} == {
        "data.password",
        "data.key",
        "data.ca.crt",
        "data.tls.crt",
        "data.tls.key",
        "webhooks.0.clientConfig.caBundle",
        "spec.template.metadata.annotations.checksum/key",
    }


def test_a_second_rendering_runs_no_helm(options, monkeypatch):
    first = rendered(options, "web")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **more: pytest.fail("helm ran"))
    assert rendered(options, "web") == first


def test_an_upgrade_is_another_rendering_only_where_the_chart_or_its_values_ask(options, ran):
    def upgraded(chart, **values):
        return render.render(replace(request_of(chart, **values), upgrade=True), options, render.Cluster())

    assert upgraded("hooks") != rendered(options, "hooks")
    asking = {"note": "{{ .Release.IsUpgrade }}"}
    rendered(options, "web", **asking)
    rendered(options, "web")
    ran.clear()
    upgraded("web")
    assert not ran
    upgraded("web", **asking)
    assert ran


def asking(options, folder, template):
    """A chart that makes something where a cluster serves what it asks for."""
    (folder / "asks" / "templates").mkdir(parents=True)
    (folder / "asks" / "Chart.yaml").write_text("apiVersion: v2\nname: asks\nversion: 1.0.0\n")
    made = "{apiVersion: v1, kind: ConfigMap, metadata: {name: asked}}\n{{- end }}\n"
    (folder / "asks" / "templates" / "a.yaml").write_text(f"{template}\n{made}")
    chart = source.obtain(Chart(path=str(folder / "asks")), options)
    request = render.Request(chart, "rel", "ns", {"group": "asked.example.com"})
    return lambda *kinds: render.render(request, options, render.Cluster(planned=kinds)).documents


def test_what_a_cluster_serves_is_another_rendering_only_where_the_chart_asks(options, tmp_path, ran):
    served = asking(options, tmp_path, '{{- if .Capabilities.APIVersions.Has "asked.example.com/v1" }}')
    assert not served()
    ran.clear()
    assert not served("things.example.com/v1/Thing")
    assert not ran
    assert served("asked.example.com/v1/Thing")


def test_a_chart_that_asks_for_what_it_computes_is_rendered_for_each_cluster(options, tmp_path):
    template = '{{- $all := .Capabilities.APIVersions }}{{- if $all.Has (printf "%s/v1" .Values.group) }}'
    served = asking(options, tmp_path, template)
    assert not served()
    assert served("asked.example.com/v1/Thing")


def test_other_values_are_another_rendering(options):
    assert rendered(options, "web", replicas=2) != rendered(options, "web")


def test_a_generated_value_is_in_no_cache(options):
    made = rendered(options, "secrets")
    key = next(document for document in made.documents if document["metadata"]["name"] == "rel-key")["data"]["key"]
    kept = rendered(options, "secrets")
    assert kept.blank
    assert all(key not in file.read_text() for file in options.renderings.iterdir())
    fresh = render.render(request_of("secrets"), options, render.Cluster(), fresh=True)
    other = next(document for document in fresh.documents if document["metadata"]["name"] == "rel-key")["data"]["key"]
    assert other not in (None, key)


def test_values_are_in_no_argument_and_in_no_file_that_others_may_read(options, monkeypatch):
    seen = []
    real = subprocess.run

    def spy(arguments, **more):
        seen.append((arguments, more.get("env")))
        return real(arguments, **more)  # pylint: disable=subprocess-run-check

    monkeypatch.setattr(subprocess, "run", spy)
    rendered(options, "web", greeting=CANARY)
    assert seen
    assert CANARY not in repr(seen)
    for folder, __, files in os.walk(options.cache):
        for file in files:
            path = Path(folder) / file
            if CANARY in path.read_text(errors="replace"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(options.renderings.stat().st_mode) == 0o700


def test_a_killed_helm_is_told_as_such(options, tmp_path):
    killed = tmp_path / "helm"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n")
    killed.chmod(0o755)
    with pytest.raises(ChartError, match=r"release rel \(chart web 1\.0\.0\): Helm was killed \(SIGKILL\).*run again"):
        rendered(ChartOptions(cache=tmp_path / "c", helm=str(killed)), "web")


def test_a_template_that_fails_is_named(options, tmp_path):
    (tmp_path / "bad" / "templates").mkdir(parents=True)
    (tmp_path / "bad" / "Chart.yaml").write_text("apiVersion: v2\nname: bad\nversion: 1.0.0\n")
    (tmp_path / "bad" / "templates" / "a.yaml").write_text('{{ required "say who" .Values.who }}\n')
    chart = source.obtain(Chart(path=str(tmp_path / "bad")), options)
    with pytest.raises(ChartError, match="say who"):
        render.render(render.Request(chart, "rel", "ns", {}), options, render.Cluster())


def test_helm_three_is_refused(tmp_path, monkeypatch):
    old = tmp_path / "helm"
    old.write_text("#!/bin/sh\necho v3.19.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ChartError, match=r"is Helm v3\.19\.0, charts are rendered by Helm 4"):
        binary.find(ChartOptions(cache=tmp_path / "empty"))


def test_plain_manifests_are_rendered_as_they_stand(options, tmp_path):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {text: '{{ braces }}'}\n"
    (tmp_path / "install.yaml").write_text(text)
    chart = source.obtain(Chart(manifests=str(tmp_path / "install.yaml"), name="plain", version="1.0.0"), options)
    documents = render.render(render.Request(chart, "rel", "ns"), options, render.Cluster()).documents
    assert [document["data"] for document in documents] == [{"text": "{{ braces }}"}]
