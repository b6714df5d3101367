# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: converge
short_description: Bring described components about, as one graph
description:
  - Applies component descriptors (see C(docs/converge.md)) to the cluster. Components that do not depend on each other are applied in parallel.
  - Objects are planned by a dry run of a server-side apply, so that check mode names exactly what a run would do, and a second run changes nothing.
  - A node that fails cancels only what depends on it; all errors are reported.
  - Every object that it creates carries our mark; nothing else is ever deleted.
extends_documentation_fragment:
  - llm.on_eks.charts
  - llm.on_eks.components
  - llm.on_eks.kubernetes
  - llm.on_eks.aws_account
options:
  concurrency:
    description: How many nodes of the graph work at the same time; nodes that only wait do not count.
    type: int
    default: 6
  lose_data:
    description:
      - What may be deleted although its data is lost, as C(KIND/NAME) or C(KIND/NAMESPACE/NAME); C(TYPE/NAME) for AWS resources; V(all) for everything.
      - Without it, the deletion of claims, file systems, buckets and repositories is refused, and so is replacing a CRD that has objects.
    type: list
    elements: str
    default: []
  assume_empty:
    description: In check mode, plan against a cluster that does not exist yet.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait for another run on the same cluster before giving up; V(0) gives up at once.
    type: int
    default: 300
  plan_out:
    description: In check mode, a file that receives the plan as JSON.
    type: path
    default: ""
  plan_return:
    description: Return the plan itself too, as C(plan.text), for the next job of a workflow; in check mode.
    type: bool
    default: false
  plan_file:
    description: A plan made before. If the run would do anything else, it fails before the first change.
    type: path
    default: ""
  plan_text:
    description: The same as O(plan_file), but the plan itself, as an earlier job of a workflow handed it on.
    type: str
    default: ""
  report_out:
    description: A file that receives a page (HTML) with the graph, its critical path, and what was done; not in check mode.
    type: path
    default: ""
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Plans, and writes nothing.
    support: full
  diff_mode:
    description: Shows every object before and after; values of Secrets as digests.
    support: full
"""

EXAMPLES = r"""
- name: Converge
  llm.on_eks.converge:
    kubeconfig: ~/.kube/config
    components:
      - name: greeter
        namespace: {name: greeter}
        manifests:
          - apiVersion: v1
            kind: ConfigMap
            metadata: {name: greeting}
            data: {text: hello}
"""

RETURN = r"""
components:
  description: By name, what was done (in check mode, would be done) to each.
  returned: always
  type: dict
  sample:
    greeter:
      state: present
      changed: true
      seconds: 0.1
      actions: [{verb: create, subject: ConfigMap greeter/greeting, changes: []}]
      notes: []
      errors: []
      cancelled: ""
plan:
  description: The plan's digest, and its table for people.
  returned: in check mode
  type: dict
seconds:
  description: How long the whole took.
  returned: always
  type: float
"""
