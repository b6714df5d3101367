# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: efs_access_point
short_description: Make or remove an Amazon EFS access point
description:
  - An access point is identified by its name. AWS cannot change one, so a difference in user or folder is refused with a sentence.
options:
  file_system_id:
    description: The file system.
    type: str
    required: true
  name:
    description: Its name.
    type: str
    required: true
  uid:
    description: User that all access has.
    type: int
  gid:
    description: Group that all access has.
    type: int
  secondary_gids:
    description: Further groups.
    type: list
    elements: int
  path:
    description: The folder that is its root.
    type: str
    default: /
  owner_uid:
    description: Owner of that folder when it is made. Default is O(uid).
    type: int
  owner_gid:
    description: Group of that folder when it is made. Default is O(gid).
    type: int
  permissions:
    description: Mode of that folder when it is made, for instance V(0755); without it the folder must exist.
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
- name: The folder of the models
  llm.on_eks.efs_access_point:
    file_system_id: fs-0123456789abcdef0
    name: demo-models
    uid: 1000
    gid: 1000
    path: /models
    permissions: "0755"
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
volume_handle:
  description: What a PersistentVolume of the EFS CSI driver names.
  returned: O(state=present)
  type: str
changes:
  description: Each field that was or would be changed, in words.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import run
from ansible_collections.llm.on_eks.plugins.module_utils.aws.efs.access_point import EfsAccessPoint


def main() -> None:
    run(EfsAccessPoint)


if __name__ == "__main__":
    main()
