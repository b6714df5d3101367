# SPDX-License-Identifier: Apache-2.0
"""Load balancers as far as a VPC is affected: interfaces in its subnets, which stay for a while after the load balancer is deleted.

https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-delete.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from moto.elb.models import elb_backends
from moto.elbv2.models import elbv2_backends

from . import network
from .errors import refuse
from .world import Params, Result, Session, guard, overlay


@dataclass
class LoadBalancers:
    """Load balancers of one account and region.

    `interfaces`: ARN -> ids; `young`: ARNs that are being created; `stuck`: ids that do not go away.
    """

    interfaces: dict[str, list[str]] = field(default_factory=dict)
    young: set[str] = field(default_factory=set)
    stuck: list[str] = field(default_factory=list)


def load_balancers(session: Session) -> LoadBalancers:
    found: LoadBalancers = session.store("elb", LoadBalancers)
    return found


def tags_of(session: Session, arn: str) -> dict[str, str]:
    """Of a load balancer or target group; none for one that does not exist."""
    tags: dict[str, str] = elbv2_backends[session.account][session.region].tagging_service.get_tag_dict_for_resource(
        arn
    )
    return tags


def _known(session: Session, arn: str) -> Any:
    return elbv2_backends[session.account][session.region].load_balancers.get(arn)


@overlay("elb", "CreateLoadBalancer")
def create_classic_load_balancer(session: Session, params: Params, result: Result) -> Result:
    """It checks its instances from the beginning, at the port of its first listener.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/elb-healthchecks.html; without this the cloud controller
    manager ends with a nil pointer.
    """
    port = params["Listeners"][0]["InstancePort"]
    elb_backends[session.account][session.region].configure_health_check(
        params["LoadBalancerName"],
        timeout="5",
        healthy_threshold="10",
        unhealthy_threshold="2",
        interval="30",
        target=f"TCP:{port}",
    )
    return result


@overlay("elbv2", "CreateLoadBalancer")
def create_load_balancer(session: Session, params: Params, result: Result) -> Result:
    state = load_balancers(session)
    for shown in result["LoadBalancers"]:
        arn = shown["LoadBalancerArn"]
        balancer = _known(session, arn)
        label = f"ELB {arn.partition(':loadbalancer/')[2]}"
        groups = list(balancer.security_groups or [])
        public = balancer.scheme != "internal"
        state.interfaces[arn] = [
            network.make_interface(session, one.id, groups, label, public=public) for one in balancer.subnets
        ]
        state.young.add(arn)
        session.world.after(session.delay("load-balancer"), lambda arn=arn: state.young.discard(arn))  # type: ignore[misc]
    return result


@overlay("elbv2", "DescribeLoadBalancers")
def describe_load_balancers(session: Session, params: Params, result: Result) -> Result:
    for shown in result.get("LoadBalancers") or []:
        if shown["LoadBalancerArn"] in load_balancers(session).young:
            shown["State"] = {"Code": "provisioning"}
    return result


@guard("elbv2", "DeleteLoadBalancer")
def refuse_protected(session: Session, params: Params) -> None:
    balancer = _known(session, params["LoadBalancerArn"])
    if balancer is not None and balancer.attrs.get("deletion_protection.enabled") == "true":
        raise refuse("elb.deletion_protected", arn=params["LoadBalancerArn"])


@overlay("elbv2", "DeleteLoadBalancer")
def delete_load_balancer(session: Session, params: Params, result: Result) -> Result:
    arn = params["LoadBalancerArn"]
    state = load_balancers(session)
    state.young.discard(arn)
    left = state.interfaces.pop(arn, [])
    if any(fnmatchcase(arn.split("/")[-2], pattern) for pattern in session.world.stuck):
        state.stuck += left
    else:
        session.world.after(session.delay("load-balancer-delete"), lambda: _remove(session, left))
    return result


def release_stuck(session: Session) -> None:
    """Delete the interfaces that were stuck."""
    state = load_balancers(session)
    _remove(session, state.stuck)
    state.stuck.clear()


def _remove(session: Session, interfaces: list[str]) -> None:
    for one in interfaces:
        network.remove_interface(session, one)
