# SPDX-License-Identifier: Apache-2.0
"""Every value that a role sets is one that its chart has: a typo in a chart's value is ignored by Helm without a word.
Every object that a role describes itself fits the schema of its kind, which a chart brings.

With the real charts, from a folder that LLM_ON_EKS_TEST_CHARTS names; nothing is started.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.documents import parse
from tests.support.described import REPO

MIRROR = Path(os.environ.get("LLM_ON_EKS_TEST_CHARTS", ""))
# Without charts nothing is read.
SNAPSHOTS = sorted(REPO.glob("roles/*/tests/*.yml")) if MIRROR.name else []
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Values that templates read although values.yaml does not list them. Each was seen to do its work in what was rendered.
UNLISTED = {
    "alloy": {"configReloader.resources.limits"},
    "base": {"base.validationFailurePolicy"},
    "cni": {"profile"},
    "headlamp": {"securityContext"},
    "ingress": {
        "controller.ingressController.env.anonymous_reports",
        "gateway.env.anonymous_reports",
        "gateway.env.nginx_http_log_format",
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
        for component in yaml.load(file.read_text(), _LOADER).get("descriptor", []):
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
            own = yaml.load(read, _LOADER) if read else {}
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


# --- objects of our own


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in SNAPSHOTS:
        for component in yaml.load(file.read_text(), _LOADER).get("descriptor", []):
            for found in component.get("manifests", []):
                group = found["apiVersion"].rpartition("/")[0]
                if "." in group and (not group.endswith(".k8s.io") or group.startswith("gateway.")):
                    yield f"{file.parent.parent.name}-{file.stem}-{found['kind']}-{found['metadata']['name']}", found


CUSTOM = dict(manifests())


@pytest.fixture(scope="module")
def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """(apiVersion, kind) → schema, of every CRD that a chart of the folder has."""
    texts = [file.read_text() for file in MIRROR.glob("*.yaml")]
    for file in MIRROR.glob("*.tgz"):
        with tarfile.open(file) as archive:
            members = [name for name in archive.getnames() if name.endswith((".yaml", ".yml"))]
            texts += [read.read().decode() for name in members if (read := archive.extractfile(name))]
    found = {}
    for text in texts:
        for part in re.split(r"(?m)^---\s*$", text) if "kind: CustomResourceDefinition" in text else []:
            # Templates of labels stand in some; they are no part of a schema.
            lines = "\n".join(line for line in part.splitlines() if "{{" not in line)
            try:
                documents = parse(lines)
            except Exception:
                # A template that is no YAML without its conditions.
                continue
            for one in documents:
                if one["kind"] == "CustomResourceDefinition":
                    for version in one["spec"]["versions"]:
                        key = (f"{one['spec']['group']}/{version['name']}", one["spec"]["names"]["kind"])
                        found[key] = _closed(version.get("schema", {}).get("openAPIV3Schema") or {})
    return found


def _closed(schema: Any) -> Any:
    """The schema as JSON Schema, in which a field that it does not name is wrong: the API server would drop it."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {key: _closed(value) for key, value in schema.items() if key != "format"}
    if made.get("x-kubernetes-int-or-string"):
        made = {key: value for key, value in made.items() if key not in ("type", "pattern", "anyOf")}
        made["type"] = ["integer", "string"]
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.get("nullable"):
        made["type"] = [made["type"], "null"]
    return made


@pytest.mark.parametrize("name", sorted(CUSTOM))
def test_every_object_that_a_role_describes_fits_its_kinds_schema(name, schemas):
    given = CUSTOM[name]
    schema = schemas.get((given["apiVersion"], given["kind"]))
    if schema is None:
        pytest.skip(f"no chart of {MIRROR} has {given['apiVersion']} {given['kind']}")
    schema = {**schema, "properties": {**schema["properties"], "apiVersion": {}, "kind": {}, "metadata": {}}}
    # What AWS will have made has an id of another form than the reference to it.
    wrong = [
        error for error in jsonschema.Draft7Validator(schema).iter_errors(given) if "${out:" not in str(error.instance)
    ]
    assert [f"{list(error.path)}: {error.message}" for error in wrong] == []
