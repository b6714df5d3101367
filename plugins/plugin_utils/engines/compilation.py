# SPDX-License-Identifier: Apache-2.0
"""The compilation of a model's Neuron graphs: one Job between its sync and its engine, and the check before the engine loads.

Both run in the engine's own image, whose libraries are a part of the key. Our program is copied into their pods from the image
of the sync Job, so no image of ours holds the libraries. The artifacts are on the models' claim: .neuron/MODEL.BACKEND/KEY.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ...module_utils.aws.reference.accelerators import HOST_GIB
from ...module_utils.neuron.compiler import BACKENDS
from .accelerator import Accelerator
from .merge import merged
from .size import need_of

FOLDER = ".neuron"
# In a pod: our program, and the link to the artifacts that the check has found.
_PROGRAM = "/run/neuron"
ARTIFACTS = f"{_PROGRAM}/artifacts"
_STORE = "/neuron"
_CLAIM = "/claim"
# Compiling needs this much of the host's memory for each GiB of weights: 64 GiB for a model of 8B
# (https://github.com/aws-neuron/aws-neuron-sdk/issues/1222).
_MEMORY_PER_WEIGHTS = 4
_MEMORY_GIB = (16, 512)
_MEMORY_UNKNOWN_GIB = 64
# Exit codes of neuron.job that another try does not change: inputs, mismatch, a failed compilation; and a kill for memory.
_FINAL = [2, 3, 7, 137]


class Neuron(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an engine's graphs are compiled. `program_image`: the image with our program. `timeout`: seconds of a compilation.

    `compile: false`: artifacts must exist already. An entry's `neuron` overrides the rest; `resources` are those of the Job.
    """

    backend: Literal["tnx", "optimum", "vllm"]
    program_image: str
    python: str = "python3"
    compile: bool = True
    batch_size: int = 1
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    buckets: list[int] = []
    config: dict[str, Any] = {}
    compiler_flags: list[str] = []
    logical_nc: int = 1
    include_weights: bool = False
    resources: dict[str, Any] = {}
    timeout: int = 7200


class Compilation:
    """One model's. `image`: the engine's; `file`: what role models says of the model's files; `model_path`: where pods see them."""

    def __init__(
        self,
        entry: Mapping[str, Any],
        neuron: Neuron,
        accelerator: Accelerator,
        image: str,
        devices: int,
        model_path: str,
        file: Mapping[str, Any],
    ) -> None:
        self.entry, self.neuron, self.accelerator = entry, neuron, accelerator
        self.image, self.devices, self.model_path, self.file = image, devices, model_path, file
        self.model = str(entry["name"])
        self.backend = BACKENDS[neuron.backend]

    def job(self, name: str, labels: Mapping[str, str], namespace: str) -> dict[str, Any]:
        """The Job, as an entry of a descriptor's `jobs`. It is named after what it compiles."""
        pod = self._pod()
        content = json.dumps([pod["initContainers"], pod["containers"]], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        deadline = self.neuron.timeout + 600
        spec = {
            "backoffLimit": 2,
            "activeDeadlineSeconds": deadline,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "compile", "operator": "In", "values": _FINAL},
                    },
                ]
            },
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        }
        metadata = {"name": f"{name}-{digest}", "namespace": namespace, "labels": dict(labels)}
        return {
            "timeout": deadline,
            "manifest": {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec},
        }

    def checks(self) -> list[dict[str, Any]]:
        """Init containers of an engine's pod: they find the artifacts, or say what differs and end it."""
        check = self._container("artifacts", "verify", f"--link={ARTIFACTS}")
        return [self._program(), {**check, "volumeMounts": [*self.mounts(read_only=False), self._model()]}]

    def mounts(self, *, read_only: bool = True) -> list[dict[str, Any]]:
        """The artifacts of the model, and the folder with the link to those that fit."""
        folder = f"{self.model}.{self.neuron.backend}"
        return [
            {"name": "models", "mountPath": f"{_STORE}/{folder}", "subPath": f"{FOLDER}/{folder}", "readOnly": True},
            {"name": "neuron", "mountPath": _PROGRAM, **({"readOnly": True} if read_only else {})},
        ]

    def volumes(self) -> list[dict[str, Any]]:
        return [{"name": "neuron", "emptyDir": {"sizeLimit": "16Mi"}}]

    def _pod(self) -> dict[str, Any]:
        command = "compile" if self.neuron.compile else "verify"
        more = [f"--timeout={self.neuron.timeout}", f"--wait={self.neuron.timeout}"]
        compiling = self._container("compile", command, *more, root=f"{_CLAIM}/{FOLDER}")
        claim = {"name": "models", "mountPath": _CLAIM}
        program = {"name": "neuron", "mountPath": _PROGRAM, "readOnly": True}
        compiling |= {
            "resources": self._resources(),
            "volumeMounts": [claim, self._model(), program, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        }
        return {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **self._placement(),
            "initContainers": [self._program()],
            "containers": [compiling],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
                *self.volumes(),
                {"name": "tmp", "emptyDir": {}},
            ],
        }

    def _program(self) -> dict[str, Any]:
        return {
            "name": "program",
            "image": self.neuron.program_image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["cp", "-r", "/opt/model_store/model_store", _PROGRAM],
            "securityContext": _SECURITY,
            "volumeMounts": [{"name": "neuron", "mountPath": _PROGRAM}],
        }

    def _container(self, name: str, command: str, *more: str, root: str = _STORE) -> dict[str, Any]:
        return {
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": [self.neuron.python, "-m", "model_store.neuron.job"],
            "args": [f"--root={root}", command, *self._inputs(), *more],
            "env": [{"name": key, "value": value} for key, value in _ENVIRONMENT.items()],
            "securityContext": _SECURITY,
        }

    def _inputs(self) -> list[str]:
        """What the key is made of, besides what the program reads from the image and the model: equal in the Job and in the check."""
        neuron = self.neuron
        found = {
            "model": self.model,
            "model-path": self.model_path,
            "backend": neuron.backend,
            "target": self.accelerator.family,
            "tp-degree": self.devices,
            "batch-size": neuron.batch_size,
            "n-positions": int(self.entry.get("context") or 4096),
            "dtype": neuron.dtype,
            "quantization": self.entry.get("quantization"),
            "neuron-config": json.dumps(neuron.config, sort_keys=True) if neuron.config else "",
            "logical-nc": neuron.logical_nc,
            "image-digest": self.image.partition("@")[2],
        }
        said = [f"--{name}={value}" for name, value in found.items() if value]
        said += [f"--bucket={one}" for one in neuron.buckets]
        said += [f"--compiler-flag={one}" for one in neuron.compiler_flags]
        return said + (["--include-weights"] if neuron.include_weights else [])

    def _model(self) -> dict[str, Any]:
        folder = f"{self.model}/{self.file['revision']}"
        return {"name": "models", "mountPath": self.model_path, "subPath": folder, "readOnly": True}

    def _resources(self) -> dict[str, Any]:
        memory = f"{self.memory_gib()}Gi"
        wanted: dict[str, Any] = {"requests": {"cpu": "4", "memory": memory}, "limits": {"memory": memory}}
        if not self.backend.without_device:
            wanted = merged(wanted, self.accelerator.resources(self.devices))
        return merged(wanted, self.neuron.resources)

    def memory_gib(self) -> int:
        """GiB of the host's memory that the compiler gets."""
        need = need_of(self.entry)
        if need is None:
            return _MEMORY_UNKNOWN_GIB
        least, most = _MEMORY_GIB
        return min(most, max(least, -(-need.weights_mib * _MEMORY_PER_WEIGHTS // 1024)))

    def _placement(self) -> dict[str, Any]:
        """A node with only processors where the backend can; otherwise the smallest of the family that has the memory."""
        if self.backend.without_device:
            # The compiler is published for x86 alone.
            return {"nodeSelector": {"kubernetes.io/arch": "amd64"}}
        return Accelerator("neuron", self.hosts()).placement()

    def hosts(self) -> tuple[str, ...]:
        """Instance types of the family with enough memory, the smallest first; the entry's own where none is known."""
        family = [one for one in HOST_GIB if one.startswith(f"{self.accelerator.family}.")]
        # The system and the kubelet have their share.
        fitting = [one for one in family if HOST_GIB[one] * 0.9 >= self.memory_gib()]
        return tuple(fitting) or self.accelerator.types


_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


_ENVIRONMENT = {
    "PYTHONPATH": _PROGRAM,
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/tmp",  # noqa: S108 - a mount in the pod
    "NEURON_COMPILE_CACHE_URL": "/tmp/neuron-compile-cache",  # noqa: S108
    "VLLM_CACHE_ROOT": "/tmp/vllm",  # noqa: S108
}


def settings_of(engine: Neuron, entry: Mapping[str, Any]) -> Neuron:
    """The engine's settings with the entry's own over them. Raises msgspec.ValidationError."""
    given: Mapping[str, Any] = {key: value for key, value in (entry.get("neuron") or {}).items() if value is not None}
    return msgspec.convert({**msgspec.structs.asdict(engine), **given}, Neuron, strict=False)
