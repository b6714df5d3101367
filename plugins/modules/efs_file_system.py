# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: efs_file_system
short_description: Make, change or remove an Amazon EFS file system with its mount targets
description:
  - Encrypted and with elastic throughput, where the API's own defaults are neither. A file system is known by its creation token, which is its name.
  - O(state=absent) removes all of its mount targets first. The files are gone then.
options:
  name:
    description: Its name.
    type: str
    required: true
  encrypted:
    description: Whether it is encrypted; cannot be changed.
    type: bool
    default: true
  kms_key_arn:
    description: KMS key; cannot be changed. Default is AWS's own.
    type: str
  performance_mode:
    description: Performance mode; cannot be changed.
    type: str
    choices: [generalPurpose, maxIO]
    default: generalPurpose
  throughput_mode:
    description: V(elastic) is paid by transfer, and fast at any size.
    type: str
    choices: [elastic, bursting, provisioned]
    default: elastic
  provisioned_throughput_mibps:
    description: MiB per second, with O(throughput_mode=provisioned).
    type: float
  availability_zone:
    description: Keep it in one zone only; cannot be changed.
    type: str
  backup:
    description: Whether AWS Backup keeps copies. Left out, it stays as it is.
    type: bool
  tls_only:
    description: Whether a policy refuses mounts without TLS. Without it, a policy is left alone.
    type: bool
  mount_principals:
    description:
      - ARNs of the IAM principals that may mount, for instance the role of the nodes; left out, anybody who reaches it. Needs O(tls_only).
      - Mounts then need the options V(tls) and V(iam).
    type: list
    elements: str
  transition_to_ia:
    description: When files that nobody reads go to Infrequent Access; left out is never.
    type: str
    choices: [AFTER_1_DAY, AFTER_7_DAYS, AFTER_14_DAYS, AFTER_30_DAYS, AFTER_60_DAYS, AFTER_90_DAYS, AFTER_180_DAYS, AFTER_270_DAYS, AFTER_365_DAYS]
  transition_to_archive:
    description: When they go to Archive; left out is never.
    type: str
    choices: [AFTER_1_DAY, AFTER_7_DAYS, AFTER_14_DAYS, AFTER_30_DAYS, AFTER_60_DAYS, AFTER_90_DAYS, AFTER_180_DAYS, AFTER_270_DAYS, AFTER_365_DAYS]
  transition_to_primary:
    description: When they come back; left out is never.
    type: str
    choices: [AFTER_1_ACCESS]
  mount_targets:
    description: Where it is reached. Left out, they stay as they are; others stay in any case.
    type: list
    elements: dict
    default: []
    suboptions:
      subnet_id:
        description: The subnet; one for each zone.
        type: str
        required: true
      security_group_ids:
        description: Security groups; they must let TCP 2049 in.
        type: list
        elements: str
      ip_address:
        description: A fixed address.
        type: str
author:
  - llm.on_eks maintainers (@llm-on-eks)
extends_documentation_fragment:
  - llm.on_eks.aws_resource
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: A file system for models
  llm.on_eks.efs_file_system:
    name: demo-models
    mount_targets:
      - subnet_id: subnet-0a
        security_group_ids: [sg-0c]
      - subnet_id: subnet-0b
        security_group_ids: [sg-0c]
"""

RETURN = r"""
id:
  description: Its id.
  returned: O(state=present)
  type: str
arn:
  description: Its ARN.
  returned: O(state=present)
  type: str
name:
  description: Its name.
  returned: O(state=present)
  type: str
changes:
  description: Each field that was or would be changed, in words.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.arguments import COMMON
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import (
    MODULE,
    carry_out,
    connection_of,
    shown,
    start,
)
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.efs.file_system import EfsFileSystem
from ansible_collections.llm.on_eks.plugins.module_utils.aws.efs.mount_target import EfsMountTarget
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError

_TARGET = {name: spec for name, spec in EfsMountTarget.arguments.items() if name != "file_system_id"}
ARGUMENTS = {"mount_targets": {"type": "list", "elements": "dict", "options": _TARGET, "default": []}}


def main() -> None:
    module = start({**EfsFileSystem.arguments, **COMMON, **MODULE, **ARGUMENTS})
    try:
        owner = Owner(**module.params["owner"]) if module.params["owner"] else None
        connection = connection_of(module)
        given = {key: module.params[key] for key in {**EfsFileSystem.arguments, **COMMON}}
        system = EfsFileSystem(connection, given, owner)
        targets = _targets(module, system, owner)
        if module.params["state"] == "absent" or module.check_mode:
            result = carry_out(module, [system, *targets])
        else:
            result = _made(module, system, owner)
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{failure}.")
    module.exit_json(**result, **shown(system))


def _targets(module: Any, system: EfsFileSystem, owner: Owner | None) -> list[EfsMountTarget]:
    """Those that are wanted; for removal all that there are."""
    identifier = system.outputs()["id"]
    wanted = module.params["mount_targets"]
    if module.params["state"] == "absent":
        if system.plan_delete().verb == "none":
            return []
        rows = system.listed("describe_mount_targets", "MountTargets", FileSystemId=identifier)
        wanted = [{"subnet_id": row["SubnetId"]} for row in rows]
    return [EfsMountTarget(system.connection, {**target, "file_system_id": identifier}, owner) for target in wanted]


def _made(module: Any, system: EfsFileSystem, owner: Owner | None) -> dict[str, Any]:
    """Mount targets need a file system that is available."""
    first = carry_out(module, [system])
    if module.params["mount_targets"]:
        system.wait()
    second = carry_out(module, _targets(module, system, owner))
    return {
        "changed": first["changed"] or second["changed"],
        "changes": first["changes"] + second["changes"],
        "diff": first["diff"] + second["diff"],
    }


if __name__ == "__main__":
    main()
