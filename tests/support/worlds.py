# SPDX-License-Identifier: Apache-2.0
"""Random descriptors, random edits of them, and random edits of the cluster by other hands. All from one seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client

# --- documents: a maker and a mutator for each kind


def _document(api_version, kind, name, **body):
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **body}


def _word(rng):
    return f"w{rng.randrange(10**6)}"


def _config_map(rng, name):
    return _document("v1", "ConfigMap", name, data={f"key{n}": _word(rng) for n in range(rng.randint(1, 4))})


def _secret(rng, name):
    return _document("v1", "Secret", name, type="Opaque", stringData={"value": f"hidden-{_word(rng)}"})


def _pod(rng, name, restart="Always"):
    container = {
        "name": "app",
        "image": f"registry.test/app:{rng.randrange(99)}",
        "env": [{"name": f"E{n}", "value": _word(rng)} for n in range(rng.randint(0, 3))],
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
        "template": _pod(rng, name),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": rng.randint(0, 1)}},
    }
    return _document("apps/v1", "Deployment", name, spec=spec)


def _stateful_set(rng, name):
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {
        "replicas": rng.randint(1, 3),
        "serviceName": name,
        "selector": {"matchLabels": {"app": name}},
        "template": _pod(rng, name),
        "volumeClaimTemplates": [claim],
    }
    return _document("apps/v1", "StatefulSet", name, spec=spec)


def _daemon_set(rng, name):
    spec = {"selector": {"matchLabels": {"app": name}}, "template": _pod(rng, name)}
    return _document("apps/v1", "DaemonSet", name, spec=spec)


def _service(rng, name):
    ports = [{"name": "http", "port": rng.randint(80, 89), "targetPort": 8080}]
    if rng.random() < 0.4:
        ports.append({"name": "metrics", "port": rng.randint(9000, 9009)})
    spec = {"selector": {"app": name}, "ports": ports}
    if rng.random() < 0.2:
        spec["type"] = "NodePort"
    return _document("v1", "Service", name, spec=spec)


def _rules(rng):
    return [
        {"apiGroups": [""], "resources": [rng.choice(["pods", "configmaps", "services"])], "verbs": ["get", "list"]}
        for _ in range(rng.randint(1, 2))
    ]


def _role(rng, name):
    return _document("rbac.authorization.k8s.io/v1", "Role", name, rules=_rules(rng))


def _cluster_role(rng, name):
    return _document("rbac.authorization.k8s.io/v1", "ClusterRole", name, rules=_rules(rng))


def _role_binding(rng, name):
    return _document(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        name,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        subjects=[{"kind": "User", "name": _word(rng), "apiGroup": "rbac.authorization.k8s.io"}],
    )


def _service_account(rng, name):
    made = _document("v1", "ServiceAccount", name, automountServiceAccountToken=bool(rng.randrange(2)))
    made["metadata"]["annotations"] = {"example.com/note": _word(rng)}
    return made


def _cron_job(rng, name):
    job = {"spec": {"template": _pod(rng, name, restart="Never"), "backoffLimit": rng.randint(1, 5)}}
    spec = {"schedule": f"{rng.randrange(60)} 3 1 1 *", "suspend": True, "jobTemplate": job}
    return _document("batch/v1", "CronJob", name, spec=spec)


def _pdb(rng, name):
    spec = {"minAvailable": rng.randint(1, 5), "selector": {"matchLabels": {"app": name}}}
    return _document("policy/v1", "PodDisruptionBudget", name, spec=spec)


def _hpa(rng, name):
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
    metric["resource"]["target"]["averageUtilization"] = rng.randint(40, 90)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-elsewhere"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": rng.randint(2, 9), "metrics": [metric]}
    return _document("autoscaling/v2", "HorizontalPodAutoscaler", name, spec=spec)


def _network_policy(rng, name):
    ingress = [{"from": [{"podSelector": {"matchLabels": {"app": _word(rng)}}}], "ports": [{"port": 8080}]}]
    return _document(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        spec={"podSelector": {"matchLabels": {"app": name}}, "ingress": ingress, "policyTypes": ["Ingress"]},
    )


def _ingress(rng, name):
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": f"/{_word(rng)}", "pathType": "Prefix", "backend": backend}
    made = _document("networking.k8s.io/v1", "Ingress", name)
    made["spec"] = {"rules": [{"host": f"{_word(rng)}.example.com", "http": {"paths": [path]}}]}
    return made


def _claim(rng, name):
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "none",
        "resources": {"requests": {"storage": f"{rng.randint(1, 9)}Gi"}},
    }
    return _document("v1", "PersistentVolumeClaim", name, spec=spec)


def _priority_class(rng, name):
    return _document("scheduling.k8s.io/v1", "PriorityClass", name, value=100, description=_word(rng))


MAKERS: dict[str, Callable] = {
    "ConfigMap": _config_map,
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


def made_again(rng, document):
    """Another random document of the same kind and name, or the same one with labels and annotations moved."""
    kind, name = document["kind"], document["metadata"]["name"]
    if kind not in MAKERS or kind == "PersistentVolumeClaim" or rng.random() < 0.3:
        made = copy.deepcopy(document)
        section = rng.choice(["labels", "annotations"])
        values = made["metadata"].setdefault(section, {})
        if values and rng.random() < 0.4:
            values.pop(rng.choice(sorted(values)))
        else:
            values[f"example.com/{rng.choice('abc')}"] = _word(rng)
        return made
    made = MAKERS[kind](rng, name)
    made["metadata"] = {**copy.deepcopy(document["metadata"]), **made["metadata"]}
    for path in _FIXED.get(kind, ()):
        here, there = document, made
        for step in path[:-1]:
            here, there = here[step], there[step]
        there[path[-1]] = copy.deepcopy(here[path[-1]])
    return made


# --- a world: components, and edits of them


@dataclass
class World:
    """What an inventory would say; `gone`: components that the next run is told to remove."""

    rng: random.Random
    prefix: str
    components: list[dict] = field(default_factory=list)
    gone: list[dict] = field(default_factory=list)
    _number: int = 0

    def name(self, stem):
        self._number += 1
        return f"{stem}{self._number}"

    def descriptors(self):
        return [*copy.deepcopy(self.components), *({**one, "state": "absent"} for one in copy.deepcopy(self.gone))]

    # --- making

    def new_component(self):
        name = f"{self.prefix}-{self.name('c')}"
        made = {"name": name, "namespace": {"name": name, "pod_security": "privileged"}, "manifests": [], "jobs": []}
        self.components.append(made)
        for _ in range(self.rng.randint(2, 6)):
            self.add_object(made)
        if self.rng.random() < 0.5:
            made["secrets"] = [{"name": self.name("generated"), "generate": {"key": 24}}]
        return made

    def add_object(self, component):
        kind = self.rng.choice(sorted(MAKERS))
        document = MAKERS[kind](self.rng, self.object_name(kind))
        component["manifests"].append(document)
        self._wait(component)

    def object_name(self, kind):
        name = self.name(kind.lower()[:4])
        return f"{self.prefix}-{name}" if kind in CLUSTER_WIDE else name

    @staticmethod
    def _wait(component):
        component["wait"] = [
            {"kind": one["kind"], "name": one["metadata"]["name"], "condition": "Exists"}
            for one in component["manifests"]
            if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet")
        ]

    def _any(self, kinds=None):
        """(component, index) of a random document."""
        places = [
            (component, index)
            for component in self.components
            for index, document in enumerate(component["manifests"])
            if kinds is None or document["kind"] in kinds
        ]
        return self.rng.choice(places) if places else None

    # --- edits of the descriptors; each says what it did

    def edit_add(self):
        component = self.rng.choice(self.components)
        self.add_object(component)
        return f"add {component['manifests'][-1]['kind']} to {component['name']}"

    def edit_change(self):
        component, index = self._any()
        component["manifests"][index] = made_again(self.rng, component["manifests"][index])
        return f"change {_label(component, component['manifests'][index])}"

    def edit_remove(self):
        component, index = self._any()
        document = component["manifests"].pop(index)
        self._wait(component)
        self._mend_references(document, component)
        if not component["manifests"]:
            self.add_object(component)
        return f"remove {_label(component, document)}"

    def edit_reorder(self):
        for component in self.components:
            self.rng.shuffle(component["manifests"])
        self.rng.shuffle(self.components)
        return "reorder"

    def edit_rename(self):
        # Two PriorityClasses of one value are fine, two node ports are not: those stay.
        component, index = self._any()
        document = component["manifests"][index]
        self._mend_references(document, component)
        document["metadata"]["name"] = self.object_name(document["kind"])
        self._wait(component)
        return f"rename to {_label(component, document)}"

    def edit_move(self):
        """An object of the cluster's own kind, or one in a namespace that both share, goes to another component."""
        component, index = self._any()
        document = component["manifests"].pop(index)
        self._mend_references(document, component)
        other = self.rng.choice(self.components)
        if document["kind"] not in CLUSTER_WIDE and self.rng.random() < 0.7:
            document["metadata"]["namespace"] = document["metadata"].get("namespace", component["namespace"]["name"])
        if any(_same_place(document, one, other) for one in other["manifests"]):
            document["metadata"]["name"] = self.object_name(document["kind"])
        # Waits are for objects in the component's own namespace here.
        if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
            document["metadata"].pop("namespace", None)
        other["manifests"].append(document)
        for one in (component, other):
            self._wait(one)
        if not component["manifests"]:
            self.add_object(component)
        return f"move {_label(component, document)} to {other['name']}"

    def edit_add_component(self):
        return f"add component {self.new_component()['name']}"

    def edit_remove_component(self):
        if len(self.components) < 3:
            return self.edit_add_component()
        # Documents that stand in another component's namespace go with it; others' documents stay in its own.
        component = self.rng.choice(self.components)
        self.components.remove(component)
        for document in component["manifests"]:
            self._mend_references(document, component)
        self.gone.append(component)
        return f"remove component {component['name']}"

    def edit_rename_component(self):
        """All its objects go to a component of another name in the same namespace; the old name is absent in the same run."""
        component = self.rng.choice([one for one in self.components if "renamed" not in one["name"]] or self.components)
        if component.get("outputs") or "renamed" in component["name"]:
            return self.edit_change()
        old = {"name": component["name"], "namespace": component["namespace"]}
        component["name"] = f"{self.prefix}-renamed-{self.name('c')}"
        self.gone.append({**old, "manifests": [], "jobs": []})
        return f"rename component {old['name']} to {component['name']}"

    def edit_refer(self):
        """A ConfigMap of one component says what another's Service got as its address."""
        found = self._any(["Service"])
        if found is None:
            return self.edit_add()
        source, index = found
        service = source["manifests"][index]
        others = [one for one in self.components if one is not source and self._rank(one) > self._rank(source)]
        if not others:
            return self.edit_change()
        namespace = service["metadata"].get("namespace", source["namespace"]["name"])
        output = {"kind": "Service", "name": service["metadata"]["name"], "path": "spec.clusterIP"}
        source.setdefault("outputs", {})["address"] = {**output, "namespace": namespace}
        document = _config_map(self.rng, self.name("refers"))
        document["data"]["address"] = f"http://${{out:{source['name']}.address}}"
        self.rng.choice(others)["manifests"].append(document)
        return f"refer to Service {service['metadata']['name']}"

    @staticmethod
    def _rank(component):
        """References go from newer to older components only, so that no circle comes about."""
        return int(component["name"].rpartition("c")[2])

    def _mend_references(self, document, component):
        """What refers to a Service that goes says something else from now on."""
        output = component.get("outputs", {}).get("address")
        if not output or document["kind"] != "Service" or output["name"] != document["metadata"]["name"]:
            return
        del component["outputs"]
        for one in self.components:
            for manifest in one["manifests"]:
                if f"${{out:{component['name']}." in json.dumps(manifest):
                    manifest["data"]["address"] = "gone"

    def edit_job(self):
        """A Job is added, changed (it runs anew) or dropped."""
        component = self.rng.choice(self.components)
        if component["jobs"] and self.rng.random() < 0.3:
            job = component["jobs"].pop()
            return f"drop Job {job['manifest']['metadata']['name']}"
        name = component["jobs"][0]["manifest"]["metadata"]["name"] if component["jobs"] else self.name("job")
        template = _pod(self.rng, name, restart="Never")
        manifest = _document("batch/v1", "Job", name, spec={"template": template, "backoffLimit": 0})
        component["jobs"] = [{"manifest": manifest, "timeout": 60}]
        return f"run Job {name} of {component['name']}"

    def edit_custom(self):
        """A definition with an object of its kind; later on the object only."""
        component = self.rng.choice(self.components)
        if not component.get("crds"):
            component["crds"] = [definition(f"{component['name']}.example.com")]
        group = component["crds"][0]["spec"]["group"]
        body = {"size": self.rng.randrange(99), "words": [_word(self.rng) for _ in range(self.rng.randint(0, 3))]}
        component["manifests"].append(_document(f"{group}/v1", "Thing", self.name("thing"), spec=body))
        return f"add Thing to {component['name']}"

    # --- edits of the cluster

    def edit_by_others(self, client: Client):
        """A field changed, a label added, an object deleted: by a person's tool, by Update or by Apply."""
        found = self._any()
        component, index = found
        document = component["manifests"][index]
        resource = client.resource(document["apiVersion"], document["kind"])
        namespace = document["metadata"].get("namespace", component["namespace"]["name"])
        namespace = namespace if resource and resource.namespaced else ""
        name = document["metadata"]["name"]
        if resource is None or client.get(resource, name, namespace) is None:
            return "nothing to edit"
        label = _label(component, document)
        how = self.rng.choice(["change", "change", "label", "delete", "drop label"])
        path = resource.path(namespace, name)
        if how == "delete":
            client.delete(resource, name, namespace, policy="Background")
            return f"others delete {label}"
        if how == "label":
            patch = {"metadata": {"labels": {f"{self.rng.choice('xyz')}.example.com/theirs": _word(self.rng)}}}
        elif how == "drop label":
            patch = {"metadata": {"labels": {"llm.on-eks/component": None}}}
        else:
            patch = foreign_patch(self.rng, document)
        if patch is None:
            return f"nothing to change in {label}"
        if how == "change" and document["kind"] == "ConfigMap" and self.rng.random() < 0.5:
            head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
            client._json(
                "PATCH",
                path,
                query={"fieldManager": "argocd-by-hand", "force": "true"},
                body=json.dumps({**head, **patch}).encode(),
                content_type="application/apply-patch+yaml",
            )
            return f"others apply {label}"
        manager = self.rng.choice(["kubectl-edit", "kubectl-patch", "k9s", "some-operator"])
        client._json(
            "PATCH",
            path,
            query={"fieldManager": manager},
            body=json.dumps(patch).encode(),
            content_type="application/merge-patch+json",
        )
        return f"others ({manager}) {how} {label}"


EDITS = {
    "add": 3,
    "change": 6,
    "remove": 3,
    "reorder": 2,
    "rename": 2,
    "move": 2,
    "add_component": 1,
    "remove_component": 1,
    "rename_component": 2,
    "refer": 2,
    "job": 1,
    "custom": 2,
    "by_others": 6,
}


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


def definition(group):
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


def _label(component, document):
    return f"{document['kind']} {document['metadata']['name']} of {component['name']}"


def _same_place(document, other, component):
    home = component["namespace"]["name"]
    return (
        (document["kind"], document["metadata"]["name"]) == (other["kind"], other["metadata"]["name"])
        and document["metadata"].get("namespace", home) == other["metadata"].get("namespace", home)
    )  # fmt: skip
