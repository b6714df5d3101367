# SPDX-License-Identifier: Apache-2.0
"""Launch templates of nodes. https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from ..base.arguments import flag, given, text, texts
from ..base.plan import Plan, Rules, State
from ..base.tagging import tag_list
from ..base.unknown import is_unknown
from .base import YOUNG, Ec2Resource

_DATA = "LaunchTemplateData"
_NUMBER: dict[str, Any] = {"type": "int"}
_USER_DATA = """MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="NODE"

--NODE
Content-Type: application/node.eks.aws

{config}

--NODE--
"""


@dataclass
class Ec2LaunchTemplate(Ec2Resource):
    """A launch template: its root volume is encrypted, and pods cannot reach the instance's metadata.

    Versions cannot be changed: each change is a new version, whose number is the output `version`. A version's
    description has a digest of what was asked for, so members that AWS adds to its answer are no difference.
    """

    kind = "ec2_launch_template"
    stands_on = ("ec2_security_group", "kms_key", "ec2_placement_group")
    carries_traffic = False
    noun = "launch template"
    resource_type = "launch-template"
    describe = ("describe_launch_templates", "LaunchTemplates", "launch-template-id", "LaunchTemplateId")
    unique_names = True
    not_found = ("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateName.NotFoundException")
    passing = {**YOUNG, "create_launch_template_version": (".NotFound",)}
    produces = ("id", "version")
    rules = Rules(exact=(_DATA,))
    arguments = {
        "name": text(required=True),
        "id": text(),
        "root_device": text(default="/dev/xvda"),
        "root_gib": {"type": "int", "default": 50},
        "root_iops": _NUMBER,
        "root_throughput": _NUMBER,
        "root_key_arn": text(),
        "hop_limit": {"type": "int", "default": 1},
        "monitoring": flag(),
        "instance_type": text(),
        "image_id": text(),
        "placement_group": text(),
        "instance_tags": {"type": "dict", "default": {}},
        "security_group_ids": texts(default=[]),
        "efa_interfaces": {"type": "int", "default": 0},
        "capacity_reservation_id": text(),
        "capacity_block": flag(False),
        "node_config": {"type": "dict", "default": {}},
    }
    _renewed: bool = field(default=False, repr=False)

    def read(self) -> State | None:
        row = super().read()
        if row is not None:
            latest = str(row["LatestVersionNumber"])
            found = self.call(
                "describe_launch_template_versions", LaunchTemplateId=row["LaunchTemplateId"], Versions=[latest]
            )["LaunchTemplateVersions"][0]
            data = self.data()
            same = not is_unknown(data) and found.get("VersionDescription") == _digest(data)
            row[_DATA] = data if same else _readable(found[_DATA])
        return row

    def filters(self) -> dict[str, str]:
        """Names are unique in a region."""
        return {"launch-template-name": self.params["name"]}

    def bearer(self) -> State | None:
        return self.look()

    def desired(self, current: State | None) -> State:
        return {_DATA: self.data()}

    def data(self) -> State:
        """What instances are started with, under EC2's names; the user data as text."""
        p = self.params
        reservation = p["capacity_reservation_id"]
        interfaces = [_interface(card, p["security_group_ids"]) for card in range(p["efa_interfaces"])]
        tags = tag_list({"Name": p["name"], **p["instance_tags"], **(self.owner.tags if self.owner else {})})
        target = {"CapacityReservationTarget": {"CapacityReservationId": reservation}}
        return given(
            BlockDeviceMappings=[{"DeviceName": p["root_device"], "Ebs": self._volume()}],
            MetadataOptions={
                "HttpEndpoint": "enabled",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": p["hop_limit"],
            },
            TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
            Monitoring=None if p["monitoring"] is None else {"Enabled": p["monitoring"]},
            InstanceType=p["instance_type"] or None,
            ImageId=p["image_id"] or None,
            Placement={"GroupName": p["placement_group"]} if p["placement_group"] else None,
            NetworkInterfaces=interfaces or None,
            SecurityGroupIds=(not interfaces and p["security_group_ids"]) or None,
            CapacityReservationSpecification=target if reservation else None,
            InstanceMarketOptions={"MarketType": "capacity-block"} if p["capacity_block"] else None,
            UserData=_user_data(p["node_config"]) if p["node_config"] else None,
        )

    def _volume(self) -> State:
        p = self.params
        return given(
            VolumeType="gp3",
            VolumeSize=p["root_gib"],
            Iops=p["root_iops"],
            Throughput=p["root_throughput"],
            Encrypted=True,
            KmsKeyId=p["root_key_arn"] or None,
            DeleteOnTermination=True,
        )

    def plan(self) -> Plan:
        plan = super().plan()
        self._renewed = _DATA in plan.changed
        return plan

    def create(self, desired: State) -> None:
        self.call(
            "create_launch_template",
            LaunchTemplateName=self.params["name"],
            TagSpecifications=self.tag_specifications,
            **_version(desired[_DATA]),
        )
        self._renewed = False

    def update(self, changed: State, current: State) -> None:
        self.call(
            "create_launch_template_version", LaunchTemplateId=self.identifier(current), **_version(changed[_DATA])
        )
        self._renewed = False

    def remove(self, current: State) -> None:
        self.call("delete_launch_template", LaunchTemplateId=self.identifier(current))

    def made(self, current: State) -> State:
        number = given(version=None if self._renewed else str(current["LatestVersionNumber"]))
        return {"id": self.identifier(current), **number}


def _interface(card: int, groups: list[str]) -> State:
    """One EFA interface for each network card: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html"""
    return {
        "NetworkCardIndex": card,
        "DeviceIndex": min(card, 1),
        "InterfaceType": "efa",
        "DeleteOnTermination": True,
        "Groups": groups,
    }


def _user_data(spec: dict[str, Any]) -> str:
    """nodeadm's configuration, which EKS merges with its own: https://awslabs.github.io/amazon-eks-ami/nodeadm/"""
    config = {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec}
    return _USER_DATA.format(config=json.dumps(config, indent=2, sort_keys=True))


def _version(data: State) -> State:
    encoded = dict(data)
    if "UserData" in data:
        encoded["UserData"] = base64.b64encode(data["UserData"].encode()).decode()
    return {_DATA: encoded, "VersionDescription": _digest(data)}


def _readable(data: State) -> State:
    found = dict(data)
    if found.get("UserData"):
        found["UserData"] = base64.b64decode(found["UserData"]).decode(errors="replace")
    return found


def _digest(data: State) -> str:
    return "llm.on_eks " + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
