# SPDX-License-Identifier: Apache-2.0
"""What all EKS resources share: tags as a plain map on an ARN, and updates, which are followed to their end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ..base.errors import AwsError, NotFound
from ..base.plan import State
from ..base.resource import AwsResource
from ..base.tagging import tag_map

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

# Messages of EKS about a role, its trust or its policies that have not propagated yet, by operation: those that
# https://github.com/hashicorp/terraform-provider-aws (internal/service/eks) retries, and the issues below.
ROLE_UNKNOWN: dict[str, tuple[str, ...]] = {
    "create_cluster": (
        "does not exist",
        "could not be assumed",
        "Error in role params",  # https://github.com/pulumi/pulumi-eks/issues/203
        "The provided role doesn't have the Amazon EKS Managed Policies",
        "IAM role's policy must include",
    ),
    "create_nodegroup": (
        "could not be assumed",
        "does not exist",
        "The provided role doesn't have the Amazon EKS Managed Policies",
        # A fresh account's service-linked role: https://docs.aws.amazon.com/eks/latest/userguide/using-service-linked-roles-eks-nodegroups.html
        "service-linked role",
    ),
    "create_addon": ("could not be assumed", "does not exist", "Trust policy of the role provided is invalid"),
    # https://github.com/hashicorp/terraform-provider-aws/issues/34711 and 41483
    "create_pod_identity_association": (
        "Role provided in the request does not exist",
        "Trust policy of the role provided is invalid",
        "could not be assumed",
    ),
}
for _later in ("addon", "pod_identity_association"):
    ROLE_UNKNOWN[f"update_{_later}"] = ROLE_UNKNOWN[f"create_{_later}"]


def newer(one: str, other: str) -> str:
    """The newer of two Kubernetes versions; what is none, or not known yet, is taken as it is. AWS upgrades clusters by itself, and none goes back.

    https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
    """
    if not all(re.fullmatch(r"\d+\.\d+", version) for version in (one, other)):
        return one or other
    return max(one, other, key=lambda version: [int(part) for part in version.split(".")])


def cluster_named(asking: AwsResource, name: str) -> State | None:
    """The account's cluster of that name, whoever's it is; None where there is none. Raises AwsError."""
    try:
        found: State = asking.call("describe_cluster", service="eks", name=name)["cluster"]
    except AwsError as error:
        if error.code != "ResourceNotFoundException":
            raise
        return None
    return found


class EksResource(AwsResource):
    """A resource of the EKS API."""

    service = "eks"
    not_found: ClassVar[tuple[str, ...]] = ("ResourceNotFoundException", "NotFoundException")

    def follow(self, update: dict[str, Any], cluster: str, **of: str) -> None:
        """Wait until the update has ended. `of`: nodegroupName or addonName. Raises AwsError with what AWS says went wrong."""
        seen: dict[str, Any] = update

        def look() -> str:
            nonlocal seen
            seen = self.call("describe_update", name=cluster, updateId=update["id"], **of)["update"]
            return str(seen["status"])

        def why() -> str:
            return "; ".join(f"{error['errorCode']}: {error['errorMessage']}" for error in seen.get("errors", []))

        kind = update["type"].removesuffix("Update")
        self.until(look, f"the update of {kind}", good="Successful", bad=("Failed", "Cancelled"), why=why)


class EksMember(EksResource):
    """A resource in a cluster. `listing`: operation, result, and the member of a row with its name, if rows are no names.

    `describing`: operation and result; `name_in`: the parameter, and the member of the description, with its name.
    """

    listing: ClassVar[tuple[str, str, str]]
    describing: ClassVar[tuple[str, str]]
    name_in: ClassVar[str]

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        """In every cluster, by their own marks: the cluster may be adopted while its members are ours."""
        clusters = looker.list("eks", "list_clusters", "clusters")
        listings = looker.details.map(partial(cls._named, looker), clusters)
        wanted = [(cluster, name) for cluster, found in zip(clusters, listings, strict=True) for name in found]
        rows = looker.details.map(partial(cls._described, looker), wanted)
        for (cluster, __), row in zip(wanted, rows, strict=True):
            tags = tag_map((row or {}).get("tags") or {})
            if row and looker.ours(tags):
                state = str(row.get("status") or "")
                name = f"{cluster}/{cls.shown_name(row)}"
                yield looker.item(cls.kind, str(row[cls.name_in]), tags, name=name, state=state)

    @classmethod
    def shown_name(cls, row: State) -> str:
        return str(row[cls.name_in])

    @classmethod
    def _named(cls, looker: Looker, cluster: str) -> list[str]:
        operation, result, member = cls.listing
        try:
            rows = looker.list("eks", operation, result, clusterName=cluster)
        except NotFound:
            return []
        return [row[member] if member else row for row in rows]

    @classmethod
    def _described(cls, looker: Looker, wanted: tuple[str, str]) -> State | None:
        cluster, name = wanted
        operation, result = cls.describing
        try:
            return dict(looker.call("eks", operation, clusterName=cluster, **{cls.name_in: name})[result])
        except NotFound:
            return None
