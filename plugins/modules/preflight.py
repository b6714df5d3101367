# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check every input, and the AWS account, before anything is changed
description:
  - Checks all variables of this collection against the argument specs of its roles, and the model catalogue as a whole.
  - Reports everything that is wrong at once, with file and line where Ansible knows them. Changes nothing.
  - Where C(platform_provider) is V(eks) and no input is wrong, it then checks the AWS account, with read-only calls in parallel.
    It checks permissions, names that others have taken, the Kubernetes version's support, address ranges, zones, instance offerings,
    vCPU quotas and secrets, places every model of the catalogue on an instance, and sums up the price per hour.
  - Unknown variables that begin with the name of one of our roles, or with C(platform_), are errors too.
author:
  - llm.on_eks maintainers (@llm-on-eks)
options:
  account_only:
    description: Check only the account, for a run whose inputs were checked before the account existed.
    type: bool
    default: false
  components:
    description: Descriptors of the components that are about to be created. Names, networks, node groups and versions are read from their C(aws) entries.
    type: list
    elements: dict
    default: []
  lock_file:
    description: The environment's lock file, with the commits that branches and tags of models stand for.
    type: path
    default: ""
  locking:
    description: Allow branches and tags that are not locked, because they are about to be.
    type: bool
    default: false
attributes:
  check_mode:
    description: Does the same with and without.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: Check the inputs
  llm.on_eks.preflight:
"""

RETURN = r"""
errors:
  description: One sentence for each finding that must be mended.
  returned: always
  type: list
  elements: str
warned:
  description: One sentence for each finding that stops a run only with C(platform_preflight_strict).
  returned: always
  type: list
  elements: str
aws:
  description: What was found in the account.
  returned: when AWS was asked
  type: dict
  contains:
    account:
      description: Number of the account.
      type: str
    caller:
      description: ARN of the caller.
      type: str
    region:
      description: The region.
      type: str
    findings:
      description: Each with C(kind), C(severity), C(variable), C(problem), C(mend) and C(place).
      type: list
      elements: dict
    models:
      description: Each with the instance it gets, its price, the memory it needs, and the reasons.
      type: list
      elements: dict
    price:
      description: USD per hour of what is about to start, its lines, and instance types without a known price.
      type: dict
seconds:
  description: How long the check took.
  returned: always
  type: float
"""
