# SPDX-License-Identifier: Apache-2.0
"""What AWS answered, for checks that make no calls themselves."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from ....module_utils.aws.survey.lookups import Offering, Version


@dataclass(frozen=True)
class Cluster:
    """The EKS cluster of that name. `owner`: the cluster that its mark names, empty for none."""

    version: str
    owner: str
    status: str = "ACTIVE"


@dataclass(frozen=True)
class Vpc:
    """`name` and `owner` from its tags, each empty where there is none."""

    id: str
    cidrs: tuple[str, ...]
    name: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Subnet:
    """A given subnet. `free`: its free addresses."""

    id: str
    vpc_id: str
    zone: str
    free: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peering:
    """A live peering of a VPC with another, and the other's ranges."""

    vpc_id: str
    peer_id: str
    peer_cidrs: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """A name that something bears. `owner`: the cluster that its mark names, empty for none."""

    kind: str
    noun: str
    name: str
    variable: str
    owner: str = ""


@dataclass(frozen=True)
class Facts:
    """A field that is None was not asked for, or was refused; `refused` then has the sentence, by topic.

    `denied`: IAM actions that the caller may not do, with who forbids them; `zones`: zone → zone id; `quotas` and
    `in_use` (by others than this cluster): (family, on-demand or spot) → vCPUs; `counts`: name in reference.quotas.COUNTS →
    (quota, how many others have); `bucket`: free, ours or foreign; `spot_role`: whether the account has the role that spot instances need.
    """

    account: str
    caller: str
    today: datetime.date
    denied: Mapping[str, str] | None = None
    zones: Mapping[str, str] | None = None
    offers: tuple[Offering, ...] | None = None
    quotas: Mapping[tuple[str, str], float] | None = None
    in_use: Mapping[tuple[str, str], int] | None = None
    counts: Mapping[str, tuple[float, int]] | None = None
    versions: tuple[Version, ...] | None = None
    cluster: Cluster | None = None
    vpcs: tuple[Vpc, ...] | None = None
    subnets: tuple[Subnet, ...] | None = None
    peerings: tuple[Peering, ...] | None = None
    taken: tuple[Taken, ...] | None = None
    bucket: str = ""
    spot_role: bool | None = None
    hugging_face_token: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)

    def offer(self, instance_type: str) -> Offering | None:
        return next((offer for offer in self.offers or () if offer.instance_type == instance_type), None)
