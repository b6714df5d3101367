# SPDX-License-Identifier: Apache-2.0
"""Clusters: create, describe, update (one kind of change per call, followed by describe_update), delete.

https://docs.aws.amazon.com/eks/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import base64
import ipaddress
from typing import Any

from .. import logs, network
from ..errors import refuse
from ..world import Params, Result, Session, operation
from .access import bootstrap_entry
from .state import Cluster, Row, cluster_of, clusters, start_update, without_none
from .versions import default_version, known_versions

_LOG_TYPES = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
# Groups of parameters of UpdateClusterConfig; one call takes one group. The three of Auto Mode belong together.
_GROUPS = {
    "resourcesVpcConfig": "VpcConfigUpdate",
    "logging": "LoggingUpdate",
    "accessConfig": "AccessConfigUpdate",
    "upgradePolicy": "UpgradePolicyUpdate",
    "zonalShiftConfig": "ZonalShiftConfigUpdate",
    "deletionProtection": "DeletionProtectionUpdate",
    "controlPlaneScalingConfig": "ControlPlaneScalingConfigUpdate",
    "computeConfig": "AutoModeUpdate",
    "storageConfig": "AutoModeUpdate",
    "kubernetesNetworkConfig": "AutoModeUpdate",
    "remoteNetworkConfig": "RemoteNetworkConfigUpdate",
}
# How an update names the changed parameters.
_SHOWN = {
    "resourcesVpcConfig": "EndpointPublicAccess",
    "logging": "ClusterLogging",
    "accessConfig": "AuthenticationMode",
}
_SHOWN |= {"controlPlaneScalingConfig": "UpdatedTier"}
_MODES = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]


@operation("eks", "CreateCluster")
def create_cluster(session: Session, params: Params) -> Result:
    name = params["name"]
    if name in clusters(session):
        raise refuse("eks.cluster_exists", name=name)
    version = params.get("version") or default_version()
    if version not in known_versions():
        raise refuse("eks.version_unsupported", version=version)
    network.require_role(session, params["roleArn"], "CreateCluster", "eks")
    asked = params["resourcesVpcConfig"]
    vpc_id = network.vpc_of_subnets(session, asked.get("subnetIds") or [])
    mode = (params.get("accessConfig") or {}).get("authenticationMode", "CONFIG_MAP")
    row = without_none(
        {
            "name": name,
            "arn": session.arn("eks", f"cluster/{name}"),
            "createdAt": session.now(),
            "version": version,
            "roleArn": params["roleArn"],
            "status": "CREATING",
            "platformVersion": "eks.1",
            "resourcesVpcConfig": _vpc_config(asked, vpc_id),
            "kubernetesNetworkConfig": _network_config(params.get("kubernetesNetworkConfig") or {}),
            "logging": _logging(params.get("logging") or {}, {}),
            "tags": dict(params.get("tags") or {}),
            "health": {"issues": []},
            "accessConfig": {"authenticationMode": mode},
            "upgradePolicy": params.get("upgradePolicy") or {"supportType": "EXTENDED"},
            "deletionProtection": bool(params.get("deletionProtection")),
            "encryptionConfig": params.get("encryptionConfig"),
            "zonalShiftConfig": params.get("zonalShiftConfig"),
            "computeConfig": params.get("computeConfig"),
            "storageConfig": params.get("storageConfig"),
            "remoteNetworkConfig": params.get("remoteNetworkConfig"),
            "controlPlaneScalingConfig": params.get("controlPlaneScalingConfig") or {"tier": "standard"},
        }
    )
    cluster = Cluster(row)
    oidc = session.identifier("", 32).upper()
    group = network.make_cluster_security_group(session, vpc_id, name)
    subnets = asked["subnetIds"]
    cluster.interface_ids = [network.make_interface(session, s, [group], f"Amazon EKS {name}") for s in subnets[:2]]
    cluster.security_group = group
    clusters(session)[name] = cluster
    if mode != "CONFIG_MAP" and (params.get("accessConfig") or {}).get("bootstrapClusterCreatorAdminPermissions", True):
        bootstrap_entry(session, cluster)

    failure = session.world.fails("eks:CreateCluster")

    def active() -> None:
        if failure:
            row.update(status="FAILED", health={"issues": [{"code": failure[0], "message": failure[1]}]})
            return
        row["status"] = "ACTIVE"
        row["identity"] = {"oidc": {"issuer": f"https://oidc.eks.{session.region}.amazonaws.com/id/{oidc}"}}
        row["resourcesVpcConfig"]["clusterSecurityGroupId"] = group

    session.world.after(session.delay("cluster"), active)
    return {"cluster": _shown(session, cluster)}


@operation("eks", "DescribeCluster")
def describe_cluster(session: Session, params: Params) -> Result:
    return {"cluster": _shown(session, cluster_of(session, params, "name"))}


@operation("eks", "ListClusters")
def list_clusters(session: Session, params: Params) -> Result:
    return {"clusters": sorted(clusters(session))}


@operation("eks", "DeleteCluster")
def delete_cluster(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params, "name")
    if cluster.row["deletionProtection"]:
        raise refuse("eks.deletion_protected", name=cluster.name)
    if cluster.nodegroups:
        raise refuse("eks.has_nodegroups")
    if cluster.row["status"] in ("CREATING", "UPDATING", "DELETING"):
        raise refuse("eks.cluster_in_use", name=cluster.name)
    cluster.row["status"] = "DELETING"
    group_id = cluster.security_group

    def gone() -> None:
        for interface in cluster.interface_ids:
            network.remove_interface(session, interface)
        network.remove_security_group(session, group_id)
        clusters(session).pop(cluster.name, None)
        logs.cluster_gone(
            session, cluster.name, writes=any(part["enabled"] for part in cluster.row["logging"]["clusterLogging"])
        )

    session.world.after(session.delay("cluster-delete"), gone)
    return {"cluster": _shown(session, cluster)}


@operation("eks", "UpdateClusterConfig")
def update_cluster_config(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params, "name")
    given = {key: params[key] for key in _GROUPS if params.get(key) is not None}
    kinds = {_GROUPS[key] for key in given}
    if len(kinds) != 1:
        raise refuse("eks.one_update_at_a_time")
    _require_active(cluster)
    kind = kinds.pop()
    before: Row = {key: cluster.row.get(key) for key in given}
    after: Row = {key: _merged(key, before[key] or {}, value) for key, value in given.items()}
    if before == after:
        raise refuse("eks.no_changes", what=", ".join(given))
    if kind == "AccessConfigUpdate":
        old, new = before["accessConfig"]["authenticationMode"], after["accessConfig"]["authenticationMode"]
        if _MODES.index(new) != _MODES.index(old) + 1:
            raise refuse("eks.authentication_mode", old=old, new=new)
    if kind == "VpcConfigUpdate":
        network.vpc_of_subnets(session, after["resourcesVpcConfig"]["subnetIds"])
        kind = "VpcConfigUpdate" if "subnetIds" in given["resourcesVpcConfig"] else "EndpointAccessUpdate"
    shown = {_SHOWN.get(key, key[0].upper() + key[1:]): value for key, value in given.items()}
    update = start_update(session, cluster, kind, shown, delay="cluster-update")
    if kind == "DeletionProtectionUpdate":
        cluster.row.update(after)
        return {"update": update}
    cluster.row["status"] = "UPDATING"
    session.world.after(session.delay("cluster-update"), lambda: cluster.row.update(after, status="ACTIVE"))
    return {"update": update}


@operation("eks", "UpdateClusterVersion")
def update_cluster_version(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params, "name")
    old, new = cluster.row["version"], params.get("version") or ""
    _require_active(cluster)
    if new not in known_versions():
        raise refuse("eks.version_unsupported", version=new)
    if int(new.split(".")[1]) != int(old.split(".")[1]) + 1:
        raise refuse("eks.version_step", old=old, new=new)
    if any(_minor(row["version"]) < _minor(old) - 2 for row in cluster.nodegroups.values()):
        raise refuse("eks.nodegroup_skew", new=new)
    cluster.row["status"] = "UPDATING"
    session.world.after(
        session.delay("cluster-version"),
        lambda: cluster.row.update(version=new, status="ACTIVE", platformVersion="eks.1"),
    )
    return {"update": start_update(session, cluster, "VersionUpdate", {"Version": new}, delay="cluster-version")}


@operation("eks", "AssociateEncryptionConfig")
def associate_encryption_config(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    _require_active(cluster)
    if cluster.row.get("encryptionConfig"):
        raise refuse("eks.encryption_exists")
    config = params["encryptionConfig"]
    cluster.row["status"] = "UPDATING"
    session.world.after(
        session.delay("cluster-update"), lambda: cluster.row.update(encryptionConfig=config, status="ACTIVE")
    )
    return {
        "update": start_update(
            session, cluster, "AssociateEncryptionConfig", {"EncryptionConfig": config}, delay="cluster-update"
        )
    }


@operation("eks", "DescribeUpdate")
def describe_update(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params, "name")
    if params["updateId"] not in cluster.updates:
        raise refuse("eks.no_update", id=params["updateId"])
    return {"update": cluster.updates[params["updateId"]]}


@operation("eks", "ListUpdates")
def list_updates(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params, "name")
    wanted = ("", "")
    if params.get("nodegroupName"):
        wanted = ("nodegroup", params["nodegroupName"])
    elif params.get("addonName"):
        wanted = ("addon", params["addonName"])
    return {"updateIds": [identifier for identifier, of in cluster.update_of.items() if of == wanted]}


def _require_active(cluster: Cluster) -> None:
    if cluster.row["status"] != "ACTIVE":
        raise refuse("eks.cluster_in_use", name=cluster.name)


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def _merged(key: str, before: Any, given: Any) -> Any:
    if key == "logging":
        return _logging(given, before)
    if not isinstance(given, dict):
        return given
    merged = {**before, **given}
    if key == "resourcesVpcConfig" and "publicAccessCidrs" in given:
        merged["publicAccessCidrs"] = [str(ipaddress.ip_network(cidr)) for cidr in given["publicAccessCidrs"]]
    return merged


def _vpc_config(asked: Row, vpc_id: str) -> Row:
    return {
        "subnetIds": asked["subnetIds"],
        "securityGroupIds": asked.get("securityGroupIds") or [],
        "vpcId": vpc_id,
        "endpointPublicAccess": asked.get("endpointPublicAccess", True),
        "endpointPrivateAccess": asked.get("endpointPrivateAccess", False),
        "publicAccessCidrs": asked.get("publicAccessCidrs") or ["0.0.0.0/0"],
    }


def _network_config(asked: Row) -> Row:
    family = asked.get("ipFamily", "ipv4")
    return {
        "ipFamily": family,
        "serviceIpv4Cidr": asked.get("serviceIpv4Cidr") or "10.100.0.0/16",
        "elasticLoadBalancing": asked.get("elasticLoadBalancing") or {"enabled": False},
    }


def _logging(asked: Row, before: Row) -> Row:
    """The API keeps which types are on and which are off."""
    on = {kind for part in before.get("clusterLogging", []) if part.get("enabled") for kind in part["types"]}
    for part in asked.get("clusterLogging", []):
        kinds = set(part.get("types", []))
        on = on | kinds if part.get("enabled") else on - kinds
    parts = [
        (True, [kind for kind in _LOG_TYPES if kind in on]),
        (False, [kind for kind in _LOG_TYPES if kind not in on]),
    ]
    return {"clusterLogging": [{"types": kinds, "enabled": enabled} for enabled, kinds in parts if kinds]}


def _shown(session: Session, cluster: Cluster) -> Row:
    """AWS shows neither endpoint nor authority before the control plane is up."""
    if "identity" not in cluster.row:
        return cluster.row
    region = session.region
    unit = cluster.row["identity"]["oidc"]["issuer"].rsplit("/", 1)[1]
    url, authority = session.world.endpoints.get(cluster.name) or session.world.endpoints.get("*", ("", ""))
    pem = authority or "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    if not _lets_in(session, cluster):
        url = ""
    return {
        **cluster.row,
        "endpoint": url or f"https://{unit}.gr7.{region}.eks.amazonaws.com",
        "certificateAuthority": {"data": base64.b64encode(pem.encode()).decode()},
    }


def _lets_in(session: Session, cluster: Cluster) -> bool:
    """Whether anybody besides the cluster itself reaches its API: by the public endpoint, or by a rule for port 443 of one of its
    groups.

    Others get a host name that leads nowhere, as if packets were dropped.
    https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html
    """
    config = cluster.row["resourcesVpcConfig"]
    if config["endpointPublicAccess"]:
        return True
    groups = [
        network.ec2(session).get_security_group_from_id(one)
        for one in [*config["securityGroupIds"], cluster.security_group]
    ]
    return any(
        (rule.ip_range or rule.source_group.get("GroupId") not in (None, group.id))
        and rule.ip_protocol in ("tcp", "-1")
        and (rule.from_port is None or int(rule.from_port) <= 443 <= int(rule.to_port))
        for group in groups
        if group is not None
        for rule in group.ingress_rules
    )
