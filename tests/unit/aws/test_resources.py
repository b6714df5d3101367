# SPDX-License-Identifier: Apache-2.0
"""What holds for every kind of AWS resource, against the emulator."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError, NotOurs
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import SHOWN, Unknown, is_unknown
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.names import TAG_NAME

from .kinds import OWNER, STRANGER, Ground, build, sample

KINDS = sorted(RESOURCES)
# Nothing of them can be changed.
UNCHANGED = {"ec2_flow_log", "ec2_nat_gateway", "ec2_placement_group", "efs_access_point"}
# Never marked: a mount target is its file system's, a service-linked role the account's.
UNMARKED = {"efs_mount_target", "iam_service_linked_role"}
# EC2 names are not unique: someone else's of that name is simply another one. Those of launch templates and placement groups are.
NAMED_BY_TAG = {kind for kind in KINDS if kind.startswith("ec2_")} - {"ec2_launch_template", "ec2_placement_group"}


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


@pytest.fixture
def made(aws, ground, request):
    """(kind, sample) of something that exists and has settled."""
    kind = request.param
    example = sample(kind, ground, aws)
    resource = build(kind, aws, example.params)
    resource.apply()
    resource.wait()
    return kind, example


def each(kinds):
    return pytest.mark.parametrize("kind", kinds)


def each_made(kinds):
    return pytest.mark.parametrize("made", kinds, indirect=True)


def some(kinds, start=0):
    """Every third kind; the others only where full counts are asked for."""
    chosen = set(kinds[start::3])
    return [kind if kind in chosen else pytest.param(kind, marks=pytest.mark.full) for kind in kinds]


@each(KINDS)
def test_a_plan_for_something_new_is_whole_and_changes_nothing(aws, ground, kind):
    resource = build(kind, aws, sample(kind, ground, aws).params)
    first = resource.plan()
    assert first.verb == "create" and first.changes
    assert build(kind, aws, resource.params).plan().verb == "create"
    assert all(is_unknown(value) for name, value in resource.outputs().items() if name != "name")


@each_made(KINDS)
def test_what_was_made_needs_no_change(aws, made):
    kind, example = made
    again = build(kind, aws, example.params)
    plan = again.apply()
    assert (plan.verb, [str(change) for change in plan.changes]) == ("none", [])
    outputs = again.outputs()
    assert set(outputs) == set(again.produces) and not is_unknown(outputs)
    aws.admin("DELETE", "calls")
    again.wait()
    assert aws.admin("GET", "calls") == {}, "it was looked at a moment ago"


@each_made([kind for kind in KINDS if kind not in UNCHANGED])
def test_a_change_is_planned_as_it_is_then_made(aws, made):
    kind, example = made
    wanted = {**example.params, **example.changed}
    planned = build(kind, aws, wanted).plan()
    assert planned.verb == "update"
    done = build(kind, aws, wanted).apply()
    assert [str(change) for change in done.changes] == [str(change) for change in planned.changes]
    resource = build(kind, aws, wanted)
    resource.wait()
    assert resource.plan().verb == "none"


@each_made(some([kind for kind in KINDS if kind not in UNMARKED], 1))
def test_tags_are_added_and_others_stay(aws, made):
    kind, example = made
    build(kind, aws, {**example.params, "tags": {"team": "ml"}}).apply()
    more = build(kind, aws, {**example.params, "tags": {"stage": "dev"}})
    more.apply()
    assert {"team": "ml", "stage": "dev", **OWNER.tags}.items() <= more.tags_of(more.look()).items()
    build(kind, aws, {**example.params, "tags": {"stage": "dev"}, "purge_tags": True}).apply()
    assert "team" not in more.tags_of(more.look())


@pytest.mark.parametrize(
    ("to_set", "to_unset"), [({"Name": "somebody-else"}, []), ({}, [TAG_NAME])], ids=["renamed", "older"]
)
@each_made(some(sorted(NAMED_BY_TAG | {"efs_access_point"})))
def test_what_somebody_renamed_or_an_older_version_made_is_found_and_gets_its_names(aws, made, to_set, to_unset):
    kind, example = made
    resource = build(kind, aws, example.params)
    before = resource.look()
    resource.write_tags(before, to_set, to_unset)
    again = build(kind, aws, example.params)
    assert again.apply().verb == "update"
    after = again.look()
    assert again.made(after)["id"] == resource.made(before)["id"]
    assert {"Name": example.params["name"], TAG_NAME: example.params["name"]}.items() <= again.tags_of(after).items()


@each_made(KINDS)
def test_what_is_ours_is_deleted_and_then_gone(aws, made):
    kind, example = made
    assert build(kind, aws, example.params).plan_delete().verb in ("delete", "none")
    removed = build(kind, aws, example.params).delete()
    if kind == "iam_service_linked_role":
        assert (removed.verb, removed.why != "") == ("none", True)
        return
    assert removed.verb == "delete"
    gone = build(kind, aws, example.params)
    assert gone.delete().verb == "none"
    assert gone.plan().verb == "create"


@each_made(KINDS)
def test_a_look_alike_of_someone_else_is_neither_changed_nor_deleted(aws, made):
    kind, example = made
    if kind in NAMED_BY_TAG:
        assert build(kind, aws, example.params, STRANGER).plan().verb == "create"
        assert build(kind, aws, example.params, STRANGER).delete().verb == "none"
    elif kind != "iam_service_linked_role":
        with pytest.raises(NotOurs, match=r"llm\.on_eks/cluster=other"):
            build(kind, aws, {**example.params, **example.changed}, STRANGER).apply()
        kept = build(kind, aws, example.params, STRANGER).delete()
        assert kept.verb == "none" and "left alone" in kept.why
    assert build(kind, aws, example.params).plan().verb == "none"


@each_made(some([kind for kind in KINDS if kind not in NAMED_BY_TAG], 2))
def test_what_is_adopted_is_used_and_left_as_it_is(aws, made):
    kind, example = made
    adopted = build(kind, aws, {**example.params, **example.changed}, STRANGER, adopt=True)
    assert adopted.apply().verb == "none" and not is_unknown(adopted.outputs())
    assert adopted.delete().verb == "none"
    assert build(kind, aws, example.params).plan().verb == "none"


@each(some(KINDS))
def test_throttling_of_every_call_is_ridden_out(aws, ground, kind):
    example = sample(kind, ground, aws)
    aws.admin("POST", "faults", {"each": True})
    resource = build(kind, aws, example.params)
    assert resource.apply().verb == "create"
    resource.wait()
    if example.changed:
        aws.admin("DELETE", "faults")
        aws.admin("POST", "faults", {"each": True, "kind": "transient"})
        assert build(kind, aws, {**example.params, **example.changed}).apply().verb == "update"
    aws.admin("DELETE", "faults")
    aws.admin("POST", "faults", {"each": True})
    build(kind, aws, example.params).delete()


@each_made(some(KINDS, 1))
def test_listings_of_several_pages_are_read_to_their_end(aws, ground, made):
    kind, example = made
    second = sample(kind, ground, aws)
    build(kind, aws, second.params).apply()
    aws.admin("PUT", "page-size", {"items": 1})
    build(kind, aws, second.params).wait()
    assert [build(kind, aws, one.params).plan().verb for one in (example, second)] == ["none", "none"]


@each(KINDS)
def test_a_parameter_that_does_not_exist_is_named(aws, ground, kind):
    params = {**sample(kind, ground, aws).params, "colour": "red"}
    with pytest.raises(AwsError, match="colour"):
        build(kind, aws, params)


@each(some(KINDS, 2))
def test_a_refusal_is_one_sentence_with_the_permission_that_is_missing(aws, ground, kind):
    resource = build(kind, aws, sample(kind, ground, aws).params)
    aws.admin("POST", "faults", {"kind": "error", "code": "AccessDenied", "message": "not allowed", "status": 403})
    with pytest.raises(AwsError) as failure:
        resource.plan()
    said = str(failure.value)
    assert said.startswith((resource.subject, "AWS: sign in"))
    assert "AccessDenied" in said or "403" in said
    assert "\n" not in said


def test_references_to_what_does_not_exist_yet_make_a_plan_and_no_call(aws):
    addon = build("eks_addon", aws, {"cluster": Unknown("cluster.name"), "name": "vpc-cni", "version": "v1"})
    assert addon.plan().verb == "create"
    assert addon.connection.calls == set()
    role = {"cluster": "nowhere", "namespace": "a", "service_account": "b", "role_arn": Unknown("role.arn")}
    plan = build("eks_pod_identity_association", aws, {**role, "cluster": Unknown()}).plan()
    assert {str(change) for change in plan.changes} >= {f"roleArn: (none) → {SHOWN}"}


def test_the_provider_of_a_cluster_that_is_gone_is_found_by_its_marks(aws, ground):
    example = sample("iam_oidc_provider", ground, aws)
    build("iam_oidc_provider", aws, example.params, STRANGER).apply()
    gone = {"issuer": Unknown("cluster.issuer")}
    while build("iam_oidc_provider", aws, gone).plan_delete().verb == "delete":  # of other tests
        build("iam_oidc_provider", aws, gone).delete()
    build("iam_oidc_provider", aws, sample("iam_oidc_provider", ground, aws).params).apply()
    assert build("iam_oidc_provider", aws, gone).delete().verb == "delete"
    assert build("iam_oidc_provider", aws, gone).plan_delete().verb == "none"
    assert build("iam_oidc_provider", aws, example.params, STRANGER).plan().verb == "none"
