# SPDX-License-Identifier: Apache-2.0
"""Random descriptors, random edits of them, and random edits of the cluster by others. All from one seed."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass, field

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from tests.support.random_manifests import (
    CLUSTER_WIDE,
    MAKERS,
    changed,
    config_map,
    document_of,
    foreign_patch,
    pod_template,
    thing_crd,
    word,
)


@dataclass
class RandomDescriptors:
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
        for __ in range(self.rng.randint(2, 6)):
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
        component["manifests"][index] = changed(self.rng, component["manifests"][index])
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
        document = config_map(self.rng, self.name("refers"))
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
        template = pod_template(self.rng, name, restart="Never")
        manifest = document_of("batch/v1", "Job", name, spec={"template": template, "backoffLimit": 0})
        component["jobs"] = [{"manifest": manifest, "timeout": 60}]
        return f"run Job {name} of {component['name']}"

    def edit_custom(self):
        """A CRD with an object of its kind; later on the object only."""
        component = self.rng.choice(self.components)
        if not component.get("crds"):
            component["crds"] = [thing_crd(f"{component['name']}.example.com")]
        group = component["crds"][0]["spec"]["group"]
        body = {"size": self.rng.randrange(99), "words": [word(self.rng) for __ in range(self.rng.randint(0, 3))]}
        component["manifests"].append(document_of(f"{group}/v1", "Thing", self.name("thing"), spec=body))
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
            patch = {"metadata": {"labels": {f"{self.rng.choice('xyz')}.example.com/theirs": word(self.rng)}}}
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


def _label(component, document):
    return f"{document['kind']} {document['metadata']['name']} of {component['name']}"


def _same_place(document, other, component):
    home = component["namespace"]["name"]
    return (
        (document["kind"], document["metadata"]["name"]) == (other["kind"], other["metadata"]["name"])
        and document["metadata"].get("namespace", home) == other["metadata"].get("namespace", home)
    )  # fmt: skip
