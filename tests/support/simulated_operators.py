# SPDX-License-Identifier: Apache-2.0
"""What operators, a volume driver and a cloud would do, on a control plane alone: they say that their objects are ready.

Little is made of these objects: a Prometheus operator makes a StatefulSet of each Prometheus and Alertmanager, and lists the kubelets in a
Service that it never deletes. A claim gets a volume, a Service of type LoadBalancer a host name, an API service an authority, a custom resource
the conditions that its controller would set.
"""

from __future__ import annotations

import base64
import threading
import time
from contextlib import suppress
from typing import Any

import msgspec

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client

# Kinds whose controllers set a condition that a role waits for.
_CONDITIONS = {
    ("monitoring.coreos.com/v1", "Prometheus"): ("Available", "Reconciled"),
    ("monitoring.coreos.com/v1", "Alertmanager"): ("Available", "Reconciled"),
    ("karpenter.sh/v1", "NodePool"): ("Ready",),
    ("gateway.networking.k8s.io/v1", "GatewayClass"): ("Accepted",),
    ("gateway.networking.k8s.io/v1", "Gateway"): ("Accepted", "Programmed"),
}
_OPERATOR = "app=kube-prometheus-stack-operator"
# Label of an operator -> kind and name of what it makes in its namespace and leaves there.
_LEFT_AT_HOME = {
    "app=keda-operator": (("Secret", "kedaorg-certs"),),
    "app=istiod": (("Secret", "istio-ca-secret"), ("ConfigMap", "istio-leader")),
}
_LOCK = "control-plane.alpha.kubernetes.io/leader"
_WITHOUT_CERTIFICATE = ("kube-public", "kube-node-lease", "local-path-storage")
# Name -> its controller, of pilot/pkg/config/kube/gatewaycommon/classinfo.go.
_GATEWAY_CLASSES = {
    "istio": "gateway-controller",
    "istio-remote": "unmanaged-gateway",
    "istio-waypoint": "mesh-controller",
}
_MERGE = "application/merge-patch+json"
_REQUIRED_OF_PROMETHEUS = {
    "paused": False,
    "replicas": 1,
    "updatedReplicas": 1,
    "availableReplicas": 1,
    "unavailableReplicas": 0,
}


class SimulatedOperators:
    """Context manager over a client of the control plane. `authority`: of the certificates behind aggregated APIs, PEM."""

    def __init__(self, client: Client, authority: bytes) -> None:
        self.client = client
        self._authority = base64.b64encode(authority).decode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> SimulatedOperators:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._stop.wait(0.5):
            # Kinds come with the charts.
            self.client.forget_resources()
            for act in (
                self._volumes,
                self._addresses,
                self._conditions,
                self._authorities,
                self._kubelets,
                self._homes,
                self._mesh,
                self._sets,
            ):
                # The object is gone, its kind is not there yet, or the test ends.
                with suppress(LlmOnEksError):
                    act()

    def _authorities(self) -> None:
        """KEDA's operator says whom to trust: https://github.com/kedacore/keda/blob/main/pkg/certificates/certificate_manager.go."""
        resource = self.client.resource("apiregistration.k8s.io/v1", "APIService")
        for found in self.client.list(resource):
            spec = found["spec"]
            if spec.get("service") and not (spec.get("caBundle") or spec.get("insecureSkipTLSVerify")):
                self._patch(resource, found, {"spec": {"caBundle": self._authority}})

    def _kubelets(self) -> None:
        """The Prometheus operator's Service for kubelets: https://github.com/prometheus-community/helm-charts/issues/5343."""
        operators = self.client.list(self.client.resource("apps/v1", "Deployment"), labels=_OPERATOR)
        for operator in operators if not any(one["metadata"].get("deletionTimestamp") for one in operators) else []:
            arguments = operator["spec"]["template"]["spec"]["containers"][0].get("args") or []
            for place in (one.partition("=")[2] for one in arguments if one.startswith("--kubelet-service=")):
                namespace, __, name = place.partition("/")
                labels = {"k8s-app": "kubelet", "app.kubernetes.io/managed-by": "prometheus-operator"}
                spec = {"clusterIP": "None", "ports": [{"name": "https-metrics", "port": 10250}]}
                metadata = {"name": name, "namespace": namespace, "labels": labels}
                service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
                self.client.apply(self.client.resource("v1", "Service"), service)

    def _homes(self) -> None:
        """A certificate, or the lock by which one of several pods leads, which it gives back at its end."""
        for label, made in _LEFT_AT_HOME.items():
            operators = self.client.list(self.client.resource("apps/v1", "Deployment"), labels=label)
            for operator in (one for one in operators if not one["metadata"].get("deletionTimestamp")):
                for kind, name in made:
                    metadata = {"name": name, "namespace": operator["metadata"]["namespace"]}
                    lock = {"annotations": {_LOCK: '{"holderIdentity": ""}'}} if kind == "ConfigMap" else {}
                    document = {"apiVersion": "v1", "kind": kind, "metadata": metadata | lock}
                    self.client.apply(self.client.resource("v1", kind), document)

    def _mesh(self) -> None:
        """What istiod makes and never deletes: https://github.com/istio/istio, pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go."""
        control_planes = self.client.list(self.client.resource("apps/v1", "Deployment"), labels="app=istiod")
        if not any(not one["metadata"].get("deletionTimestamp") for one in control_planes):
            return
        for space in self.client.list(self.client.resource("v1", "Namespace")):
            name = space["metadata"]["name"]
            if name not in _WITHOUT_CERTIFICATE and not space["metadata"].get("deletionTimestamp"):
                for kept in ("istio-ca-root-cert", "istio-ca-crl"):
                    metadata = {"name": kept, "namespace": name, "labels": {"istio.io/config": "true"}}
                    certificate = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
                    self.client.apply(self.client.resource("v1", "ConfigMap"), certificate)
        offered = self.client.resource("gateway.networking.k8s.io/v1", "GatewayClass")
        for name, controller in _GATEWAY_CLASSES.items() if offered else ():
            found = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": name}}
            self.client.apply(offered, {**found, "spec": {"controllerName": f"istio.io/{controller}"}})

    def _sets(self) -> None:
        """As https://github.com/prometheus-operator/prometheus-operator/blob/main/pkg/operator/statefulset.go names set and claims."""
        for kind in ("Prometheus", "Alertmanager"):
            resource = self.client.resource("monitoring.coreos.com/v1", kind)
            for found in self.client.list(resource) if resource else []:
                if not found["metadata"].get("deletionTimestamp"):
                    self.client.apply(self.client.resource("apps/v1", "StatefulSet"), _set_of(kind, found))

    def _conditions(self) -> None:
        for (version, kind), types in _CONDITIONS.items():
            resource = self.client.resource(version, kind)
            for found in self.client.list(resource) if resource else []:
                self._say(version, resource, found, types)

    def _say(self, version: str, resource: Any, found: dict[str, Any], types: tuple[str, ...]) -> None:
        said = {one["type"] for one in found.get("status", {}).get("conditions", []) if one["status"] == "True"}
        if said >= set(types):
            return
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": "Simulated",
                "message": "",
                "lastTransitionTime": _now(),
                "observedGeneration": found["metadata"].get("generation", 1),
            }
            for kind in types
        ]
        more = _REQUIRED_OF_PROMETHEUS if version == "monitoring.coreos.com/v1" else {}
        self._patch(resource, found, {"status": {**more, "conditions": conditions}}, "status")

    def _addresses(self) -> None:
        resource = self.client.resource("v1", "Service")
        for found in self.client.list(resource):
            if found["spec"].get("type") == "LoadBalancer" and not found.get("status", {}).get("loadBalancer"):
                address = {"ingress": [{"hostname": f"{found['metadata']['name']}.elb.example.com"}]}
                self._patch(resource, found, {"status": {"loadBalancer": address}}, "status")

    def _volumes(self) -> None:
        for claim in self.client.list(self.client.resource("v1", "PersistentVolumeClaim")):
            if claim["spec"].get("volumeName"):
                continue
            metadata, spec = claim["metadata"], claim["spec"]
            volume = {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"pvc-{metadata['uid']}", "labels": {"simulated": "true"}},
                "spec": {
                    "storageClassName": spec.get("storageClassName", ""),
                    "accessModes": spec["accessModes"],
                    "capacity": spec["resources"]["requests"],
                    "persistentVolumeReclaimPolicy": "Delete",
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": metadata["namespace"],
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                    },
                    "hostPath": {"path": "/nowhere"},
                },
            }
            self.client.apply(self.client.resource("v1", "PersistentVolume"), volume)
        self._reclaim()

    def _reclaim(self) -> None:
        resource = self.client.resource("v1", "PersistentVolume")
        for volume in self.client.list(resource, labels="simulated=true"):
            if volume.get("status", {}).get("phase") in ("Released", "Failed"):
                self.client.delete(resource, volume["metadata"]["name"], policy="Background")

    def _patch(self, resource: Any, found: dict[str, Any], body: dict[str, Any], part: str = "") -> None:
        path = resource.path(found["metadata"].get("namespace", ""), found["metadata"]["name"])
        self.client.request("PATCH", f"{path}/{part}".rstrip("/"), body=msgspec.json.encode(body), content_type=_MERGE)


def _set_of(kind: str, found: dict[str, Any]) -> dict[str, Any]:
    metadata, spec = found["metadata"], found["spec"]
    name, labels = f"{kind.lower()}-{metadata['name']}", {"app.kubernetes.io/instance": metadata["name"]}
    owner = {"apiVersion": found["apiVersion"], "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    template = (spec.get("storage") or {}).get("volumeClaimTemplate")
    claims = [{"metadata": {"name": f"{name}-db"}, "spec": template["spec"]}] if template else []
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": kind.lower(), "image": "simulated"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            "serviceName": f"{kind.lower()}-operated",
            "replicas": spec.get("replicas", 1),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": pod,
            "volumeClaimTemplates": claims,
        },
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
