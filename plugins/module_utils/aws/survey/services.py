# SPDX-License-Identifier: Apache-2.0
"""The parts of a census beside EC2 and EKS: one function for each service, that lists everything and keeps what carries the mark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.errors import NotFound
from ..base.resource import tag_map
from ..estimate.prices import per_hour_of
from .item import Item, Look, Looker, Row

# DescribeTags of ELBv2 takes 20 ARNs at most.
_ARNS = 20
_GIB = 2**30


def _load_balancers(looker: Looker) -> Iterator[Item]:
    for row, tags in _elb(looker, "describe_load_balancers", "LoadBalancers", "LoadBalancerArn"):
        price = per_hour_of("network_load_balancer")
        state = str((row.get("State") or {}).get("Code") or "")
        name = row["LoadBalancerName"]
        yield looker.item(
            "elb_load_balancer", row["LoadBalancerArn"], tags, name=name, state=state, price_per_hour=price
        )


def _target_groups(looker: Looker) -> Iterator[Item]:
    for row, tags in _elb(looker, "describe_target_groups", "TargetGroups", "TargetGroupArn"):
        yield looker.item("elb_target_group", row["TargetGroupArn"], tags, name=row["TargetGroupName"])


def _elb(looker: Looker, operation: str, result: str, arn: str) -> Iterator[tuple[Row, dict[str, str]]]:
    rows = {str(row[arn]): row for row in looker.list("elbv2", operation, result)}
    arns = list(rows)
    for at in range(0, len(arns), _ARNS):
        try:
            found = looker.call("elbv2", "describe_tags", ResourceArns=arns[at : at + _ARNS])["TagDescriptions"]
        except NotFound:
            # One of them went meanwhile, and took the answer for the others with it.
            found = [tag for each in arns[at : at + _ARNS] for tag in _tags_of(looker, each)]
        for row in found:
            tags = tag_map(row.get("Tags") or [])
            if looker.ours(tags):
                yield rows[str(row["ResourceArn"])], tags


def _tags_of(looker: Looker, arn: str) -> list[Row]:
    try:
        return list(looker.call("elbv2", "describe_tags", ResourceArns=[arn])["TagDescriptions"])
    except NotFound:
        return []


def _file_systems(looker: Looker) -> Iterator[Item]:
    for row in looker.list("efs", "describe_file_systems", "FileSystems"):
        tags = tag_map(row.get("Tags") or [])
        if not looker.ours(tags) or row["LifeCycleState"] == "deleted":
            continue
        identifier, state = str(row["FileSystemId"]), str(row["LifeCycleState"])
        price = per_hour_of("efs_gib", float((row.get("SizeInBytes") or {}).get("Value") or 0) / _GIB)
        yield looker.item(
            "efs_file_system", identifier, tags, name=row.get("Name", ""), state=state, price_per_hour=price
        )
        try:
            targets = looker.list("efs", "describe_mount_targets", "MountTargets", FileSystemId=identifier)
        except NotFound:
            continue
        for target in targets:
            name, state = f"{identifier}/{target['SubnetId']}", str(target["LifeCycleState"])
            yield looker.item("efs_mount_target", target["MountTargetId"], tags, name=name, state=state)


def _access_points(looker: Looker) -> Iterator[Item]:
    for row in looker.list("efs", "describe_access_points", "AccessPoints"):
        tags = tag_map(row.get("Tags") or [])
        if looker.ours(tags) and row.get("LifeCycleState") != "deleted":
            state = str(row.get("LifeCycleState") or "")
            yield looker.item("efs_access_point", row["AccessPointId"], tags, name=row.get("Name", ""), state=state)


def _roles(looker: Looker) -> Iterator[Item]:
    # Service-linked roles are the account's, and take no marks.
    rows = [row for row in looker.list("iam", "list_roles", "Roles") if not row["Path"].startswith("/aws-")]
    for row, tags in looker.with_tags(
        rows, lambda row: looker.list("iam", "list_role_tags", "Tags", RoleName=row["RoleName"])
    ):
        yield looker.item("iam_role", row["RoleName"], tags, name=row["RoleName"])


def _policies(looker: Looker) -> Iterator[Item]:
    rows = looker.list("iam", "list_policies", "Policies", Scope="Local")
    for row, tags in looker.with_tags(
        rows, lambda row: looker.list("iam", "list_policy_tags", "Tags", PolicyArn=row["Arn"])
    ):
        yield looker.item("iam_policy", row["Arn"], tags, name=row["PolicyName"])


def _instance_profiles(looker: Looker) -> Iterator[Item]:
    rows = looker.list("iam", "list_instance_profiles", "InstanceProfiles")

    def tags_of(row: Row) -> Any:
        given = {"InstanceProfileName": row["InstanceProfileName"]}
        return looker.call("iam", "get_instance_profile", **given)["InstanceProfile"].get("Tags") or []

    for row, tags in looker.with_tags(rows, tags_of):
        yield looker.item("iam_instance_profile", row["InstanceProfileName"], tags, name=row["InstanceProfileName"])


def _oidc_providers(looker: Looker) -> Iterator[Item]:
    rows = looker.list("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList")

    def tags_of(row: Row) -> Any:
        return looker.list("iam", "list_open_id_connect_provider_tags", "Tags", OpenIDConnectProviderArn=row["Arn"])

    for row, tags in looker.with_tags(rows, tags_of):
        yield looker.item("iam_oidc_provider", row["Arn"], tags, name=row["Arn"].partition("oidc-provider/")[2])


def _buckets(looker: Looker) -> Iterator[Item]:
    names = [row["Name"] for row in looker.list("s3", "list_buckets", "Buckets")]
    for name, tags in looker.with_tags(
        names, lambda name: looker.call("s3", "get_bucket_tagging", Bucket=name)["TagSet"]
    ):
        # What a bucket costs is what lies in it, which only a listing of all its objects would say.
        yield looker.item("s3_bucket", name, tags, name=name, price_per_hour=None)


def _queues(looker: Looker) -> Iterator[Item]:
    # Without a size of its pages SQS stops at a thousand, and says nothing of more.
    urls = looker.list("sqs", "list_queues", "QueueUrls", MaxResults=1000)
    for url, tags in looker.with_tags(
        urls, lambda url: looker.call("sqs", "list_queue_tags", QueueUrl=url).get("Tags") or {}
    ):
        yield looker.item("sqs_queue", url, tags, name=url.rsplit("/", 1)[1])


def _rules(looker: Looker) -> Iterator[Item]:
    rows = looker.list("events", "list_rules", "Rules")
    for row, tags in looker.with_tags(
        rows, lambda row: looker.call("events", "list_tags_for_resource", ResourceARN=row["Arn"])["Tags"]
    ):
        yield looker.item("events_rule", row["Name"], tags, name=row["Name"], state=str(row.get("State") or ""))


def _repositories(looker: Looker) -> Iterator[Item]:
    rows = looker.list("ecr", "describe_repositories", "repositories")

    def tags_of(row: Row) -> Any:
        return looker.call("ecr", "list_tags_for_resource", resourceArn=row["repositoryArn"])["tags"]

    for row, tags in looker.with_tags(rows, tags_of):
        name = row["repositoryName"]
        yield looker.item("ecr_repository", name, tags, name=name, price_per_hour=None)


def _keys(looker: Looker) -> Iterator[Item]:
    rows = looker.list("kms", "list_keys", "Keys")
    for row, tags in looker.with_tags(
        rows, lambda row: looker.list("kms", "list_resource_tags", "Tags", KeyId=row["KeyId"])
    ):
        state = str(looker.call("kms", "describe_key", KeyId=row["KeyId"])["KeyMetadata"]["KeyState"])
        # A key on its way out costs nothing, and stays visible for weeks.
        if state != "PendingDeletion":
            price = per_hour_of("kms_key")
            name = tags.get("Name", "")
            yield looker.item("kms_key", row["KeyId"], tags, name=name, state=state, price_per_hour=price)


def _log_groups(looker: Looker) -> Iterator[Item]:
    rows = looker.list("logs", "describe_log_groups", "logGroups")

    def tags_of(row: Row) -> Any:
        arn = row.get("logGroupArn") or row["arn"].removesuffix(":*")
        return looker.call("logs", "list_tags_for_resource", resourceArn=arn).get("tags") or {}

    for row, tags in looker.with_tags(rows, tags_of):
        yield looker.item("log_group", row["logGroupName"], tags, name=row["logGroupName"], price_per_hour=None)


LOOKS: dict[Look, tuple[str, ...]] = {
    _load_balancers: ("elb_load_balancer",),
    _target_groups: ("elb_target_group",),
    _file_systems: ("efs_file_system", "efs_mount_target"),
    _access_points: ("efs_access_point",),
    _roles: ("iam_role",),
    _policies: ("iam_policy",),
    _instance_profiles: ("iam_instance_profile",),
    _oidc_providers: ("iam_oidc_provider",),
    _buckets: ("s3_bucket",),
    _queues: ("sqs_queue",),
    _rules: ("events_rule",),
    _repositories: ("ecr_repository",),
    _keys: ("kms_key",),
    _log_groups: ("log_group",),
}
