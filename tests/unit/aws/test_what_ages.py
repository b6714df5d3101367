# SPDX-License-Identifier: Apache-2.0
"""What AWS changes by itself, and what it publishes: upgrades that nobody asked for, add-on versions, prices."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError

from ansible_collections.llm.on_eks.plugins.module_utils.aws import reference
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.base import newer
from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference import kubernetes
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.observed import observed, price_of

from .kinds import Ground, build, connect, sample

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


@pytest.fixture
def upgraded(aws, ground):
    """A cluster that we made with 1.34, and that AWS has upgraded since."""
    name = f"up-{ground.vpc[-6:]}"
    eks = aws.client("eks")
    if name not in eks.list_clusters()["clusters"]:
        params = {"name": name, "role_arn": ground.role, "version": "1.34", "subnet_ids": ground.subnets}
        build("eks_cluster", aws, params).apply()
        eks.update_cluster_version(name=name, version="1.35")
    return name


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules(reference.__path__)])
def test_what_ages_says_since_when_it_is_so_and_who_says_it(name):
    module = importlib.import_module(f"{reference.__name__}.{name}")
    assert len(module.AS_OF) == len("2026-11-22") and "https://" in (module.__doc__ + getattr(module, "SOURCE", ""))


def test_the_default_version_is_the_newest_with_standard_support_that_all_our_addons_have(aws):
    spec = yaml.safe_load((REPO / "roles/cluster/meta/argument_specs.yml").read_text())
    default = spec["argument_specs"]["main"]["options"]["cluster_version"]["default"]
    assert default == kubernetes.newest(kubernetes.AS_OF)
    for name in ("vpc-cni", "coredns", "aws-efs-csi-driver", "aws-ebs-csi-driver", "metrics-server"):
        assert aws.client("eks").describe_addon_versions(addonName=name, kubernetesVersion=default)["addons"]


def test_a_cluster_that_aws_upgraded_stays_there(aws, ground, upgraded):
    params = {"name": upgraded, "role_arn": ground.role, "version": "1.34", "subnet_ids": ground.subnets}
    assert build("eks_cluster", aws, params).plan().verb == "none"
    assert build("eks_cluster", aws, {**params, "version": "1.35"}).plan().verb == "none"
    assert build("eks_cluster", aws, {**params, "version": "1.36"}).plan().verb == "update"


def test_a_new_group_has_the_clusters_version_and_an_old_one_is_not_taken_back(aws, ground, upgraded):
    params = {**sample("eks_nodegroup", ground, aws).params, "cluster": upgraded, "version": "1.34"}
    with pytest.raises(ClientError, match="is not the cluster's version"):
        aws.client("eks").create_nodegroup(
            clusterName=upgraded, nodegroupName="x", subnets=ground.subnets, nodeRole=ground.role, version="1.34"
        )
    group = build("eks_nodegroup", aws, params)
    group.apply()
    assert group.wait()["version"] == "1.35"
    assert build("eks_nodegroup", aws, params).plan().verb == "none"


def test_addons_fit_the_cluster_as_it_is(aws, upgraded):
    params = {"cluster": upgraded, "name": "kube-proxy", "kubernetes_version": "1.34"}
    addon = build("eks_addon", aws, params)
    addon.apply()
    (row,) = aws.client("eks").describe_addon_versions(addonName="kube-proxy", kubernetesVersion="1.35")["addons"]
    fitting = [one["addonVersion"] for one in row["addonVersions"]]
    assert addon.wait()["addonVersion"] in fitting
    assert build("eks_addon", aws, params).plan().verb == "none"


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [("1.9", "1.35", "1.35"), ("1.35", "1.34", "1.35"), ("", "1.34", "1.34"), ("1.34", "", "1.34")],
)
def test_the_newer_of_two_versions(one, other, wanted):
    assert newer(one, other) == wanted


def test_the_account_is_asked_for_what_ages(aws):
    found, unseen = observed(connect(aws), "2026-11-29", ["m7i.large", "x9.huge"], {"1.35": ["vpc-cni", "coredns"]})
    assert unseen == [] and found["as_of"] == "2026-11-29"
    assert found["kubernetes"]["1.35"] == {"support": "STANDARD_SUPPORT", "standard_support_ends": "2027-03-27"}
    assert set(found["addons"]["1.35"]) == {"vpc-cni", "coredns"} and all(found["addons"]["1.35"].values())
    assert found["prices"] == {"m7i.large": price_of(connect(aws), "m7i.large")}


def test_prices_that_may_not_be_asked_are_named_and_the_rest_is_told(aws):
    aws.admin("PUT", "denied", {"actions": ["pricing:*"]})
    try:
        found, unseen = observed(connect(aws), "2026-11-29", ["m7i.large", "g6.xlarge"], {})
    finally:
        aws.admin("PUT", "denied", {"actions": []})
    assert found["kubernetes"] and found["prices"] == {}
    assert len(unseen) == 1 and "pricing:GetProducts" in unseen[0]
