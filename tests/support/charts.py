# SPDX-License-Identifier: Apache-2.0
"""What tests of charts share: descriptors, plain Helm as a user runs it, and everything a release made, comparable."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import time
from pathlib import Path

from ansible_collections.llm.on_eks.plugins.module_utils.names import LABEL_RECORD
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import binary, render, source
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.documents import key_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.generated import unknown
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.remove import deletable
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import ApiError
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.compare import mask

CHARTS = Path(__file__).resolve().parents[1] / "fixtures" / "charts"
_SERVERS = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
_BUILT_IN = (("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default"))
_ALLOCATED = ("clusterIP", "clusterIPs", "healthCheckNodePort")
_OF_CONTROLLERS = (
    "Event",
    "EndpointSlice",
    "Endpoints",
    "Lease",
    "ControllerRevision",
    "ReplicaSet",
    "Pod",
    "Namespace",
    "IPAddress",
)


def chart_component(name, chart, values=None, *, state="present", namespace="", **release):
    """A component with one release of a fixture chart (or of a path), of the component's name."""
    path = CHARTS / chart if isinstance(chart, str) else chart
    kind = "path" if path.is_dir() else "archive"
    made = {"name": name, "chart": {kind: str(path)}, "values": values or {}, "timeout": 60, **release}
    home = {"name": namespace or name, "pod_security": "privileged"}
    return {"name": name, "state": state, "namespace": home, "releases": [made]}


def helm(kubeconfig, *arguments, values=None, check=True):
    """Plain Helm, as a user has it."""
    done = subprocess.run(
        [binary.find(ChartOptions()), *arguments, *(["--values", "-"] if values is not None else [])],
        input=json.dumps(values) if values is not None else None,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KUBECONFIG": str(kubeconfig), "TMPDIR": "/tmp"},
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout


def uids(client):
    """Of every object in the cluster: what was there before. A young control plane is given time to make what it makes."""
    client.forget_resources()
    kinds = [resource for resource in deletable(client.resources().values()) if resource.kind not in _OF_CONTROLLERS]
    before = None
    while True:
        found = {document["metadata"]["uid"] for resource in kinds for document in _listed(client, resource)}
        if found == before:
            return found
        before = found
        time.sleep(2)


def new_since(client, before):
    """`Kind NAMESPACE/NAME` of what is there and was not, once nothing more comes or goes."""
    new = uids(client) - before
    kinds = deletable(client.resources().values()) if new else []
    found = [document for resource in kinds for document in _listed(client, resource)]
    return sorted({key_of(document) for document in found if document["metadata"]["uid"] in new})


def snapshot(client, before):
    """Every object that is new since `before`; key -> object, without whose it is."""
    client.forget_resources()
    found = {}
    for resource in deletable(client.resources().values()):
        if resource.kind in _OF_CONTROLLERS:
            continue
        for document in _listed(client, resource):
            metadata = document["metadata"]
            owned = any(owner.get("controller") for owner in metadata.get("ownerReferences") or [])
            record = LABEL_RECORD in (metadata.get("labels") or {})
            helms = document.get("type") == "helm.sh/release.v1"
            builtin = (resource.kind, metadata["name"]) in _BUILT_IN
            if not (owned or helms or record or builtin or metadata["uid"] in before):
                found[key_of(document)] = comparable(document)
    return found


def comparable(document):
    made = copy.deepcopy(document)
    made.pop("status", None)
    metadata = made["metadata"]
    for key in _SERVERS:
        metadata.pop(key, None)
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    metadata["labels"] = {
        key: value
        for key, value in labels.items()
        if key not in ("app.kubernetes.io/managed-by", "llm.on-eks/component")
    }
    metadata["annotations"] = {key: value for key, value in annotations.items() if not key.startswith("meta.helm.sh/")}
    spec = made.get("spec")
    if made["kind"] == "Service":
        for key in _ALLOCATED:
            spec.pop(key, None)
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)
    if made["kind"] == "Job":
        # The controller's own labels name the Job's uid; a Job without labels is given its pods'.
        metadata["labels"] = {}
        made["spec"].pop("selector", None)
        made["spec"]["template"]["metadata"].pop("labels", None)
    return made


def without_generated(found, chart, name, namespace, values, client):
    """A snapshot in which what the chart makes up reads the same everywhere."""
    path = CHARTS / chart if isinstance(chart, str) else chart
    chart_file = source.obtain(_chart(path), ChartOptions())
    request = render.Request(chart_file, name, namespace, values)
    made = render.render(request, ChartOptions(), render.Cluster(client))
    blank = {}
    for key, document in found.items():
        # Keys of made-up fields name the release's namespace for what stands outside of namespaces, too.
        group, kind, place, own = key.split("/")
        fields = [item for item in made.generated if item.object == f"{group}/{kind}/{place or namespace}/{own}"]
        blank[key] = mask(unknown(document, fields, "(made up)"))
    return blank


def _chart(path):
    from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import Chart

    return Chart(path=str(path)) if path.is_dir() else Chart(archive=str(path))


def _listed(client, resource):
    try:
        return client.list(resource)
    except ApiError as error:
        if error.status in (404, 405, 503):
            return []
        raise
