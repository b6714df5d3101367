# SPDX-License-Identifier: Apache-2.0
"""prometheus-adapter in a local cluster: its program, built from its Go module, as an image, with the rules of role prometheus_adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.llm.on_eks.plugins.plugin_utils.engines import scaling
from tests.support import program_image
from tools import obtain

IMAGE = "localhost/llm.on_eks/test-prometheus-adapter:1"
NAMESPACE = "monitoring"
PROGRAM = obtain.cached_path(obtain.load_tools()["prometheus-adapter"], obtain.default_cache())
Document = dict[str, Any]


def give(cluster: str, folder: Path) -> None:
    """An image with nothing but the program, for the cluster's node."""
    program_image.given(cluster, {IMAGE: program_image.written(IMAGE, {"adapter": PROGRAM}, folder / "adapter.tar")})


def manifests() -> list[Document]:
    """What the chart makes of the role's values, as far as the adapter needs it."""
    name = "prometheus-adapter"
    labels = {"app.kubernetes.io/name": name}
    metadata = {"name": name, "namespace": NAMESPACE}
    account = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    metrics = [{"apiGroups": ["custom.metrics.k8s.io"], "resources": ["*"], "verbs": ["*"]}]
    reads = [
        {"apiGroups": [""], "resources": ["nodes", "namespaces", "pods", "services"], "verbs": ["get", "list", "watch"]}
    ]
    scaler = {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}
    container = {
        "name": "adapter",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "--secure-port=6443",
            "--cert-dir=/tmp/cert",
            "--config=/etc/adapter/config.yaml",
            "--prometheus-url=http://prometheus-operated.monitoring.svc:9090/",
            "--metrics-relist-interval=10s",
        ],
        "ports": [{"name": "https", "containerPort": 6443}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"}, "timeoutSeconds": 10},
        # Without a request it gets nothing while engines are busy.
        "resources": {"requests": {"cpu": "200m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/adapter"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "serviceAccountName": name,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        _role("adapter-reads", reads),
        _binding("adapter-reads", "adapter-reads", account),
        _binding("adapter-auth", "system:auth-delegator", account),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "adapter-auth", "namespace": "kube-system"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "extension-apiserver-authentication-reader",
            },
            "subjects": [account],
        },
        _role("custom-metrics", metrics),
        _binding("custom-metrics", "custom-metrics", scaler),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"config.yaml": json.dumps({"rules": scaling.adapter_rules()})},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": "https"}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.custom.metrics.k8s.io"},
            "spec": {
                "group": "custom.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": name, "namespace": NAMESPACE},
            },
        },
    ]


def _role(name: str, rules: list[Document]) -> Document:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    }


def _binding(name: str, role: str, subject: Document) -> Document:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
