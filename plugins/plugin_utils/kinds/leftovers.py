# SPDX-License-Identifier: Apache-2.0
"""What the cluster's controllers and nodes made on AWS is removed before what it depends on.

Usually they have done that themselves. The last nodes may leave interfaces of the VPC CNI, which nobody deletes then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...module_utils.aws.base.errors import AwsError
from ...module_utils.aws.survey.leftovers import left_behind, remove
from ..objects import disruption
from .aws import AwsLookNode
from .base import Action, Context, Outcome, Unfinished


@dataclass
class LeftoversNode:
    """Deletes load balancers, volumes, instances and the like that carry our mark and that no component describes.

    `after_nodes`: the second time, once the last nodes are gone. What they will leave, no plan can tell.
    """

    looks: Sequence[AwsLookNode]
    after_nodes: bool = False
    slow: bool = True

    @property
    def name(self) -> str:
        return f"what {'nodes' if self.after_nodes else 'controllers'} left on AWS"

    def run(self, context: Context) -> Outcome:
        if self.after_nodes and context.run.check:
            return Outcome()
        cloud = context.run.cloud()
        # Described groups are removed by their own nodes; nobody else knows those that controllers made.
        described = {str(look.found.outputs().get("id")) for look in self.looks if look.found is not None}
        found = left_behind(cloud.connection, cloud.cluster, described)
        if context.run.check:
            # Most of these are removed by their controllers, with their Services and claims: a plan cannot say by whom.
            return Outcome(notes=[f"{one.kind} {one.name or one.id} goes with the cluster" for one in found])
        actions: list[Action] = []
        try:
            for item in found:
                remove(cloud.connection, cloud.cluster, item)
                meaning: disruption.Disruption = "outage" if item.kind == "elb_load_balancer" else "none"
                actions.append(Action("delete", f"{item.kind} {item.name or item.id}", means=meaning))
        except AwsError as error:
            raise Unfinished(str(error), Outcome(actions)) from error
        return Outcome(actions)
