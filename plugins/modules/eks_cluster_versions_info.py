# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: eks_cluster_versions_info
short_description: List the Kubernetes versions of Amazon EKS with their support dates
description:
  - Lists what the region offers, newest first; those that only extended or no support is left for are said to be so.
options:
  version:
    description: Only this version; fails when EKS does not have it.
    type: str
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Reads only, and does the same with and without.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: What EKS offers
  llm.on_eks.eks_cluster_versions_info:
  register: offered
"""

RETURN = r"""
versions:
  description: The versions, newest first.
  returned: always
  type: list
  elements: dict
  contains:
    version:
      description: For instance 1.35.
      type: str
    default:
      description: Whether EKS takes it when none is asked for.
      type: bool
    support:
      description: STANDARD_SUPPORT, EXTENDED_SUPPORT or UNSUPPORTED.
      type: str
    standard_support_ends:
      description: The day, as YYYY-MM-DD.
      type: str
    extended_support_ends:
      description: The day, as YYYY-MM-DD.
      type: str
"""

from dataclasses import asdict

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import connection_of, start
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.lookups import cluster_versions
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError

ARGUMENTS = {"version": {"type": "str"}}


def main() -> None:
    module = start(ARGUMENTS)
    wanted = module.params["version"]
    try:
        found = [asdict(row) for row in cluster_versions(connection_of(module)) if wanted in (None, row.version)]
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{failure}.")
    if wanted and not found:
        module.fail_json(msg=f"EKS has no version {wanted} in {module.region}; leave version out to see what it has.")
    module.exit_json(changed=False, versions=found)


if __name__ == "__main__":
    main()
