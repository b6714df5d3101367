# SPDX-License-Identifier: Apache-2.0
"""Random manifests of the common kinds, random changes of them, and patches that somebody else might send."""

from __future__ import annotations

import copy
from collections.abc import Callable


def document_of(api_version, kind, name, **body):
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **body}


def word(rng):
    return f"w{rng.randrange(10**6)}"


def config_map(rng, name):
    return document_of("v1", "ConfigMap", name, data={f"key{n}": word(rng) for n in range(rng.randint(1, 4))})


def _secret(rng, name):
    return document_of("v1", "Secret", name, type="Opaque", stringData={"value": f"hidden-{word(rng)}"})


def pod_template(rng, name, restart="Always"):
    container = {
        "name": "app",
        "image": f"registry.test/app:{rng.randrange(99)}",
        "env": [{"name": f"E{n}", "value": word(rng)} for n in range(rng.randint(0, 3))],
        "resources": {"limits": {"memory": f"{rng.randint(1, 9) * 64}Mi"}},
    }
    if restart == "Always":
        container["ports"] = [{"containerPort": 8080, "name": "http"}]
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "restartPolicy": restart},
    }


def _deployment(rng, name):
    spec = {
        "replicas": rng.randint(1, 3),
        "selector": {"matchLabels": {"app": name}},
        "template": pod_template(rng, name),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": rng.randint(0, 1)}},
    }
    return document_of("apps/v1", "Deployment", name, spec=spec)


def _stateful_set(rng, name):
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {
        "replicas": rng.randint(1, 3),
        "serviceName": name,
        "selector": {"matchLabels": {"app": name}},
        "template": pod_template(rng, name),
        "volumeClaimTemplates": [claim],
    }
    return document_of("apps/v1", "StatefulSet", name, spec=spec)


def _daemon_set(rng, name):
    spec = {"selector": {"matchLabels": {"app": name}}, "template": pod_template(rng, name)}
    return document_of("apps/v1", "DaemonSet", name, spec=spec)


def _service(rng, name):
    ports = [{"name": "http", "port": rng.randint(80, 89), "targetPort": 8080}]
    if rng.random() < 0.4:
        ports.append({"name": "metrics", "port": rng.randint(9000, 9009)})
    spec = {"selector": {"app": name}, "ports": ports}
    if rng.random() < 0.2:
        spec["type"] = "NodePort"
    return document_of("v1", "Service", name, spec=spec)


def _rules(rng):
    return [
        {"apiGroups": [""], "resources": [rng.choice(["pods", "configmaps", "services"])], "verbs": ["get", "list"]}
        for __ in range(rng.randint(1, 2))
    ]


def _role(rng, name):
    return document_of("rbac.authorization.k8s.io/v1", "Role", name, rules=_rules(rng))


def _cluster_role(rng, name):
    return document_of("rbac.authorization.k8s.io/v1", "ClusterRole", name, rules=_rules(rng))


def _role_binding(rng, name):
    return document_of(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        name,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        subjects=[{"kind": "User", "name": word(rng), "apiGroup": "rbac.authorization.k8s.io"}],
    )


def _service_account(rng, name):
    made = document_of("v1", "ServiceAccount", name, automountServiceAccountToken=bool(rng.randrange(2)))
    made["metadata"]["annotations"] = {"example.com/note": word(rng)}
    return made


def _cron_job(rng, name):
    job = {"spec": {"template": pod_template(rng, name, restart="Never"), "backoffLimit": rng.randint(1, 5)}}
    spec = {"schedule": f"{rng.randrange(60)} 3 1 1 *", "suspend": True, "jobTemplate": job}
    return document_of("batch/v1", "CronJob", name, spec=spec)


def _pdb(rng, name):
    spec = {"minAvailable": rng.randint(1, 5), "selector": {"matchLabels": {"app": name}}}
    return document_of("policy/v1", "PodDisruptionBudget", name, spec=spec)


def _hpa(rng, name):
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
    metric["resource"]["target"]["averageUtilization"] = rng.randint(40, 90)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-elsewhere"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": rng.randint(2, 9), "metrics": [metric]}
    return document_of("autoscaling/v2", "HorizontalPodAutoscaler", name, spec=spec)


def _network_policy(rng, name):
    ingress = [{"from": [{"podSelector": {"matchLabels": {"app": word(rng)}}}], "ports": [{"port": 8080}]}]
    return document_of(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        spec={"podSelector": {"matchLabels": {"app": name}}, "ingress": ingress, "policyTypes": ["Ingress"]},
    )


def _ingress(rng, name):
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": f"/{word(rng)}", "pathType": "Prefix", "backend": backend}
    made = document_of("networking.k8s.io/v1", "Ingress", name)
    made["spec"] = {"rules": [{"host": f"{word(rng)}.example.com", "http": {"paths": [path]}}]}
    return made


def _claim(rng, name):
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "none",
        "resources": {"requests": {"storage": f"{rng.randint(1, 9)}Gi"}},
    }
    return document_of("v1", "PersistentVolumeClaim", name, spec=spec)


def _priority_class(rng, name):
    return document_of("scheduling.k8s.io/v1", "PriorityClass", name, value=100, description=word(rng))


MAKERS: dict[str, Callable] = {
    "ConfigMap": config_map,
    "Secret": _secret,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Service": _service,
    "Role": _role,
    "RoleBinding": _role_binding,
    "ClusterRole": _cluster_role,
    "ServiceAccount": _service_account,
    "CronJob": _cron_job,
    "PodDisruptionBudget": _pdb,
    "HorizontalPodAutoscaler": _hpa,
    "NetworkPolicy": _network_policy,
    "Ingress": _ingress,
    "PersistentVolumeClaim": _claim,
    "PriorityClass": _priority_class,
}
CLUSTER_WIDE = ("ClusterRole", "PriorityClass", "CustomResourceDefinition", "Namespace")
# What cannot be made otherwise on an object that exists; such fields keep their values when a document changes.
_FIXED = {
    "StatefulSet": (("spec", "volumeClaimTemplates"), ("spec", "serviceName")),
    "PersistentVolumeClaim": (("spec", "resources"),),
    "PriorityClass": (("value",),),
}


def changed(rng, document):
    """Another random document of the same kind and name, or the same one with labels and annotations moved."""
    kind, name = document["kind"], document["metadata"]["name"]
    if kind not in MAKERS or kind == "PersistentVolumeClaim" or rng.random() < 0.3:
        made = copy.deepcopy(document)
        section = rng.choice(["labels", "annotations"])
        values = made["metadata"].setdefault(section, {})
        if values and rng.random() < 0.4:
            values.pop(rng.choice(sorted(values)))
        else:
            values[f"example.com/{rng.choice('abc')}"] = word(rng)
        return made
    made = MAKERS[kind](rng, name)
    made["metadata"] = {**copy.deepcopy(document["metadata"]), **made["metadata"]}
    for path in _FIXED.get(kind, ()):
        here, there = document, made
        for step in path[:-1]:
            here, there = here[step], there[step]
        there[path[-1]] = copy.deepcopy(here[path[-1]])
    return made


def foreign_patch(rng, document):
    """A merge patch of a field that the document sets; None where there is none."""
    kind = document["kind"]
    if kind == "ConfigMap":
        return {"data": {rng.choice(sorted(document["data"])): "theirs"}}
    if kind == "Secret":
        return {"data": {"value": "dGhlaXJzLXZhbHVl"}}
    if kind in ("Deployment", "StatefulSet"):
        return {"spec": {"replicas": document["spec"]["replicas"] + 1}}
    if kind in ("Role", "ClusterRole"):
        return {"rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]}
    if kind == "CronJob":
        return {"spec": {"schedule": "59 4 1 1 *"}}
    if kind == "PodDisruptionBudget":
        return {"spec": {"minAvailable": 9}}
    if kind == "HorizontalPodAutoscaler":
        return {"spec": {"maxReplicas": 20}}
    if kind == "PriorityClass":
        return {"description": "theirs"}
    if kind == "ServiceAccount":
        return {"metadata": {"annotations": {"example.com/note": "theirs"}}}
    if kind == "Thing":
        return {"spec": {"size": 1000}}
    if kind == "Service":
        return {"spec": {"selector": {"app": "theirs"}}}
    return None


def thing_crd(group):
    """The CRD of a kind `Thing` in this API group."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "words": {"type": "array", "items": {"type": "string"}},
                    "mode": {"type": "string", "default": "fast"},
                },
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
