# SPDX-License-Identifier: Apache-2.0
"""Pod identity associations. https://docs.aws.amazon.com/eks/latest/APIReference/API_PodIdentityAssociation.html"""

from __future__ import annotations

from ..base.arguments import flag, given, text
from ..base.errors import AwsError
from ..base.plan import State
from ..base.tagging import Tagging
from .base import ROLE_UNKNOWN, EksMember


class EksPodIdentityAssociation(EksMember):
    """The IAM role of a service account. A service account has one at most; those of an add-on belong to the add-on."""

    kind = "eks_pod_identity_association"
    stands_on = ("eks_cluster", "iam_role")
    carries_traffic = False
    listing = ("list_pod_identity_associations", "associations", "associationId")
    describing = ("describe_pod_identity_association", "association")
    name_in = "associationId"
    tagging = Tagging("resourceArn", "associationArn", tags="tags", keys="tagKeys", form="map")
    passing = ROLE_UNKNOWN
    noun = "EKS pod identity association"
    key = ("cluster", "namespace", "service_account")
    produces = ("id", "arn")
    arguments = {
        "cluster": text(required=True),
        "namespace": text(required=True),
        "service_account": text(required=True),
        "role_arn": text(),
        "target_role_arn": text(),
        "disable_session_tags": flag(),
    }

    @classmethod
    def shown_name(cls, row: State) -> str:
        return f"{row['namespace']}/{row['serviceAccount']}"

    def read(self) -> State | None:
        p = self.params
        found = self.listed(
            "list_pod_identity_associations",
            "associations",
            clusterName=p["cluster"],
            namespace=p["namespace"],
            serviceAccount=p["service_account"],
        )
        if not found:
            return None
        row: State = self.call(
            "describe_pod_identity_association", clusterName=p["cluster"], associationId=found[0]["associationId"]
        )["association"]
        if row.get("ownerArn"):
            raise AwsError(f"{self.subject} is owned by {row['ownerArn']}; set the role at that add-on (pod_identity)")
        return row

    def desired(self, current: State | None) -> State:
        p = self.params
        return {
            "roleArn": p["role_arn"],
            "targetRoleArn": p["target_role_arn"],
            "disableSessionTags": p["disable_session_tags"],
        }

    def create(self, desired: State) -> None:
        p = self.params
        self.call(
            "create_pod_identity_association",
            clusterName=p["cluster"],
            namespace=p["namespace"],
            serviceAccount=p["service_account"],
            **desired,
            tags=self.tags,
        )

    def update(self, changed: State, current: State) -> None:
        identifier = current["associationId"]
        self.call(
            "update_pod_identity_association", clusterName=self.params["cluster"], associationId=identifier, **changed
        )

    def remove(self, current: State) -> None:
        self.call(
            "delete_pod_identity_association",
            clusterName=self.params["cluster"],
            associationId=current["associationId"],
        )

    def made(self, current: State) -> State:
        return given(id=current["associationId"], arn=current["associationArn"])
