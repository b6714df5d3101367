# SPDX-License-Identifier: Apache-2.0
"""What Prometheus scrapes, as files for its `file_sd_configs`: Debian's Prometheus is built without discovery in Kubernetes.

usage: targets.py FOLDER    in a pod whose account may list pods and nodes; FOLDER gets JOB.json for each job, renewed every `INTERVAL_S`

The targets and their labels are those of the PodMonitors of role prometheus.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

INTERVAL_S = 5
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ENGINE, MODEL = "llm.on-eks/engine", "llm.on-eks/model"
KUBELET_PORT = 10250
Document = dict[str, Any]


def gateways(pods: Sequence[Document]) -> Iterator[Document]:
    """The gateway's pods."""
    for pod in pods:
        if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "llm-gateway":
            yield from _pod(pod)


def engines(pods: Sequence[Document]) -> Iterator[Document]:
    """Pods of engines, with their model and the engine's kind."""
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        if ENGINE in labels:
            yield from _pod(pod, model=labels.get(MODEL, ""), engine=labels[ENGINE])


def opencosts(pods: Sequence[Document]) -> Iterator[Document]:
    """OpenCost's pods."""
    for pod in pods:
        if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "opencost":
            yield from _pod(pod)


def kubelets(nodes: Sequence[Document]) -> Iterator[Document]:
    """The kubelet of each node."""
    for node in nodes:
        addresses = {one["type"]: one["address"] for one in node["status"].get("addresses", [])}
        if "InternalIP" in addresses:
            name = node["metadata"]["name"]
            yield {"targets": [_place(addresses["InternalIP"], KUBELET_PORT)], "labels": {"node": name}}


def _pod(pod: Document, **labels: str) -> Iterator[Document]:
    """A target for each port named http of a pod that has an address and has not ended."""
    metadata, status = pod["metadata"], pod["status"]
    if not status.get("podIP") or status.get("phase") not in ("Running", "Pending"):
        return
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            if port.get("name") == "http":
                own = {"namespace": metadata["namespace"], "pod": metadata["name"], "container": container["name"]}
                yield {"targets": [_place(status["podIP"], port["containerPort"])], "labels": own | labels}


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def listed(path: str) -> list[Document]:
    """The items of a list of the Kubernetes API. Raises OSError or ValueError."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    # The token is read each time: it is renewed.
    headers = {"authorization": f"Bearer {(ACCOUNT / 'token').read_text(encoding='utf-8')}"}
    request = urllib.request.Request(f"https://{_place(host, int(port))}{path}", headers=headers)
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:  # noqa: S310 - the API server
        items: list[Document] = json.load(answer)["items"]
        return items


def write(file: Path, found: Sequence[Document]) -> None:
    """Replace the file if its content changes; a reader never sees a part of it."""
    text = json.dumps(found, sort_keys=True, indent=1)
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    staging = file.with_suffix(".new")
    staging.write_text(text, encoding="utf-8")
    staging.replace(file)


def renew(folder: Path) -> None:
    """Write all files. Raises OSError or ValueError."""
    write(folder / "llm-gateway.json", list(gateways(listed("/api/v1/namespaces/llm-gateway/pods"))))
    write(folder / "llm-engines.json", list(engines(listed("/api/v1/namespaces/llm-engines/pods"))))
    write(folder / "opencost.json", list(opencosts(listed("/api/v1/namespaces/opencost/pods"))))
    write(folder / "kubelet.json", list(kubelets(listed("/api/v1/nodes"))))


if __name__ == "__main__":
    while True:
        try:
            renew(Path(sys.argv[1]))
        except (OSError, ValueError) as error:
            print(f"targets: {error}; Prometheus goes on with what it has", file=sys.stderr, flush=True)
        time.sleep(INTERVAL_S)
