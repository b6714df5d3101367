# SPDX-License-Identifier: Apache-2.0
"""A node that runs nothing: pods bound to it are said to be ready, those of Jobs to have ended. For a control plane alone.

A pod whose label `simulated` is `fail` ends with exit code 3.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import msgspec

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from local.kubernetes.simulated_pods import now, status_of

_STATUS = "application/strategic-merge-patch+json"


class SimulatedNode:
    """Context manager. `started`: names of the pods that were said to run, in their order; `reported`: when the first of a
    namespace was (monotonic seconds).

    A pod is ready (one of a Job has ended) `after_s` seconds after it was bound. `pod_ip`: where all pods are said to be.
    `devices`: resource of a device plugin → how many; the first is a taint, too, as the platform's node pools have it.
    """

    def __init__(
        self,
        client: Client,
        name: str = "simulated",
        *,
        after_s: float = 0,
        zone: str = "simulated",
        instance_type: str = "simulated",
        devices: Mapping[str, int] | None = None,
        labels: Mapping[str, str] | None = None,
        pod_ip: str = "198.18.255.1",
    ) -> None:
        self.client = client
        self.name = name
        self.after_s = after_s
        self.devices, self.pod_ip = dict(devices or {}), pod_ip
        self.labels = {"topology.kubernetes.io/zone": zone, "node.kubernetes.io/instance-type": instance_type}
        self.labels |= labels or {}
        self._bound: dict[str, float] = {}
        self.started: list[str] = []
        self.reported: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> SimulatedNode:
        self._patch_node()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        # In the foreground it would linger, and take the next one of its name with it.
        self.client.delete(self.client.resource("v1", "Node"), self.name, policy="Background")

    def _patch_node(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}}
        node["metadata"]["labels"] = {
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": self.name,
            **self.labels,
        }
        self.client.apply(self.client.resource("v1", "Node"), node)
        capacity = {"cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "500Gi"}
        capacity |= {name: str(count) for name, count in self.devices.items()}
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "lastHeartbeatTime": now()}
        self._status(
            f"/api/v1/nodes/{self.name}", {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}
        )
        # The taint of a node that was not ready yet is taken off by the controller manager, in its own time.
        self.client.request(
            "PATCH",
            f"/api/v1/nodes/{self.name}",
            body=msgspec.json.encode({"spec": {"taints": self._taints() or None}}),
            content_type="application/merge-patch+json",
        )

    def _taints(self) -> list[dict]:
        return [{"key": name, "value": "true", "effect": "NoSchedule"} for name in list(self.devices)[:1]]

    def _status(self, path: str, status: dict) -> None:
        self.client.request(
            "PATCH", f"{path}/status", body=msgspec.json.encode({"status": status}), content_type=_STATUS
        )

    def _live(self) -> None:
        beat = 0.0
        while not self._stop.wait(0.2):
            try:
                if time.monotonic() > beat:
                    self._patch_node()
                    beat = time.monotonic() + 10
                pods = self.client.list(self.client.resource("v1", "Pod"), fields=f"spec.nodeName={self.name}")
                for pod in pods:
                    self._pod(pod)
            except LlmOnEksError:
                continue  # the pod is gone, or the test ends

    def _pod(self, pod: dict) -> None:
        metadata, status = pod["metadata"], pod.get("status", {})
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if metadata.get("deletionTimestamp"):
            self.client.request("DELETE", path, body=b'{"gracePeriodSeconds": 0}')
            return
        if status.get("phase") != "Pending":
            return
        if time.monotonic() - self._bound.setdefault(metadata["uid"], time.monotonic()) < self.after_s:
            return
        self.started.append(metadata["name"])
        failed = (metadata.get("labels") or {}).get("simulated") == "fail"
        self._status(path, status_of(pod, failed=failed, pod_ip=self.pod_ip))
        self.reported.setdefault(metadata["namespace"], time.monotonic())
