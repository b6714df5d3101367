# SPDX-License-Identifier: Apache-2.0
"""Every value that a role sets is one that its chart has: a typo in a chart's value is ignored by Helm without a word.

With the real charts, from a folder that LLM_ON_EKS_TEST_CHARTS names; nothing is started.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.described import REPO

MIRROR = Path(os.environ.get("LLM_ON_EKS_TEST_CHARTS", ""))
SNAPSHOTS = sorted(REPO.glob("roles/*/tests/*.yml"))
# Values that templates read although values.yaml does not list them. Each was seen to do its work in what was rendered.
UNLISTED = {
    "alloy": {"configReloader.resources.limits"},
    "base": {"base.validationFailurePolicy"},
    "cni": {"profile"},
    "headlamp": {"securityContext"},
    "ingress": {
        "controller.ingressController.env.anonymous_reports",
        "gateway.env.anonymous_reports",
        "gateway.env.nginx_http_client_body_buffer_size",
        "gateway.env.nginx_http_client_max_body_size",
        "gateway.podDisruptionBudget.maxUnavailable",
        "gateway.proxy.tls.overrideServiceTargetPort",
    },
    "istiod": {"base.validationFailurePolicy", "meshConfig", "profile", "resources.limits"},
    "kiali-server": {
        "deployment.ingress.enabled",
        "external_services.grafana",
        "external_services.prometheus.url",
        "external_services.tracing",
    },
    "kube-prometheus-stack": {
        "grafana.fullnameOverride",
        "grafana.grafana.ini",
        "grafana.persistence.storageClassName",
    },
    "loki": {"loki.limits_config", "loki.storage.bucketNames"},
    "neuron-helm-chart": {"devicePlugin.enabled"},
    "ztunnel": {"resources.limits"},
}
pytestmark = pytest.mark.skipif(not MIRROR.name, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts")


def releases() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in SNAPSHOTS:
        for component in yaml.safe_load(file.read_text()).get("descriptor", []):
            for release in component.get("releases", []):
                if release.get("values"):
                    yield f"{file.parent.parent.name}-{file.stem}-{release['name']}", release


RELEASES = dict(releases())


def defaults(chart: Mapping[str, Any]) -> dict[str, Any] | None:
    """The chart's values, with those of its subcharts below their names; None where the folder has no such chart."""
    file = MIRROR / f"{chart['name']}-{chart['version']}.tgz"
    if not file.is_file():
        return None
    with tarfile.open(file) as archive:
        found: dict[str, Any] = {}
        for member in sorted(archive.getnames(), key=lambda name: -name.count("/")):
            parts = member.split("/")
            if parts[-1] != "values.yaml":
                continue
            at = parts[2:-1:2]
            if parts[1:-1:2] != ["charts"] * len(at):
                continue
            read = archive.extractfile(member)
            own = yaml.load(read, yaml.CSafeLoader) if read else {}
            place = found
            for name in at:
                place = place.setdefault(name, {})
            place.update(merge(place, own or {}))
        chart = archive.extractfile(f"{archive.getnames()[0].split('/')[0]}/Chart.yaml")
        dependencies = (yaml.safe_load(chart) if chart else {}).get("dependencies") or []
    for one in dependencies:
        if one.get("alias"):
            found[one["alias"]] = merge(found.get(one["name"], {}), found.get(one["alias"], {}))
    return merge(found.pop("_internal_defaults_do_not_set", {}), found)


def merge(one: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(one)
    for key, value in over.items():
        there = found.get(key)
        found[key] = merge(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return found


def unknown(values: Mapping[str, Any], known: Mapping[str, Any], unlisted: set[str], at: str = "") -> Iterator[str]:
    """Paths of values that the chart does not have. What is an empty mapping, or none, in the chart may be anything."""
    for key, value in values.items():
        path = f"{at}.{key}".lstrip(".")
        if path in unlisted:
            continue
        if key not in known:
            yield path
        elif isinstance(value, Mapping) and isinstance(known[key], Mapping) and known[key]:
            yield from unknown(value, known[key], unlisted, path)


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_every_value_that_a_role_sets_is_one_of_its_charts(name):
    release = RELEASES[name]
    known = defaults(release["chart"])
    if known is None:
        pytest.skip(f"{MIRROR} has no {release['chart']['name']} {release['chart']['version']}")
    assert list(unknown(release["values"], known, UNLISTED.get(release["chart"]["name"], set()))) == []
