# SPDX-License-Identifier: Apache-2.0
"""The decisions of converge that need no cluster."""

import base64

import msgspec
import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import Unknown
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe import references
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError, lines_of, parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.context import Outputs
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects import disruption
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.compare import changes, paths, to_yaml
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.conflicts import Conflict, read_conflicts, without
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.masking import Masker
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.ownership import extra_fields, owner_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.status import ComponentStatus, age, pages_of, render
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import names_from
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.steps import build


def pod(**container):
    return {"spec": {"containers": [{"name": "app", **container}]}}


# --- comparison


def test_only_fields_that_differ_are_named_and_lists_by_their_key():
    before, after = (
        pod(image="a:1", env=[{"name": "X", "value": "1"}]),
        pod(image="a:2", env=[{"name": "X", "value": "1"}]),
    )
    assert [str(change) for change in changes(before, after)] == ["spec.containers[app].image: a:1 → a:2"]


def test_what_the_server_writes_is_no_difference():
    live = {"metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "managedFields": []}, "status": {"x": 1}}
    assert changes(live, {"metadata": {"name": "a"}}) == []


def test_a_secrets_values_are_compared_but_never_shown():
    def secret(value):
        return {"kind": "Secret", "metadata": {"name": "a"}, "data": {"key": base64.b64encode(value).decode()}}

    (change,) = changes(secret(b"hunter2hunter2"), secret(b"correct horse"))
    assert change.path == "data.key"
    assert "hunter2" not in str(change) and base64.b64encode(b"hunter2hunter2").decode() not in str(change)


def test_a_value_that_is_not_known_yet_can_be_shown():
    volume = {
        "kind": "PersistentVolume",
        "spec": {"csi": {"volumeHandle": Unknown("storage_efs.models_volume_handle")}},
    }
    assert "volumeHandle: (known after apply)" in to_yaml(volume)


def test_every_leaf_has_a_path():
    assert set(paths(pod(ports=[{"containerPort": 80}]))) == {
        "spec.containers[app].name",
        "spec.containers[app].ports[80].containerPort",
    }


# --- conflicts


def test_a_conflict_names_field_and_manager():
    details = {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-edit" using v1',
                "field": ".data.key",
            },
            {"reason": "SomethingElse", "message": "x", "field": ".y"},
        ]
    }
    assert read_conflicts(details) == [Conflict(".data.key", "kubectl-edit")]


@pytest.mark.parametrize(
    ("manager", "field", "theirs"),
    [
        ("kube-controller-manager", ".spec.replicas", True),
        ("keda-operator", ".spec.replicas", True),
        ("kubectl-edit", ".spec.replicas", False),
        ("kubectl-edit", '.webhooks[name="a"].clientConfig.caBundle', True),
    ],
)
def test_fields_of_controllers_are_left_to_them(manager, field, theirs):
    assert Conflict(field, manager).left_to_them is theirs


def test_a_field_is_taken_out_by_the_apis_own_notation():
    document = {"spec": {"containers": [{"name": "x", "image": "a"}, {"name": "y", "image": "b"}]}}
    left = without(document, '.spec.containers[name="x"].image')
    assert left == {"spec": {"containers": [{"name": "x"}, {"name": "y", "image": "b"}]}}
    assert document["spec"]["containers"][0]["image"] == "a"


# --- disruption


def workload(kind, **spec):
    return {"kind": kind, "spec": spec}


@pytest.mark.parametrize(
    ("verb", "document", "path", "expected"),
    [
        ("create", workload("Deployment"), "", "none"),
        ("update", workload("Deployment", replicas=3), "spec.replicas", "none"),
        ("update", workload("Deployment", replicas=3), "spec.template.spec.x", "rolling"),
        ("update", workload("Deployment", replicas=3, strategy={"type": "Recreate"}), "spec.template.x", "outage"),
        (
            "update",
            workload("Deployment", replicas=1, strategy={"rollingUpdate": {"maxUnavailable": 1}}),
            "spec.template.x",
            "restart",
        ),
        (
            "update",
            workload("Deployment", replicas=1, strategy={"rollingUpdate": {"maxUnavailable": 0}}),
            "spec.template.x",
            "rolling",
        ),
        ("update", workload("StatefulSet", replicas=1), "spec.template.x", "restart"),
        ("update", workload("DaemonSet"), "spec.template.x", "restart"),
        ("update", {"kind": "ConfigMap"}, "data.x", "none"),
        ("delete", workload("Service"), "", "outage"),
        ("recreate", workload("StatefulSet"), "", "outage"),
        ("delete", {"kind": "ConfigMap"}, "", "none"),
    ],
)
def test_what_a_change_means_to_users(verb, document, path, expected):
    after = {"spec": {}}
    found = changes({}, after)
    changed = [type(found[0])(path, 1, 2)] if path else []
    assert disruption.of(verb, document, changed) == expected


# --- references


def test_a_reference_alone_keeps_its_type_and_inside_text_becomes_text():
    outputs = {("db", "port"): 5432}
    assert references.resolve({"a": "${out:db.port}", "b": "x:${out:db.port}"}, outputs) == {"a": 5432, "b": "x:5432"}


def test_other_dollar_texts_are_nobodys_reference():
    assert list(references.references({"a": "${HOME} $(x) ${out}"})) == []


def test_a_path_into_lists():
    assert references.at_path({"status": {"ingress": [{"hostname": "h"}]}}, "status.ingress[0].hostname") == "h"
    assert references.at_path({}, "status.ingress[0].hostname") is None


# --- masking


def test_the_password_in_an_address_is_masked_though_nobody_named_it():
    assert Masker().text("postgres://user:hunter2@db/x") == "postgres://user:(secret)@db/x"
    assert Masker().text("https://host:8443/a@b") == "https://host:8443/a@b"


def test_a_value_seen_in_a_secret_is_masked_wherever_it_turns_up():
    masker = Masker()
    masker.learn_document({"kind": "Secret", "data": {"k": base64.b64encode(b"s3cr3t-value").decode()}})
    text = masker.text(f"plain s3cr3t-value, coded {base64.b64encode(b's3cr3t-value').decode()}")
    assert "s3cr3t" not in text and "czNjcjN0" not in text


def test_names_tell_which_values_are_secret():
    masker = Masker()
    masker.learn_values(
        {
            "adminPassword": "correct-horse",
            "existingSecret": "my-release-secret",
            "tokenName": "harmless-name",
            "env": [{"name": "DB_PASSWORD", "value": "battery-staple"}, {"name": "MODE", "value": "production"}],
        }
    )
    said = masker.text("correct-horse battery-staple my-release-secret harmless-name production")
    assert said == "(secret) (secret) my-release-secret harmless-name production"


def test_short_and_common_values_are_not_masked():
    masker = Masker()
    masker.learn_values({"password": "true", "token": "abc"})
    assert masker.text("true abc") == "true abc"


# --- descriptors


def test_a_typo_in_a_descriptor_is_named_with_its_place():
    with pytest.raises(DescriptorError, match="component kong: Object contains unknown field `manifest`"):
        parse([{"name": "kong", "manifest": []}])


def test_two_components_must_not_describe_one_object():
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}}
    with pytest.raises(DescriptorError, match="components one and two both describe ConfigMap n/a"):
        parse([{"name": "one", "manifests": [document]}, {"name": "two", "manifests": [document]}])


def test_components_must_agree_on_a_shared_namespace():
    one = {"name": "one", "namespace": {"name": "n", "pod_security": "baseline"}}
    two = {"name": "two", "namespace": {"name": "n", "pod_security": "restricted"}}
    with pytest.raises(DescriptorError, match="make them agree"):
        parse([one, two])


def test_a_namespace_keeps_the_labels_of_all_components_in_it_also_of_those_outside_the_run():
    here = {"name": "n", "pod_security": "restricted"}
    app = {"name": "app", "namespace": here}
    mesh = {"name": "mesh", "namespace": {**here, "labels": {"mesh": "on"}}}
    gone = {"name": "gone", "state": "absent", "namespace": {**here, "labels": {"gone": "1"}}}
    described = parse([app, mesh, gone])
    (node,) = [one.node for one in build(described[:1], described=described) if one.node.name == "namespace"]
    assert (node.labels, node.others) == ({}, {"mesh": "on"})


def test_a_namespace_gets_a_components_labels_when_what_it_requires_is_there():
    """Pods that join a mesh whose proxies are not there yet reach nobody."""
    here = {"name": "n", "pod_security": "restricted"}
    proxies = {
        "name": "proxies",
        "manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "p"}}],
    }
    mesh = {"name": "mesh", "requires": ["proxies"], "namespace": {**here, "labels": {"mesh": "on"}}}
    graph = build(parse([{"name": "app", "namespace": here}, mesh, proxies]))
    (node,) = [one for one in graph if one.node.name == "namespace labels"]
    assert (node.node.labels, node.node.others) == ({"mesh": "on"}, {"mesh": "on"})
    assert {one.index for one in graph if one.component == "proxies"} & node.after


def test_a_circle_is_refused_with_the_names_in_it():
    with pytest.raises(DescriptorError, match="in a circle: a, b"):
        build(parse([{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}, {"name": "c"}]))


def test_removal_goes_the_other_way_round():
    vertices = build(
        parse([{"name": "base", "state": "absent"}, {"name": "top", "requires": ["base"], "state": "absent"}])
    )
    removal = {vertex.component: vertex for vertex in vertices if vertex.node.name == "removal"}
    assert removal["top"].index in removal["base"].after


def test_names_come_as_a_list_or_as_text():
    assert names_from("kong, istio") == names_from(["kong", "istio"]) == ["kong", "istio"]
    assert names_from("") == []


# --- owners


LIVE = {
    "metadata": {
        "labels": {"ours": "1", "theirs": "1"},
        "managedFields": [
            {
                "manager": "llm.on_eks",
                "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:labels": {"f:ours": {}}}, "f:spec": {"f:replicas": {}}},
            },
            {
                "manager": "kubectl-label",
                "operation": "Update",
                "time": "2026-01-02T03:04:05Z",
                "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:theirs": {}}}},
            },
            {
                "manager": "kube-controller-manager",
                "operation": "Update",
                "fieldsV1": {"f:metadata": {"f:annotations": {"f:revision": {}}}},
            },
        ],
    },
    "spec": {"replicas": 1},
}


def test_the_owner_of_a_field_comes_with_the_time():
    assert str(owner_of(LIVE, "metadata.labels.theirs")) == "kubectl-label at 2026-01-02T03:04:05Z"


def test_only_what_hands_added_is_extra():
    assert [(path, value, owner.manager) for path, value, owner in extra_fields(LIVE)] == [
        ("metadata.labels.theirs", "1", "kubectl-label")
    ]


def test_an_age_is_told_in_the_largest_unit_that_says_something():
    assert age("") == ""
    assert age("2020-01-01T00:00:00Z").endswith(" d")


# --- pages


def test_status_says_how_a_page_is_opened_and_signed_in_to_where_its_system_is_installed():
    page = {"title": "Grafana", "service": "grafana", "namespace": "monitoring", "port": 80, "sign_in": "a command"}
    described = parse([{"name": name, "pages": [{**page, "title": name}]} for name in ("here", "gone", "never")])
    rows = [
        ComponentStatus("here", "ready", revision=3),
        ComponentStatus("gone", "absent", revision=2),
        ComponentStatus("never", "not installed"),
    ]
    pages = pages_of(described, rows)
    assert pages == [
        "here: http://127.0.0.1:8080 after kubectl -n monitoring port-forward svc/grafana 8080:80",
        "  sign in with: a command",
    ]
    assert pages[0] in render(rows, {}, "", "", pages)


def test_status_names_the_pages_of_what_is_installed_and_left_out_of_the_run():
    described = parse([{"name": "here", "state": "skip"}, {"name": "never", "state": "skip"}])
    rows = [
        ComponentStatus("here", "skip", revision=1, pages=["Page: http://198.18.0.2:30081"]),
        ComponentStatus("never", "skip"),
    ]
    assert pages_of(described, rows) == ["Page: http://198.18.0.2:30081"]


def test_status_says_how_a_gateway_without_a_front_door_is_reached():
    gateway = ComponentStatus("gateway", "ready", revision=1)
    assert "port-forward service/llm-gateway 8080:8080" in render([gateway], {}, "", "")
    assert "port-forward" not in render([gateway], {}, "http://front.example", "")
    assert "port-forward" not in render([ComponentStatus("gateway", "not installed")], {}, "", "")


def test_a_page_with_an_address_of_its_own_needs_no_port_forward():
    page = {
        "title": "Dashboards",
        "service": "d",
        "namespace": "monitoring",
        "port": 8080,
        "url": "http://198.18.0.2:30081",
    }
    [component] = parse([{"name": "here", "pages": [page]}])
    assert lines_of(component.pages) == ["Dashboards: http://198.18.0.2:30081"]


def test_values_of_a_chart_that_are_not_known_yet_are_text_that_helm_is_given():
    outputs = Outputs(check=True)
    outputs.publish("network", "vpc_id", Unknown("network.vpc_id"))
    values = outputs.resolve_text({"vpcId": "${out:network.vpc_id}", "more": ["x-${out:network.vpc_id}"]})
    assert msgspec.json.decode(msgspec.json.encode(values))["vpcId"] == references.UNKNOWN
    assert references.is_unknown(values)
