# SPDX-License-Identifier: Apache-2.0
"""EKS clusters. https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..base.arguments import flag, given, text, texts
from ..base.errors import AwsError, NotFound
from ..base.plan import Rules, State
from ..base.resource import Settled
from ..base.tagging import Tagging, tag_map
from ..base.unknown import is_unknown
from ..reference.prices import per_hour_of
from .base import ROLE_UNKNOWN, EksResource, newer

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

LOG_TYPES = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
_MODES = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]
# The order of changes: access first, so that a run that is locked out repairs that; the version has its own call.
_CONFIG = (
    "accessConfig",
    "resourcesVpcConfig",
    "logging",
    "upgradePolicy",
    "zonalShiftConfig",
    "controlPlaneScalingConfig",
)


class EksCluster(EksResource):
    """A cluster. The API's expensive or open defaults are overridden: private endpoint, access entries, standard support."""

    kind = "eks_cluster"
    stands_on = ("iam_role", "ec2_subnet", "ec2_security_group", "kms_key", "log_group")
    carries_traffic = True
    tagging = Tagging("resourceArn", "arn", tags="tags", keys="tagKeys", form="map")
    passing = ROLE_UNKNOWN
    noun = "EKS cluster"
    timeout_s = 2400
    produces = (
        *("name", "arn", "endpoint", "certificate_authority", "issuer", "version", "vpc_id"),
        *("security_group_id", "service_cidr"),
    )
    rules = Rules(
        fixed=("roleArn", "kubernetesNetworkConfig"),
        unordered=(
            "resourcesVpcConfig.subnetIds",
            "resourcesVpcConfig.securityGroupIds",
            "resourcesVpcConfig.publicAccessCidrs",
            "logging",
        ),
    )
    arguments = {
        "name": text(required=True),
        "role_arn": text(),
        "version": text(),
        "subnet_ids": texts(),
        "security_group_ids": texts(),
        "endpoint_private_access": flag(True),
        "endpoint_public_access": flag(True),
        "public_access_cidrs": texts(),
        "service_ipv4_cidr": text(),
        "ip_family": text(choices=["ipv4", "ipv6"]),
        "logging": texts(default=["api", "audit", "authenticator"]),
        "encryption_key_arn": text(),
        "authentication_mode": text(default="API", choices=_MODES),
        "bootstrap_creator_admin": flag(False),
        "bootstrap_self_managed_addons": flag(False),
        "support_type": text(default="STANDARD", choices=["STANDARD", "EXTENDED"]),
        "zonal_shift": flag(),
        "deletion_protection": flag(False),
        "scaling_tier": text(choices=["standard", "tier-xl", "tier-2xl", "tier-4xl", "tier-8xl"]),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        names = looker.list("eks", "list_clusters", "clusters")
        for row in looker.details.map(partial(_described, looker), names):
            tags = tag_map((row or {}).get("tags") or {})
            if row and looker.ours(tags):
                price = per_hour_of("eks_cluster")
                yield looker.item(
                    cls.kind, row["name"], tags, name=row["name"], state=row["status"], price_per_hour=price
                )

    def read(self) -> State:
        found: State = self.call("describe_cluster", name=self.params["name"])["cluster"]
        parts = found.get("logging", {}).get("clusterLogging", [])
        found["logging"] = [kind for part in parts if part.get("enabled") for kind in part["types"]]
        return found

    def desired(self, current: State | None) -> State:
        p = self.params
        if said := version_fault(p["version"]):
            raise AwsError(f"{self.subject}: {said}")
        version = newer(p["version"], current["version"]) if current and p["version"] else p["version"]
        if version != p["version"]:
            # EKS upgrades a cluster by itself at the end of its version's support.
            self.connection.say(
                f"{self.subject}: it stays at version {version}, for EKS goes back to no older one ({p['version']})"
            )
        network = given(serviceIpv4Cidr=p["service_ipv4_cidr"], ipFamily=p["ip_family"])
        key = p["encryption_key_arn"]
        return {
            "version": version,
            "roleArn": p["role_arn"],
            "resourcesVpcConfig": given(
                subnetIds=p["subnet_ids"],
                securityGroupIds=p["security_group_ids"],
                endpointPrivateAccess=p["endpoint_private_access"],
                endpointPublicAccess=p["endpoint_public_access"],
                publicAccessCidrs=p["public_access_cidrs"] if p["endpoint_public_access"] else None,
            ),
            "kubernetesNetworkConfig": network or None,
            "logging": [kind for kind in LOG_TYPES if kind in p["logging"]],
            "accessConfig": {"authenticationMode": p["authentication_mode"]},
            "upgradePolicy": {"supportType": p["support_type"]},
            "deletionProtection": p["deletion_protection"],
            "zonalShiftConfig": None if p["zonal_shift"] is None else {"enabled": p["zonal_shift"]},
            "controlPlaneScalingConfig": _tier(p["scaling_tier"], current),
            "encryptionConfig": [{"resources": ["secrets"], "provider": {"keyArn": key}}] if key else None,
        }

    def create(self, desired: State) -> None:
        access = {
            **desired["accessConfig"],
            "bootstrapClusterCreatorAdminPermissions": self.params["bootstrap_creator_admin"],
        }
        self.call(
            "create_cluster",
            **{**desired, "logging": _logging(desired["logging"]), "accessConfig": access},
            name=self.params["name"],
            bootstrapSelfManagedAddons=self.params["bootstrap_self_managed_addons"],
            tags=self.tags,
        )

    def update(self, changed: State, current: State) -> None:
        name = self.params["name"]
        if "deletionProtection" in changed:
            self._config(deletionProtection=changed["deletionProtection"])
        for key in _CONFIG:
            if key in changed:
                for part in self._steps(key, changed[key], current):
                    self._config(**{key: part})
        if "encryptionConfig" in changed:
            answer = self.call(
                "associate_encryption_config", clusterName=name, encryptionConfig=changed["encryptionConfig"]
            )
            self.follow(answer["update"], name)
        for version in version_steps(current["version"], changed.get("version")):
            self.connection.say(f"{self.subject}: to version {version} (about 10 minutes)")
            self.follow(self.call("update_cluster_version", name=name, version=version)["update"], name)

    def _config(self, **part: Any) -> None:
        name = self.params["name"]
        self.follow(self.call("update_cluster_config", name=name, **part)["update"], name)

    def _steps(self, key: str, wanted: Any, current: State) -> list[Any]:
        """One change may take several calls: authentication modes change step by step, subnets and endpoints separately."""
        if key == "logging":
            return [_logging(wanted, set(current["logging"]))]
        if key == "accessConfig":
            old, new = current["accessConfig"]["authenticationMode"], wanted["authenticationMode"]
            return [{"authenticationMode": mode} for mode in _MODES[_MODES.index(old) + 1 : _MODES.index(new) + 1]] or [
                wanted
            ]
        if key == "resourcesVpcConfig":
            have = current["resourcesVpcConfig"]
            differs = {name: value for name, value in wanted.items() if _unlike(have.get(name), value)}
            network = {name: differs[name] for name in ("subnetIds", "securityGroupIds") if name in differs}
            return [part for part in (network, {n: v for n, v in differs.items() if n not in network}) if part]
        return [wanted]

    def remove(self, current: State) -> None:
        # A cluster that is being created or changed, for example by an interrupted run, cannot be deleted yet.
        current = self._steady(current)
        if current.get("deletionProtection"):
            self._config(deletionProtection=False)
        self.call("delete_cluster", name=self.params["name"])

    def settled(self, current: State) -> Settled:
        issues = "; ".join(issue["message"] for issue in (current.get("health") or {}).get("issues", []))
        failed = frozenset({"FAILED"})
        return Settled(current["status"], bad=failed, unmade=failed, why=issues)

    def made(self, current: State) -> State:
        vpc = current["resourcesVpcConfig"]
        return given(
            name=current["name"],
            arn=current["arn"],
            endpoint=current.get("endpoint"),
            certificate_authority=(current.get("certificateAuthority") or {}).get("data"),
            issuer=((current.get("identity") or {}).get("oidc") or {}).get("issuer"),
            version=current["version"],
            vpc_id=vpc.get("vpcId"),
            security_group_id=vpc.get("clusterSecurityGroupId"),
            service_cidr=(current.get("kubernetesNetworkConfig") or {}).get("serviceIpv4Cidr"),
        )


def _described(looker: Looker, name: str) -> State | None:
    try:
        return dict(looker.call("eks", "describe_cluster", name=name)["cluster"])
    except NotFound:
        return None


def _tier(wanted: str | None, current: State | None) -> State | None:
    """The standard tier is the default. It is only set to return to it, because some regions do not support tiers."""
    has = ((current or {}).get("controlPlaneScalingConfig") or {}).get("tier", "standard")
    return None if wanted in (None, has) and wanted in (None, "standard") else {"tier": wanted}


def _unlike(have: Any, wanted: Any) -> bool:
    return sorted(have or []) != sorted(wanted) if isinstance(wanted, list) else have != wanted


def _logging(on: list[str], before: set[str] | None = None) -> State:
    parts = [{"types": on, "enabled": True}] if on else []
    off = [kind for kind in LOG_TYPES if kind in (before or set()) and kind not in on]
    return {"clusterLogging": parts + ([{"types": off, "enabled": False}] if off else [])}


def version_fault(wanted: str | None) -> str:
    """Why no cluster can get a version, in words; empty where one can."""
    if not wanted or is_unknown(wanted):
        return ""
    if not re.fullmatch(r"1\.\d+", wanted):
        return f"version {wanted!r} is none of Kubernetes, such as 1.35"
    return ""


def version_steps(current: str, wanted: str | None) -> list[str]:
    """Minor versions from the next one to the wanted one, which is no older; EKS takes one at a time."""
    if not wanted:
        return []
    return [f"1.{minor}" for minor in range(_minor(current) + 1, _minor(wanted) + 1)]


def _minor(version: str) -> int:
    return int(version.split(".")[1])
