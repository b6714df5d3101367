# SPDX-License-Identifier: Apache-2.0
"""The pure parts: plans, versions, sentences. Recorded refusals are replayed against every class that could meet them."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import NotFound, sentence
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.plan import Rules, Tags, decide, removal
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.tagging import fault
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import SHOWN, Unknown
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.addon import pick_version
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.cluster import version_fault, version_steps
from ansible_collections.llm.on_eks.plugins.module_utils.aws.iam.role import trust_of
from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference.quotas import quota_key
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError, parse
from local.aws.errors import recorded


def said(plan):
    return [str(change) for change in plan.changes]


def test_what_is_not_desired_is_not_compared():
    assert decide("x", {"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1}}).verb == "none"


def test_a_nested_change_names_its_path():
    plan = decide("x", {"vpc": {"public": True, "private": False}}, {"vpc": {"private": True}})
    assert (plan.verb, said(plan)) == ("update", ["vpc.private: false → true"])
    assert plan.changed == {"vpc": {"private": True}}


def test_none_means_as_it_is():
    assert decide("x", {"a": 1}, {"a": None}).verb == "none"


def test_what_is_named_twice_is_wanted_once_where_order_says_nothing():
    rules = Rules(unordered=("a", "b.c"))
    twice = {"a": ["x", "y", "x"], "b": {"c": [{"k": 1}, {"k": 1}]}}
    assert decide("x", {"a": ["y", "x"], "b": {"c": [{"k": 1}]}}, twice, rules=rules).verb == "none"
    assert decide("x", None, twice, rules=rules).desired == {"a": ["x", "y"], "b": {"c": [{"k": 1}]}}


def test_order_counts_unless_it_says_nothing():
    assert decide("x", {"a": [1, 2]}, {"a": [2, 1]}).verb == "update"
    assert decide("x", {"a": [1, 2]}, {"a": [2, 1]}, rules=Rules(unordered=("a",))).verb == "none"


def test_an_exact_map_loses_what_is_not_desired():
    plan = decide("x", {"labels": {"a": "1", "b": "2"}}, {"labels": {"a": "1"}}, rules=Rules(exact=("labels",)))
    assert said(plan) == ["labels.b: 2 → (none)"]


def test_an_exact_map_gets_a_member_whose_value_is_empty():
    """A policy for the whole cluster has no namespaces, and a label may have no value: the member counts."""
    for value in ([], "", {}):
        plan = decide("x", {"policies": {}}, {"policies": {"admin": value}}, rules=Rules(exact=("policies",)))
        assert plan.changed == {"policies": {"admin": value}}
    assert decide("x", {}, {"policies": {"admin": None}}, rules=Rules(exact=("policies",))).verb == "none"


def test_documents_are_compared_as_data():
    rules = Rules(documents=("policy",))
    have = {"policy": '{"Statement": [{"Action": ["a:b"], "Effect": "Allow"}]}'}
    assert (
        decide("x", have, {"policy": '{"Statement":[{"Effect":"Allow","Action":"a:b"}]}'}, rules=rules).verb == "none"
    )
    assert (
        decide("x", have, {"policy": '{"Statement":[{"Effect":"Deny","Action":"a:b"}]}'}, rules=rules).verb == "update"
    )


def test_a_fixed_field_is_refused_and_a_replaced_one_replaces():
    rules = Rules(fixed=("cidr",), replaced=("disk",))
    assert decide("x", {"cidr": "a"}, {"cidr": "b"}, rules=rules).refused == ("cidr",)
    assert decide("x", {"disk": 1}, {"disk": 2}, rules=rules).verb == "replace"


def test_tags_are_set_and_purged_but_never_those_of_aws():
    tags = Tags({"a": "1", "old": "x", "aws:eks": "y"}, {"a": "2"}, purge=True)
    plan = decide("x", {}, {}, tags)
    assert (plan.set_tags, plan.unset_tags) == ({"a": "2"}, ("old",))
    assert said(plan) == ["tags.a: 1 → 2", "tags.old: x → (none)"]


def test_what_is_not_known_yet_is_shown_so():
    plan = decide("x", {"role": "r"}, {"role": Unknown("iam_role.arn")})
    assert said(plan) == ["role: r → (known after apply)"]


def test_the_diff_shows_before_and_after():
    diff = decide("x", {"a": 1, "z": 9}, {"a": 2}, Tags({"t": "1"}, {"t": "1"})).diff()
    assert '"a": 1' in diff["before"] and '"a": 2' in diff["after"] and '"t": "1"' in diff["after"]
    assert removal("x", {"a": 1}).diff()["after"] == ""


@pytest.mark.parametrize(
    ("current", "wanted", "steps"),
    [("1.33", "1.35", ["1.34", "1.35"]), ("1.35", "1.35", []), ("1.35", None, []), ("1.35", "1.33", [])],
)
def test_kubernetes_versions_go_one_by_one(current, wanted, steps):
    assert version_steps(current, wanted) == steps


@pytest.mark.parametrize(
    ("wanted", "words"), [("latest", "'latest' is none of Kubernetes"), ("1", "'1' is none of Kubernetes")]
)
def test_a_version_that_no_cluster_can_get_is_refused_by_the_plan(wanted, words):
    assert words in version_fault(wanted)


@pytest.mark.parametrize("wanted", ["1.35", None, SHOWN])
def test_a_version_that_a_cluster_can_get_is_taken(wanted):
    assert version_fault(wanted) == ""


def test_addon_versions_are_picked_for_the_kubernetes_version():
    def version(name, default):
        fits = [{"clusterVersion": "1.35", "defaultVersion": default}, {"clusterVersion": "1.34"}]
        return {"addonVersion": name, "compatibilities": fits}

    addons = [{"addonVersions": [version("v3", False), version("v2", True), version("v1", False)]}]
    assert [pick_version(addons, "1.35", wanted) for wanted in ("default", "latest")] == ["v2", "v3"]
    assert pick_version(addons, "1.20", "default") == ""


def test_pod_identity_needs_to_tag_sessions():
    (statement,) = trust_of(["pods.eks.amazonaws.com"])["Statement"]
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]


@pytest.mark.parametrize(
    ("instance_type", "family"),
    [
        ("g6e.xlarge", "g"),
        ("inf2.xlarge", "inf"),
        ("trn1.32xlarge", "trn"),
        ("p5.48xlarge", "p"),
        ("x2gd.xlarge", "x"),
        ("u-6tb1.metal", "u"),
        ("m7i.large", "standard"),
    ],
)
def test_instances_count_against_the_quota_of_their_family(instance_type, family):
    assert quota_key(instance_type) == (family, "on-demand")


def test_spot_instances_of_p5_have_a_quota_of_their_own():
    assert quota_key("p5en.48xlarge", spot=True) == ("p5", "spot")
    assert quota_key("p4d.24xlarge", spot=True) == ("p", "spot")


def test_only_the_own_clusters_mark_is_ours():
    owner = Owner("demo", "network")
    assert owner.owns({"llm.on_eks/cluster": "demo"})
    assert not owner.owns({"llm.on_eks/cluster": "other"})
    assert not owner.owns({"kubernetes.io/cluster/demo": "owned", "Name": "demo"})


def test_missing_credentials_are_said_with_what_to_set():
    assert "AWS_PROFILE" in sentence("AWS", "sign in", NoCredentialsError())


def test_a_missing_permission_is_named():
    error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "CreateAddon")
    text = sentence("EKS add-on demo/vpc-cni", "create_addon", error, action="eks:CreateAddon", caller="role/x")
    assert text == (
        "EKS add-on demo/vpc-cni: create addon failed: AccessDeniedException: no; role/x needs the permission eks:CreateAddon"
    )


# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html, with the forms of its messages
DENIED = "User: arn:aws:iam::1:role/x is not authorized to perform: eks:CreateAddon on resource: arn:aws:eks:us-west-2:1:cluster/demo "


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("with an explicit deny in a service control policy", "service control policy of the organization forbids"),
        ("because no service control policy allows the eks:CreateAddon action", "ask who manages the organization"),
        ("with an explicit deny in a permissions boundary", "the permissions boundary of role/x does not allow"),
        ("because no permissions boundary allows the eks:CreateAddon action", "extend the boundary"),
        ("because no session policy allows the eks:CreateAddon action", "the session of role/x"),
        ("because no VPC endpoint policy allows the eks:CreateAddon action", "policy of the VPC endpoint"),
        ("with an explicit deny in a resource-based policy", "policy of the resource denies"),
        ("with an explicit deny in an identity-based policy", "take that Deny out"),
    ],
)
def test_a_policy_that_denies_is_no_missing_permission(why, words):
    error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": DENIED + why}}, "CreateAddon")
    text = sentence("EKS add-on demo/vpc-cni", "create_addon", error, action="eks:CreateAddon", caller="role/x")
    assert words in text and "needs the permission" not in text


def test_a_permission_that_no_policy_gives_is_a_missing_one():
    message = DENIED + "because no identity-based policy allows the eks:CreateAddon action"
    error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "CreateAddon")
    text = sentence("EKS add-on demo/vpc-cni", "create_addon", error, action="eks:CreateAddon", caller="role/x")
    assert text.endswith("role/x needs the permission eks:CreateAddon")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"aws:owner": "me"}, "begins with aws:"),
        ({"AWS:owner": "me"}, "begins with aws:"),
        ({"k" * 129: "v"}, "129 characters"),
        ({"": "v"}, "0 characters"),
        ({"k": "v" * 257}, "257 characters"),
        ({"team": "a&b"}, "the character '&'"),
        ({f"k{n}": "v" for n in range(51)}, "51 tags"),
    ],
)
def test_a_tag_that_a_service_refuses_is_named_before_anything_is_touched(tags, words):
    entry = {"type": "iam_role", "name": "r", "properties": {"name": "r", "tags": tags}}
    with pytest.raises(DescriptorError, match=words):
        parse([{"name": "identity", "aws": [entry]}])


def test_sound_tags_are_taken():
    tags = {"Kostenstelle": "Köln 5", "llm.on_eks/cluster": "a-b_c", "url": "https://x/y?".rstrip("?"), "n": 1}
    assert fault(tags) == "" and fault({"Name": "a (b)"}, "ec2") == "" and fault({"k": SHOWN}) == ""


def classes_of(service):
    return [kind for kind in RESOURCES.values() if kind.service == service]


@pytest.mark.parametrize(
    "refusal", [row for row in recorded().values() if classes_of(row.service)], ids=lambda row: row.id
)
def test_a_recorded_refusal_is_told_in_one_sentence(refusal):
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    connection = Connection(lambda name: boto3.client(name, region_name="us-west-2", **keys), "us-west-2")
    for kind in classes_of(refusal.service):
        required = {name: "x" for name, spec in kind.arguments.items() if spec.get("required")}
        resource = kind(connection, required)
        answer = {"Error": {"Code": refusal.code, "Message": refusal.message}}
        failure = resource._failure(refusal.service, "create_it", ClientError(answer, refusal.operations[0]))
        assert str(failure).startswith(f"{resource.subject}: create it failed: {refusal.code}: ")
        assert "\n" not in str(failure) and failure.code == refusal.code
        assert isinstance(failure, NotFound) == (refusal.code in kind.not_found)
