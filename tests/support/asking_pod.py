# SPDX-License-Identifier: Apache-2.0
"""Pods of the local cluster that ask, and that answer: who reaches whom."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.local_platform import LocalPlatform

GATEWAY = ("llm-gateway", "deployment/llm-gateway", "/opt/gateway/bin/python")
# Says the status of a URL, or the name of what went wrong.
ASK = """
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[2])).status)
except Exception as error:
    print(type(error).__name__, getattr(error, 'code', ''))
"""
SERVE = """
import http.server, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('content-length', '0'); self.end_headers()
for port in sys.argv[1:]:
    threading.Thread(target=http.server.ThreadingHTTPServer(('', int(port)), Handler).serve_forever, daemon=True).start()
time.sleep(3600)
"""


@dataclass(frozen=True)
class Asker:
    """A pod with a Python, by which it asks. `what`: pod or deployment, as kubectl names it."""

    platform: LocalPlatform
    space: str
    what: str
    python: str
    address: str = ""

    def ask(self, url: str, timeout_s: float = 10) -> str:
        """The status, or what went wrong."""
        command = ("-n", self.space, "exec", self.what, "--", self.python, "-c", ASK, url, str(timeout_s))
        return self.platform.kubectl(*command).strip()


@contextmanager
def asking_pod(
    platform: LocalPlatform, space: str, labels: Mapping[str, str], ports: Sequence[int] = ()
) -> Iterator[Asker]:
    """A pod of the gateway's image in a namespace, which is made if need be; it answers on these ports."""
    kubectl = platform.kubectl
    image = kubectl("-n", GATEWAY[0], "get", GATEWAY[1], "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    name = f"asking-{len(labels)}"
    container = {
        "name": "asking",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [GATEWAY[2], "-c", SERVE, *map(str, ports)],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": security, "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
    there = kubectl("get", "namespace", space, "--ignore-not-found", "-o", "name")
    if not there:
        kubectl("create", "namespace", space)
    document = {**pod, "metadata": {"name": name, "namespace": space, "labels": dict(labels)}}
    command = [*platform._kubectl(), "apply", "--server-side", "--field-manager=test", "-f", "-"]
    subprocess.run(command, input=json.dumps(document), text=True, check=True, capture_output=True, timeout=120)
    try:
        kubectl("-n", space, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=110s")
        address = kubectl("-n", space, "get", "pod", name, "-o", "jsonpath={.status.podIP}")
        yield Asker(platform, space, name, GATEWAY[2], address)
    finally:
        kubectl("-n", space, "delete", "pod", name)
        if not there:
            kubectl("delete", "namespace", space)
