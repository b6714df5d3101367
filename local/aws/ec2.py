# SPDX-License-Identifier: Apache-2.0
"""Makes moto's EC2 and IAM as strict and as slow as AWS: resources in use, transitional states, names that are taken."""

from __future__ import annotations

import datetime
import functools
import json
from pathlib import Path
from typing import Any

from moto.ec2 import utils as ec2_utils
from moto.iam.models import SERVICE_NAME_CONVERSION, AWSManagedPolicy

from . import instance_events, network, simulation
from .errors import refuse
from .world import Params, Result, Session, guard, operation, overlay

# The role of spot instances has another name than its service.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
SERVICE_NAME_CONVERSION["spot"] = "EC2Spot"
# moto names these differently in DescribeTags.
ec2_utils.EC2_PREFIX_TO_RESOURCE.update(
    {"eipalloc": "elastic-ip", "nat": "natgateway", "fl": "vpc-flow-log", "sir": "spot-instances-request"}
)


@guard("ec2", "DeleteSubnet")
def delete_subnet(session: Session, params: Params) -> None:
    used = any(eni.subnet.id == params["SubnetId"] for eni in network.ec2(session).enis.values())
    if used:
        raise network.dependency("subnet", params["SubnetId"])


@guard("ec2", "DeleteSecurityGroup")
def delete_security_group(session: Session, params: Params) -> None:
    identifier = params.get("GroupId", "")
    backend = network.ec2(session)
    if any(group.id == identifier for eni in backend.enis.values() for group in eni.group_set):
        raise refuse("ec2.group_in_use", id=identifier)
    for groups in backend.groups.values():
        for other in groups.values():
            rules = [*other.ingress_rules, *other.egress_rules]
            if other.id != identifier and any(rule.source_group.get("GroupId") == identifier for rule in rules):
                raise refuse("ec2.group_in_use", id=identifier)


@guard("ec2", "DeleteVpc")
def delete_vpc(session: Session, params: Params) -> None:
    identifier = params["VpcId"]
    backend = network.ec2(session)
    groups = [group for group in backend.groups.get(identifier, {}).values() if group.name != "default"]
    gateways = [igw for igw in backend.internet_gateways.values() if igw.vpc and igw.vpc.id == identifier]
    endpoints = [e for e in backend.vpc_end_points.values() if e.vpc_id == identifier and e.state != "deleted"]
    if groups or gateways or endpoints:
        raise network.dependency("vpc", identifier)


@guard("ec2", "DetachInternetGateway")
def detach_internet_gateway(session: Session, params: Params) -> None:
    """Public addresses in use keep the gateway: https://docs.aws.amazon.com/vpc/latest/userguide/delete-vpc.html"""
    for nat in network.ec2(session).nat_gateways.values():
        if (
            nat.vpc_id == params["VpcId"]
            and nat.state not in ("deleted", "failed")
            and nat.connectivity_type == "public"
        ):
            raise refuse("ec2.mapped_addresses", id=params["VpcId"])
    if any(eni.subnet.vpc_id == params["VpcId"] for eni in _public_interfaces(session)):
        raise refuse("ec2.mapped_addresses", id=params["VpcId"])


def _public_interfaces(session: Session) -> list[Any]:
    return [eni for eni in network.ec2(session).enis.values() if getattr(eni, "is_public", False)]


@overlay("ec2", "DescribeNetworkInterfaces")
def describe_network_interfaces(session: Session, params: Params, result: Result) -> Result:
    """Public addresses of services, from a range for documentation (RFC 5737)."""
    public = {eni.id for eni in _public_interfaces(session)}
    for row in result.get("NetworkInterfaces") or []:
        if row["NetworkInterfaceId"] in public:
            row["Association"] = {"IpOwnerId": "amazon-elb", "PublicIp": "203.0.113.10", "PublicDnsName": ""}
    return result


@guard("ec2", "DeleteNetworkInterface")
def delete_network_interface(session: Session, params: Params) -> None:
    identifier = params["NetworkInterfaceId"]
    backend = network.ec2(session)
    eni = backend.enis.get(identifier)
    of_gateways = {nat._eni.id for nat in backend.nat_gateways.values() if nat.state != "deleted"}
    if eni is not None and (getattr(eni, "of_a_service", False) or identifier in of_gateways or eni.instance):
        raise refuse("ec2.interface_in_use", id=identifier)


@overlay("ec2", "TerminateInstances")
def terminate_instances(session: Session, params: Params, result: Result) -> Result:
    """Instances take time to terminate, and their interfaces are deleted with them; moto keeps those."""
    backend = network.ec2(session)
    for identifier in params["InstanceIds"]:
        instance = backend.get_instance(identifier)
        instance._state.name, instance._state.code = "shutting-down", 32

        def gone(instance: Any = instance) -> None:
            instance._state.name, instance._state.code = "terminated", 48
            for eni in [eni for eni in backend.enis.values() if eni.instance is instance]:
                network.remove_interface(session, eni.id)
            instance_events.changed(session, instance.id, "terminated")

        session.world.after(session.delay("instance-delete"), gone)
    return result


@overlay("ec2", "CreateVolume")
def create_volume(session: Session, params: Params, result: Result) -> Result:
    """EC2 takes the order for a volume with a key that the caller may not use, and deletes it at once without a word.

    https://github.com/kubernetes-sigs/aws-ebs-csi-driver/issues/1140 and 2685
    """
    may = simulation.actions_of(session.account, session.role_arn) if session.role_arn else None
    wanted = ("kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt")
    if params.get("KmsKeyId") and may is not None and not all(map(may, wanted)):
        session.world.after(0, lambda: network.ec2(session).volumes.pop(result["VolumeId"], None))
    return result


@overlay("ec2", "DescribeVolumes")
def describe_volumes(session: Session, params: Params, result: Result) -> Result:
    """A node's disks go with it; moto does not say so here."""
    with_instance = {
        device.volume_id: bool(device.delete_on_termination)
        for each in network.ec2(session).reservations.values()
        for one in each.instances
        for device in one.block_device_mapping.values()
    }
    for row in result.get("Volumes") or []:
        for attachment in row.get("Attachments") or []:
            attachment["DeleteOnTermination"] = with_instance.get(row["VolumeId"], False)
    return result


@guard("ec2", "ReleaseAddress")
def release_address(session: Session, params: Params) -> None:
    for nat in network.ec2(session).nat_gateways.values():
        if nat.state != "deleted" and params.get("AllocationId") in _allocations(nat):
            raise refuse("ec2.address_in_use", id=params["AllocationId"])


def _allocations(nat: Any) -> list[str]:
    return [address["allocationId"] for address in nat.address_set if "allocationId" in address]


@overlay("ec2", "DescribeNatGateways")
def describe_nat_gateways(session: Session, params: Params, result: Result) -> Result:
    """moto does not filter these by tags, and they never fail there."""
    for row in result.get("NatGateways", []):
        if row["State"] == "failed":
            row["FailureCode"], row["FailureMessage"] = session.store("failed", dict)[row["NatGatewayId"]]
    for wanted in params.get("Filter") or []:
        if wanted["Name"].startswith("tag:"):
            key = wanted["Name"].removeprefix("tag:")
            result["NatGateways"] = [
                row
                for row in result.get("NatGateways", [])
                if any(tag["Key"] == key and tag["Value"] in wanted["Values"] for tag in row.get("Tags", []))
            ]
    return result


@overlay("ec2", "CreateNatGateway")
def create_nat_gateway(session: Session, params: Params, result: Result) -> Result:
    shown = result["NatGateway"]
    nat = network.ec2(session).nat_gateways[shown["NatGatewayId"]]
    nat.state = shown["State"] = "pending"
    failure = session.world.fails("ec2:CreateNatGateway")
    if failure:
        session.store("failed", dict)[shown["NatGatewayId"]] = failure
        if session.delay("nat-gateway-failed"):
            session.world.after(session.delay("nat-gateway-failed"), lambda: _nat_gateway_gone(session, nat))
    after = "failed" if failure else "available"
    session.world.after(session.delay("nat-gateway"), lambda: setattr(nat, "state", after))
    return result


@overlay("ec2", "DeleteNatGateway")
def delete_nat_gateway(session: Session, params: Params, result: Result) -> Result:
    nat = network.ec2(session).nat_gateways[params["NatGatewayId"]]
    nat.state = "deleting"
    session.world.after(session.delay("nat-gateway-delete"), lambda: _nat_gateway_gone(session, nat))
    return result


def _nat_gateway_gone(session: Session, nat: Any) -> None:
    """Its interface goes, and its address is free. AWS deletes one that failed after about an hour.

    https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
    """
    nat.state = "deleted"
    network.remove_interface(session, nat._eni.id)
    for address in network.ec2(session).addresses:
        if address.network_interface_id == nat._eni.id:
            address.eni = address.instance = address.association_id = None


@guard("ec2", "CreateFlowLogs")
def require_flow_log_role(session: Session, params: Params) -> None:
    """A role that is new, or that does not trust the service, cannot be assumed."""
    arn = params.get("DeliverLogsPermissionArn")
    if not arn:
        return
    role = next((one for one in network.iam(session).get_roles() if one.arn == arn), None)
    young = datetime.timedelta(seconds=session.delay("role"))
    if (
        role is None
        or session.now() - role.create_date.replace(tzinfo=datetime.UTC) < young
        or "vpc-flow-logs.amazonaws.com" not in str(role.assume_role_policy_document)
    ):
        raise refuse("ec2.flow_log_role", arn=arn)


@guard("ec2", "CreateVpcEndpoint")
def require_endpoint_service(session: Session, params: Params) -> None:
    """Refuse unknown services; in China the names of some have a prefix."""
    name = params["ServiceName"]
    region = session.region
    service = name.partition(f".{region}.")[2]
    prefix = "cn." if region.startswith("cn-") and service in _endpoint_services()["prefixed_in_china"] else ""
    if service not in _endpoint_services()["known"] or name != f"{prefix}com.amazonaws.{region}.{service}":
        raise refuse("ec2.no_endpoint_service", name=name)


@functools.cache
def _endpoint_services() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((Path(__file__).parent / "data" / "endpoint_services.json").read_text())
    return found


@overlay("ec2", "CreateVpcEndpoint")
def create_vpc_endpoint(session: Session, params: Params, result: Result) -> Result:
    shown = result["VpcEndpoint"]
    if shown.get("VpcEndpointType", "Gateway") == "Gateway":
        return result
    endpoint = network.ec2(session).vpc_end_points[shown["VpcEndpointId"]]
    endpoint.state = shown["State"] = "pending"
    failure = session.world.fails("ec2:CreateVpcEndpoint")
    if failure:
        session.store("failed", dict)[shown["VpcEndpointId"]] = failure
    after = "failed" if failure else "available"
    session.world.after(session.delay("endpoint"), lambda: setattr(endpoint, "state", after))
    return result


@overlay("ec2", "DescribeVpcEndpoints")
def describe_vpc_endpoints(session: Session, params: Params, result: Result) -> Result:
    """One that failed says why: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LastError.html"""
    for row in result.get("VpcEndpoints") or []:
        if row.get("State") == "failed":
            row["LastError"] = dict(
                zip(("Code", "Message"), session.store("failed", dict)[row["VpcEndpointId"]], strict=True)
            )
    return result


@guard("iam", "CreateServiceLinkedRole")
def create_service_linked_role(session: Session, params: Params) -> None:
    name = _linked_name(params)
    if any(role.name == name for role in network.iam(session).get_roles()):
        raise refuse("iam.linked_role_taken", name=name)


def _linked_name(params: Params) -> str:
    service = params["AWSServiceName"].split(".")[-3]
    prefix = params["AWSServiceName"].split(".")[0]
    known: dict[str, str] = SERVICE_NAME_CONVERSION
    name = known.get(service, service)
    if prefix != service:
        name += "_" + "".join(part.capitalize() for part in prefix.split("-"))
    return f"AWSServiceRoleFor{name}" + (f"_{params['CustomSuffix']}" if params.get("CustomSuffix") else "")


@operation("sts", "GetCallerIdentity")
def get_caller_identity(session: Session, params: Params) -> Result:
    user = "AIDA" + session.account + "LLMONEKS"
    return {"UserId": user, "Account": session.account, "Arn": session.caller_arn}


def _provider(session: Session, params: Params) -> Any:
    arn = params["OpenIDConnectProviderArn"]
    found = network.iam(session).open_id_providers.get(arn)
    if found is None:
        raise refuse("iam.no_oidc_provider", arn=arn)
    return found


@operation("iam", "AddClientIDToOpenIDConnectProvider")
def add_client_id(session: Session, params: Params) -> Result:
    provider = _provider(session, params)
    if params["ClientID"] not in provider.client_id_list:
        provider.client_id_list.append(params["ClientID"])
    return {}


@operation("iam", "RemoveClientIDFromOpenIDConnectProvider")
def remove_client_id(session: Session, params: Params) -> Result:
    provider = _provider(session, params)
    provider.client_id_list = [client for client in provider.client_id_list if client != params["ClientID"]]
    return {}


@guard("iam", "DeletePolicy")
def delete_policy(session: Session, params: Params) -> None:
    policy = network.iam(session).managed_policies.get(params["PolicyArn"])
    if policy is not None and policy.attachment_count:
        raise refuse("iam.policy_attached")
    if policy is not None and len(policy.versions) > 1:
        raise refuse("iam.policy_versions")


@guard("iam", "AttachRolePolicy")
def attach_role_policy(session: Session, params: Params) -> None:
    """AWS's own policies are added to moto when they are used: all 1 400 at once would cost a second at every start."""
    arn, backend = params["PolicyArn"], network.iam(session)
    if ":iam::aws:policy/" not in arn or arn in backend.managed_policies:
        return
    name = arn.rsplit("/", 1)[1]
    document = _aws_policies().get(name)
    if document is None:
        return
    policy = AWSManagedPolicy.from_data(name, session.account, session.region, document)
    if policy.arn == arn:
        backend.managed_policies[arn] = policy


@functools.cache
def _aws_policies() -> dict[str, Any]:
    from moto.iam.aws_managed_policies import aws_managed_policies_data

    policies: dict[str, Any] = json.loads(aws_managed_policies_data)
    return policies


@guard("ec2", "DeleteVpcEndpoints")
def delete_vpc_endpoints(session: Session, params: Params) -> None:
    """moto creates no route when a table is added later, and then fails to delete it."""
    backend = network.ec2(session)
    for identifier in params.get("VpcEndpointIds") or []:
        endpoint = backend.vpc_end_points.get(identifier)
        if endpoint is not None and endpoint.route_table_ids:
            prefix = endpoint.destination_prefix_list_id
            endpoint.route_table_ids = [
                table
                for table in endpoint.route_table_ids
                if f"{table}~{prefix}" in backend.route_tables[table]._routes
            ]
