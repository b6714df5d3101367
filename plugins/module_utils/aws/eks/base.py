# SPDX-License-Identifier: Apache-2.0
"""What all EKS resources share: tags as a plain map on an ARN, and updates that are followed to their end."""

from __future__ import annotations

from typing import Any

from ..base.plan import State
from ..base.resource import AwsResource

_ARNS = ("nodegroupArn", "addonArn", "accessEntryArn", "associationArn", "arn")


class EksResource(AwsResource):
    """A resource of the EKS API."""

    service = "eks"
    not_found = ("ResourceNotFoundException", "NotFoundException")

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        arn = next(current[key] for key in _ARNS if key in current)
        if to_set:
            self.call("tag_resource", resourceArn=arn, tags=to_set)
        if to_unset:
            self.call("untag_resource", resourceArn=arn, tagKeys=to_unset)

    def follow(self, update: dict[str, Any], cluster: str, **of: str) -> None:
        """Until the update is over. `of`: nodegroupName or addonName. Raises AwsError with what AWS says went wrong."""
        seen: dict[str, Any] = update

        def look() -> str:
            nonlocal seen
            seen = self.call("describe_update", name=cluster, updateId=update["id"], **of)["update"]
            return str(seen["status"])

        def why() -> str:
            return "; ".join(f"{error['errorCode']}: {error['errorMessage']}" for error in seen.get("errors", []))

        kind = update["type"].removesuffix("Update")
        self.until(look, f"the update of {kind}", good="Successful", bad=("Failed", "Cancelled"), why=why)
