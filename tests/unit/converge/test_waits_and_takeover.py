# SPDX-License-Identifier: Apache-2.0
"""When a workload counts as rolled out; what a takeover leaves; what a refusal's words mean."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.recreate import is_immutable
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.wait import fulfilled, is_renewed
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import ApiError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.refusals import is_final, mend
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.as_applied import as_applied
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.takeover import as_taken_over


def living(kind, spec, **status):
    return {"kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": {"observedGeneration": 2, **status}}


PARTITION = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
ON_DELETE = {"type": "OnDelete"}


@pytest.mark.parametrize(
    ("workload", "ready"),
    [
        # Two of three are to stay at the old revision, by order.
        (living("StatefulSet", {"replicas": 3, "updateStrategy": PARTITION}, replicas=3, readyReplicas=3, updatedReplicas=1), True),
        (living("StatefulSet", {"replicas": 3, "updateStrategy": PARTITION}, replicas=3, readyReplicas=3), False),
        (living("StatefulSet", {"replicas": 3, "updateStrategy": PARTITION}, replicas=3, readyReplicas=2, updatedReplicas=1), False),
        (living("StatefulSet", {"replicas": 3}, replicas=3, readyReplicas=3, updatedReplicas=1), False),
        (living("StatefulSet", {"replicas": 2, "updateStrategy": ON_DELETE}, replicas=2, readyReplicas=2), True),
        (living("DaemonSet", {"updateStrategy": ON_DELETE}, desiredNumberScheduled=3, numberAvailable=3), True),
        (living("DaemonSet", {"updateStrategy": ON_DELETE}, desiredNumberScheduled=3, numberAvailable=2), False),
        (living("DaemonSet", {}, desiredNumberScheduled=3, numberAvailable=3, updatedNumberScheduled=1), False),
        (living("Deployment", {"replicas": 2, "paused": True}, replicas=2, availableReplicas=2, updatedReplicas=0), True),
        (living("Deployment", {"replicas": 2, "paused": True}, replicas=2, availableReplicas=1), False),
        (living("Deployment", {"replicas": 2, "paused": True}), True),
        (living("Deployment", {"replicas": 2}, replicas=2, availableReplicas=2, readyReplicas=2), False),
    ],
)  # fmt: skip
def test_a_workload_is_ready_when_it_is_rolled_out_as_far_as_it_asks(workload, ready):
    assert fulfilled(workload, "Available") is ready


def test_a_workload_whose_controller_saw_nothing_of_it_yet_is_not_ready():
    old = living("DaemonSet", {"updateStrategy": ON_DELETE}, desiredNumberScheduled=0, numberAvailable=0)
    old["metadata"]["generation"] = 3
    assert not fulfilled(old, "Available")


class Cluster:
    """ReplicaSets and pods of one Deployment."""

    def __init__(self, sets, pods):
        self.objects = {"ReplicaSet": sets, "Pod": pods}

    def resource(self, _version, kind):
        return kind

    def list(self, kind, _namespace, *, labels):
        assert labels == "app=a"
        return self.objects[kind]


def replica_set(uid, **labels):
    labels = {"app": "a", "pod-template-hash": uid, **labels}
    return {"metadata": {"uid": uid}, "spec": {"template": {"metadata": {"labels": labels}}}}


def pod(owner, phase="Running", **labels):
    return {"metadata": {"labels": labels, "ownerReferences": [{"uid": owner}]}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("sets", "pods", "renewed"),
    [
        ([replica_set("old"), replica_set("new", mesh="in")], [pod("new"), pod("old")], False),
        ([replica_set("old"), replica_set("new", mesh="in")], [pod("new", added="by a mesh"), pod("old", "Failed")], True),
        # What made it is gone already.
        ([replica_set("new", mesh="in")], [pod("new"), pod("old")], False),
        # Another image, the same labels.
        ([replica_set("old", mesh="in"), replica_set("new", mesh="in")], [pod("new"), pod("old")], True),
        ([], [], True),
    ],
)  # fmt: skip
def test_a_deployment_is_renewed_when_no_pod_of_other_labels_is_left(sets, pods, renewed):
    template = {"metadata": {"labels": {"app": "a", "mesh": "in"}}}
    live = {"metadata": {"namespace": "n"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}}
    assert is_renewed(Cluster(sets, pods), live) is renewed


def entry(manager, fields, **more):
    return {"manager": manager, "operation": "Update", "fieldsV1": fields, **more}


def test_a_takeover_drops_what_a_tool_wrote_and_nobody_else_holds():
    planned = {
        "metadata": {"annotations": {"old": "1", "kept": "1"}, "labels": {"gone": "1"}},
        "spec": {"list": [{"name": "a", "x": 1, "y": 2}, {"name": "b", "x": 1}], "set": ["p", "q"], "number": 3},
    }
    described = {"spec": {"list": [{"name": "a", "x": 1}], "set": ["p"]}}
    theirs = {
        "f:metadata": {"f:annotations": {"f:old": {}, "f:kept": {}}, "f:labels": {"f:gone": {}}},
        "f:spec": {
            "f:list": {
                'k:{"name":"a"}': {".": {}, "f:x": {}, "f:y": {}},
                'k:{"name":"b"}': {".": {}, "f:name": {}, "f:x": {}},
            },
            "f:set": {'v:"p"': {}, 'v:"q"': {}},
            "f:number": {},
        },
    }
    others = {"f:metadata": {"f:annotations": {"f:kept": {}}}, "f:spec": {"f:number": {}}}
    made = as_taken_over(planned, described, [entry("kubectl-client-side-apply", theirs), entry("controller", others)])
    assert made == {
        "metadata": {"annotations": {"kept": "1"}},
        "spec": {"list": [{"name": "a", "x": 1}], "set": ["p"], "number": 3},
    }


@pytest.mark.parametrize("manager", ["kubectl-edit", "kubectl-patch", "cert-manager", "kube-controller-manager"])
def test_what_a_person_or_a_controller_set_stays(manager):
    planned = {"data": {"x": "1"}}
    assert as_taken_over(planned, {}, [entry(manager, {"f:data": {"f:x": {}}})]) == planned


def test_a_text_is_sent_without_what_the_server_writes():
    exported = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "managedFields": [{}], "labels": None},
        "data": {"x": "YQ=="},
        "stringData": {"x": "b", "y": "c"},
        "status": {"phase": "Active"},
    }
    assert as_applied(exported) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "data": {"x": "Yg==", "y": "Yw=="},
    }


@pytest.mark.parametrize(
    "words",
    [
        'RoleBinding "a" is invalid: roleRef: Invalid value: {}: cannot change roleRef',
        'Service "a" is invalid: spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set',
        'Service "a" is invalid: spec.loadBalancerClass: Invalid value: "x": may not change once set',
        'Deployment.apps "a" is invalid: spec.selector: Invalid value: {}: field is immutable',
        'StatefulSet.apps "a" is invalid: spec: Forbidden: updates to statefulset spec for fields other than replicas',
        'StorageClass "a" is invalid: parameters: Forbidden: updates to parameters are forbidden.',
        'ConfigMap "a" is invalid: data: Forbidden: field is immutable when `immutable` is set',
        'PriorityClass "a" is invalid: value: Forbidden: may not be changed in an update.',
        'PersistentVolumeClaim "a" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests',
        'Pod "a" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`',
    ],
)
def test_each_of_the_apis_words_for_fixed_fields_is_known(words):
    assert is_immutable(ApiError(words, 422))


@pytest.mark.parametrize(
    "words",
    [
        'Service "a" is invalid: spec.ports: Required value',
        'Pod "a" is invalid: spec.hostNetwork: Invalid value: may not be set when hostUsers is false',
    ],
)
def test_other_refusals_ask_for_no_recreation(words):
    assert not is_immutable(ApiError(words, 422))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            'pods is forbidden: User "jane" cannot list resource "pods" in API group ""',
            "give these credentials the right",
        ),
        ('services "s" is forbidden: exceeded quota: q, requested: count/services=1', "raise the quota"),
        ('pods "p" is forbidden: violates PodSecurity "restricted:latest": privileged', "pod_security"),
        ("x is forbidden: unable to create new content in namespace n because it is being terminated", "wait until"),
        (
            'persistentvolumeclaims "v" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi',
            "LimitRange",
        ),
        ("x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", "policy of the cluster"),
        (
            'x is forbidden: user "jane" is attempting to grant RBAC permissions not currently held',
            "no right that they lack",
        ),
        ("something new", ""),
    ],
)
def test_a_403_says_what_helps(message, words):
    found = mend(403, message, {})
    assert words in found if words else found == ""


def test_a_refusal_by_nature_is_final_and_a_passing_one_is_not():
    assert is_final(b'{"message":"failed to create manager: duplicate entries for key [name=\\"FOO\\"]"}')
    assert is_final(b'{"message":"admission webhook \\"w\\" denied the request: no"}')
    assert not is_final(b'{"message":"etcdserver: request timed out"}')
    assert not is_final(b'{"message":"failed calling webhook \\"w\\": connection refused"}')
