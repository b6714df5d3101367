# SPDX-License-Identifier: Apache-2.0
"""Turns a catalogue entry and an engine's own settings into one component: labels, port, probes, drain and limits are the same for
all engines.

This is Python and not a template, so that engines cannot drift apart and tests can call it. A role `engine_NAME` gives
only what is its own: image, arguments, differences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ...module_utils.errors import LlmOnEksError
from .accelerator import Accelerator, accelerator_of
from .compilation import Compilation, Neuron, settings_of
from .merge import merged
from .size import transfer_seconds

NAMESPACE = "llm-engines"
# Kubernetes' own: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
_AFTER_DRAIN_S = 15
_AFTER_START_S = 60
# Weights are read at this rate at least, also from a file system that several pods share (docs/engines.md).
_LOADS_MB_PER_S = 200
_UID = 10001


class ContractError(LlmOnEksError):
    """An engine role sets something that the contract does not accept."""


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an engine role says of one model's pods. Times in seconds; `args` is a list, never a string.

    `start_timeout`: to the first token, in addition to reading the weights.
    """

    name: str
    image: str
    args: list[str] = []
    command: list[str] = []
    env: dict[str, str] = {}
    state: str = "present"
    port: int = 8080
    health: str = "/health"
    # What readiness asks, where it is not the same.
    ready: str = ""
    # The interpreter in the image that asks the pod itself for a token before it is ready; empty where `ready` knows already.
    python: str = ""
    # Metrics that tell a busy engine from one that hangs: requests under way, and steps that it has computed. With `python`.
    progress: tuple[str, str] | None = None
    task: Literal["generate", "embed", "rerank"] = "generate"
    start_timeout: int = 300
    start_period: int = 2
    wait: str = "Available"
    drain_timeout: int = 60
    drain_delay: int = 5
    resources: dict[str, Any] = {}
    # GPUs or NeuronCores of one pod.
    devices: int = 1
    model_path: str = "/model"
    # Path -> size of an emptyDir there; a size of "memory:2Gi" is one in memory.
    writable: dict[str, str] = msgspec.field(default_factory=lambda: {"/tmp": "64Mi"})  # noqa: S108 - a mount in the pod
    # Path -> folder on the claim, read-only, beside the model.
    folders: dict[str, str] = {}
    ports: dict[str, int] = {}
    read_only_root: bool = True
    allowed_namespaces: list[str] = msgspec.field(default_factory=lambda: ["llm-gateway"])
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    requires: list[str] = []
    # Components that come before it where they are in the run.
    after: list[str] = []
    # Labels of its pods that no selector has.
    pod_labels: dict[str, str] = {}
    # Only for models on Neuron devices.
    neuron: Neuron | None = None


def components(
    entry: Mapping[str, Any], engine: Mapping[str, Any], file: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The descriptors of one model: the compilation of its graphs, where its engine names one, and the engine.

    `file`: what role models says of its files; None while it is removed. Raises ContractError, AcceleratorError.
    """
    try:
        wanted = msgspec.convert(engine, Engine, strict=False)
        neuron = settings_of(wanted.neuron, entry) if wanted.neuron else None
    except msgspec.ValidationError as problem:
        raise ContractError(f"engine of model {entry.get('name')}: {problem}") from problem
    found = _Component(entry, wanted, accelerator_of(entry), neuron, file or {})
    return [*([found.compiled()] if neuron else []), found.described()]


class _Component:
    """`file` is empty while the model is removed."""

    def __init__(
        self,
        entry: Mapping[str, Any],
        engine: Engine,
        accelerator: Accelerator,
        neuron: Neuron | None,
        file: Mapping[str, Any],
    ) -> None:
        self.entry, self.engine, self.accelerator, self.file = entry, engine, accelerator, file
        self.slug = str(entry["name"]).replace(".", "-")
        self.name = f"engine-{self.slug}"
        self.labels = {"llm.on-eks/engine": engine.name, "llm.on-eks/model": str(entry["name"])}
        self.replicas = int((entry.get("replicas") or {}).get("min", 1))
        loading = transfer_seconds(entry, _LOADS_MB_PER_S, int(self.file.get("size_bytes") or 0))
        self.start_timeout = engine.start_timeout + loading
        self.deadline = self.start_timeout + _AFTER_START_S
        self.compilation = None
        if neuron and file:
            self.compilation = Compilation(
                entry, neuron, accelerator, engine.image, engine.devices, engine.model_path, file
            )
        self.compiles = neuron is not None

    def compiled(self) -> dict[str, Any]:
        found = self._described(f"neuron-{self.slug}", [f"model-{self.slug}"])
        if not self.compilation:
            return found
        # Not the engine's labels: its Service would take the Job's pod for an engine.
        labels = {"llm.on-eks/model": str(self.entry["name"])}
        job = self.compilation.job(f"compile-{self.slug[:40]}", labels, NAMESPACE)
        return found | {"images": [self.engine.image, self.compilation.neuron.program_image], "jobs": [job]}

    def described(self) -> dict[str, Any]:
        before = [f"model-{self.slug}", *([f"neuron-{self.slug}"] if self.compiles else [])]
        found = self._described(self.name, [*before, *self.engine.requires])
        if not self.file:
            return found
        wait = {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name, "namespace": NAMESPACE}
        # Otherwise pods that are ending are waited for, too.
        draining = 0 if self.engine.wait == "Available" else self.engine.drain_delay + self.engine.drain_timeout
        patience = self.deadline + draining
        return found | {
            "images": [self.engine.image],
            "manifests": [self._deployment(), self._service(), self._policy(), *self._budget()],
            "wait": [{**wait, "condition": self.engine.wait, "timeout": patience}],
            # Its selector, which has the engine's name and is fixed: with another engine the pods are made anew.
            "recreate": [{"kind": "Deployment", "name": self.name, "namespace": NAMESPACE}],
        }

    def _described(self, name: str, requires: list[str]) -> dict[str, Any]:
        absent = self.entry.get("state", "present") == "absent"
        return {
            "name": name,
            "state": "absent" if absent else self.engine.state,
            "requires": requires,
            **({"after": self.engine.after} if self.engine.after else {}),
            "namespace": {"name": NAMESPACE, "pod_security": "baseline"},
        }

    def _metadata(self) -> dict[str, Any]:
        return {"name": self.name, "namespace": NAMESPACE, "labels": self.labels}

    def _deployment(self) -> dict[str, Any]:
        # A device cannot be shared: the old pod must end before the new one starts.
        surge = (1, 0) if self.accelerator.kind == "cpu" else (0, 1)
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self._metadata(),
            "spec": {
                "replicas": self.replicas,
                "revisionHistoryLimit": 3,
                "progressDeadlineSeconds": self.deadline,
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": surge[0], "maxUnavailable": surge[1]},
                },
                "selector": {"matchLabels": self.labels},
                "template": {"metadata": {"labels": self.labels | self.engine.pod_labels}, "spec": self._pod()},
            },
        }

    def _pod(self) -> dict[str, Any]:
        engine = self.engine
        return {
            "automountServiceAccountToken": False,
            # A Service named vllm would set VLLM_PORT to an address.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": engine.drain_delay + engine.drain_timeout + _AFTER_DRAIN_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _UID,
                "runAsGroup": _UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **self._placement(),
            **({"initContainers": self.compilation.checks()} if self.compilation else {}),
            "containers": [self._container()],
            "volumes": self._volumes(),
        }

    def _placement(self) -> dict[str, Any]:
        placement = self.accelerator.placement()
        tolerations = [*placement.pop("tolerations", []), *self.engine.tolerations]
        if self.engine.node_selector:
            placement["nodeSelector"] = self.engine.node_selector
        if tolerations:
            placement["tolerations"] = tolerations
        if self.replicas > 1:
            placement["topologySpreadConstraints"] = [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": self.labels},
                }
            ]
        return placement

    def _container(self) -> dict[str, Any]:
        engine = self.engine
        found: dict[str, Any] = {"name": "engine", "image": engine.image, "imagePullPolicy": "IfNotPresent"}
        if engine.command:
            found["command"] = engine.command
        found["args"] = engine.args
        if engine.env:
            found["env"] = [{"name": name, "value": value} for name, value in engine.env.items()]
        return found | {
            "ports": [
                {"name": name, "containerPort": port} for name, port in {"http": engine.port, **engine.ports}.items()
            ],
            **self._probes(),
            "lifecycle": {"preStop": {"sleep": {"seconds": engine.drain_delay}}},
            "resources": self._resources(),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": engine.read_only_root,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": self._mounts(),
        }

    def _probes(self) -> dict[str, Any]:
        """Readiness means serving: a pod is ready once it has answered one completion itself.

        After that only its health is checked, and that it gets on with its requests where its metrics tell.
        """
        engine = self.engine
        health = {"httpGet": {"path": engine.health, "port": "http"}}
        ready = {"httpGet": {"path": engine.ready or engine.health, "port": "http"}}
        start: dict[str, Any] = {**ready, "periodSeconds": engine.start_period, "timeoutSeconds": 2}
        if engine.python:
            asked = [engine.python, "-c", first_token(str(self.entry["name"]), engine.port, engine.task)]
            start = {"exec": {"command": asked}, "periodSeconds": engine.start_period, "timeoutSeconds": 30}
        tries = -(-self.start_timeout // engine.start_period)
        return {
            "startupProbe": {**start, "failureThreshold": tries},
            # A pod with much to do answers late: taken out of service, it would leave the others even more to do.
            "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 6},
            "livenessProbe": self._liveness(health),
        }

    def _liveness(self, health: dict[str, Any]) -> dict[str, Any]:
        """Healthy; or, with metrics of its progress, healthy and no longer than three minutes without a step."""
        engine = self.engine
        if not engine.progress:
            return {**health, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6}
        asked = [engine.python, "-c", still_working(engine.port, engine.health, *engine.progress)]
        return {"exec": {"command": asked}, "periodSeconds": 30, "timeoutSeconds": 15, "failureThreshold": 6}

    def _resources(self) -> dict[str, Any]:
        found = merged(self.engine.resources, self.accelerator.resources(self.engine.devices))
        return merged(found, self.entry.get("resources") or {})

    def _mounts(self) -> list[dict[str, Any]]:
        engine = self.engine
        folders = {engine.model_path: f"{self.entry['name']}/{self.file['revision']}", **engine.folders}
        mounts: list[dict[str, Any]] = [
            {"name": "models", "mountPath": path, "subPath": folder, "readOnly": True}
            for path, folder in folders.items()
        ]
        mounts += [{"name": _volume(path), "mountPath": path} for path in engine.writable]
        return mounts + (self.compilation.mounts() if self.compilation else [])

    def _volumes(self) -> list[dict[str, Any]]:
        volumes: list[dict[str, Any]] = [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
        for path, size in self.engine.writable.items():
            medium, __, limit = size.rpartition(":")
            where = {"medium": "Memory"} if medium == "memory" else {}
            volumes.append({"name": _volume(path), "emptyDir": {**where, "sizeLimit": limit}})
        return volumes + (self.compilation.volumes() if self.compilation else [])

    def _service(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self._metadata(),
            "spec": {
                # Only the Service's EndpointSlices matter: the gateway chooses the pod itself.
                "clusterIP": "None",
                "selector": self.labels,
                # A sidecar of a mesh that is told tcp passes streams on as they are, and encrypts what goes to a pod's address.
                "ports": [{"name": "http", "port": self.engine.port, "targetPort": "http", "appProtocol": "tcp"}],
            },
        }

    def _policy(self) -> dict[str, Any]:
        allowed = [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
            for name in self.engine.allowed_namespaces
        ]
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self._metadata(),
            "spec": {
                "podSelector": {"matchLabels": self.labels},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": allowed, "ports": [{"port": "http"}]}],
            },
        }

    def _budget(self) -> list[dict[str, Any]]:
        if self.replicas < 2:
            return []
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": self.labels}}
        return [{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": self._metadata(), "spec": spec}]


def first_token(model: str, port: int, task: str) -> str:
    """A program that exits with 0 once the pod itself has answered for this model. Its image needs only Python."""
    path, body = {
        "generate": ("/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": 1}),
        "embed": ("/v1/embeddings", {"model": model, "input": "Hello"}),
        "rerank": ("/v1/rerank", {"model": model, "query": "Hello", "documents": ["Hello"]}),
    }[task]
    lines = [
        "import http.client, sys",
        f"c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=25)",
        "try:",
        f"    c.request('POST', {path!r}, {json.dumps(body)!r}, {{'Content-Type': 'application/json'}})",
        "    r = c.getresponse()",
        "except OSError as problem:",
        "    sys.exit(f'no token yet: {problem}')",
        "if r.status != 200:",
        "    sys.exit(f'no token yet, but {r.status}: {r.read(300).decode(errors=\"replace\")}')",
    ]
    return "\n".join(lines)


def still_working(port: int, health: str, running: str, steps: str, file: str = "/tmp/.progress") -> str:  # noqa: S108
    """A program that exits with 0 unless the engine is ill, or its requests have got no step further since the last time.

    A process that answers for its health says nothing of the one that computes: https://github.com/vllm-project/vllm/issues/36960.
    `running`, `steps`: beginnings of lines of its metrics.
    """
    lines = [
        "import http.client, pathlib, sys",
        "def get(path):",
        f"    c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=12)",
        "    c.request('GET', path)",
        "    r = c.getresponse()",
        "    return r.read().decode() if r.status == 200 else sys.exit(1)",
        f"get({health!r})",
        "lines = get('/metrics').splitlines()",
        "def total(name):",
        "    return sum(float(line.rsplit(' ', 1)[1]) for line in lines if line.startswith(name))",
        f"busy = total({running!r}) > 0 and any(line.startswith({steps!r}) for line in lines)",
        f"file, now = pathlib.Path({file!r}), str(busy) + ' ' + str(total({steps!r}))",
        "before = file.read_text() if file.exists() else ''",
        "file.write_text(now)",
        "sys.exit(now == before and now.startswith('True'))",
    ]
    return "\n".join(lines)


def _volume(path: str) -> str:
    return path.strip("/").replace("/", "-").replace(".", "")
