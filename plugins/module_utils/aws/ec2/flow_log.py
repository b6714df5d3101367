# SPDX-License-Identifier: Apache-2.0
"""Flow logs of a VPC. https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs.html"""

from __future__ import annotations

from ..base.arguments import text
from ..base.errors import AwsError
from ..base.plan import Rules, State
from .base import YOUNG, Ec2Resource


class Ec2FlowLog(Ec2Resource):
    """Records of a VPC's connections, in a log group. None of its settings can be changed: another one is made."""

    kind = "ec2_flow_log"
    stands_on = ("ec2_vpc", "log_group", "iam_role")
    carries_traffic = False
    noun = "flow log"
    resource_type = "vpc-flow-log"
    describe = ("describe_flow_logs", "FlowLogs", "flow-log-id", "FlowLogId")
    filters_in = "Filter"
    not_found = ("InvalidFlowLogId.NotFound",)
    # The role's trust is not known everywhere at once: https://github.com/hashicorp/terraform-provider-aws/issues/29323
    passing = {**YOUNG, "create_flow_logs": (".NotFound", "Unable to assume given IAM role")}
    produces = ("id",)
    rules = Rules(replaced=("ResourceId", "TrafficType", "LogGroupName", "DeliverLogsPermissionArn"))
    arguments = {
        "name": text(required=True),
        "id": text(),
        "vpc_id": text(),
        "log_group": text(),
        "role_arn": text(),
        "traffic": text(default="REJECT", choices=["ACCEPT", "REJECT", "ALL"]),
    }

    def filters(self) -> dict[str, str]:
        found = super().filters()
        vpc = found.pop("vpc-id", "")
        return {**found, "resource-id": vpc} if vpc else found

    def state_of(self, row: State) -> str:
        return ""

    def desired(self, current: State | None) -> State:
        p = self.params
        return {
            "ResourceId": p["vpc_id"],
            "TrafficType": p["traffic"],
            "LogGroupName": p["log_group"],
            "DeliverLogsPermissionArn": p["role_arn"],
        }

    def create(self, desired: State) -> None:
        more = {key: value for key, value in desired.items() if key != "ResourceId"}
        answer = self.call(
            "create_flow_logs",
            ResourceIds=[desired["ResourceId"]],
            ResourceType="VPC",
            **more,
            TagSpecifications=self.tag_specifications,
        )
        for refused in answer.get("Unsuccessful") or []:
            error = refused["Error"]
            raise AwsError(f"{self.subject}: {error['Code']}: {error['Message']}", error["Code"])

    def remove(self, current: State) -> None:
        self.call("delete_flow_logs", FlowLogIds=[self.identifier(current)])
