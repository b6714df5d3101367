# SPDX-License-Identifier: Apache-2.0
"""Where moto's load balancers are more lenient than AWS: deletion protection."""

from __future__ import annotations

from moto.elbv2.models import elbv2_backends

from .errors import refuse
from .world import Params, Session, guard


@guard("elbv2", "DeleteLoadBalancer")
def delete_load_balancer(session: Session, params: Params) -> None:
    found = elbv2_backends[session.account][session.region].load_balancers.get(params["LoadBalancerArn"])
    if found is not None and found.attrs.get("deletion_protection.enabled") == "true":
        raise refuse("elbv2.protected", arn=params["LoadBalancerArn"])
