# SPDX-License-Identifier: Apache-2.0
"""Each check of an AWS account by itself: facts and wishes in, findings out."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.estimate.model_size import Given
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.lookups import Offering, Version
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.checks import (
    account,
    capacity,
    lifecycle,
    models,
    network,
    nodes,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.checks.price import price
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.described import Network, NodeGroup
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.facts import (
    Cluster,
    Facts,
    Peering,
    Subnet,
    Taken,
    Vpc,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.gather import has_hugging_face_token
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.review import CHECKS, review
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.wanted import Model, Wanted, size_here, wanted
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.findings import Place

ZONES = ("us-west-2a", "us-west-2b")


def offer(name, *, vcpus=4, memory=16384, accelerator=0, count=1, zones=ZONES, price=1.0):
    counted = count if accelerator else 0
    return Offering(name, zones, vcpus, memory, ("x86_64",), "x", "x", counted, accelerator, 0, price)


SYSTEM = NodeGroup("system", ("m7i.large",), 2, 4)
LLAMA = Model(Given("llama-3.1-8b", "hf://a/b", 8192), ("inf2.xlarge", "g6.xlarge"), 1, 4, "vllm")
WANTED = Wanted(
    cluster="demo",
    region="us-west-2",
    version="1.35",
    network=Network(cidr="10.0.0.0/16", zones=ZONES, nat_gateways=1),
    node_groups=(SYSTEM,),
    models=(LLAMA,),
    reference={"as_of": "2026-11-22", "prices": {"m7i.large": 0.1}},
    places={"cluster_version": Place("group_vars/all.yml", 7)},
)
FACTS = Facts(
    account="123456789012",
    caller="arn:aws:iam::123456789012:user/ann",
    today=datetime.date(2026, 11, 22),
    denied={},
    zones={zone: f"usw2-az{number}" for number, zone in enumerate(ZONES, 1)},
    offers=(
        offer("m7i.large", vcpus=2, memory=8192),
        offer("inf2.xlarge", accelerator=32768),
        offer("g6.xlarge", accelerator=22888),
    ),
    quotas={("standard", "on-demand"): 64.0, ("inf", "on-demand"): 32.0, ("g", "on-demand"): 64.0},
    in_use={},
    versions=(
        Version("1.35", True, "STANDARD_SUPPORT", "2027-03-27", "2028-03-27"),
        Version("1.34", False, "STANDARD_SUPPORT", "2026-12-02", "2027-12-02"),
        Version("1.33", False, "EXTENDED_SUPPORT", "2026-07-29", "2027-07-29"),
    ),
    vpcs=(),
    peerings=(),
    taken=(),
    hugging_face_token=True,
)


def found(check, facts=FACTS, asked=WANTED):
    return [(finding.severity, str(finding)) for finding in check(facts, asked)]


def one(check, facts=FACTS, asked=WANTED):
    rows = found(check, facts, asked)
    assert len(rows) == 1, rows
    return rows[0]


def test_an_account_with_all_that_is_wanted_has_no_finding():
    result = review(FACTS, WANTED)
    assert result.all == []
    assert set(result.findings) == set(CHECKS)


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_no_check_speaks_of_what_could_not_be_asked(kind):
    silent = Facts("1", "arn", FACTS.today, hugging_face_token=True)
    assert found(CHECKS[kind], silent) == []


def test_permissions_that_are_missing_are_named_by_who_forbids_them():
    denied = {"eks:CreateCluster": "no policy allows it", "eks:TagResource": "no policy allows it"}
    denied |= {"iam:CreateRole": "the organization forbids it"}
    rows = found(account.permissions, replace(FACTS, denied=denied))
    assert [severity for severity, __ in rows] == ["error", "error"]
    assert "eks: CreateCluster, TagResource; attach the policy of docs/aws_permissions.json, for names" in rows[0][1]
    assert "(the organization forbids it): iam: CreateRole; have that lifted" in rows[1][1]


def test_a_hugging_face_model_without_a_token_is_warned_about():
    severity, text = one(account.secrets, replace(FACTS, hugging_face_token=False))
    assert severity == "warning" and "llama-3.1-8b comes from Hugging Face" in text
    other = replace(WANTED, models=(Model(Given("x", "s3://a/b")),))
    assert found(account.secrets, replace(FACTS, hugging_face_token=False), other) == []


def test_a_token_is_found_where_the_library_finds_it(tmp_path):
    assert not has_hugging_face_token({"HOME": str(tmp_path)})
    assert has_hugging_face_token({"HF_TOKEN": "x"})
    (tmp_path / "token").write_text("x")
    assert has_hugging_face_token({"HF_HOME": str(tmp_path)})


def test_what_refused_to_be_looked_at_is_a_warning():
    facts = replace(FACTS, refused={"zones": "zones: describe availability zones failed: UnauthorizedOperation"})
    severity, text = one(account.unseen, facts)
    assert severity == "warning" and text.startswith("zones could not be checked")


@pytest.mark.parametrize(
    ("version", "severity", "words"),
    [
        ("1.28", "error", "cluster_version 1.28 is not offered by EKS here; take one of 1.35, 1.34"),
        ("1.33", "warning", "is in extended support until 2027-07-29"),
        ("1.34", "warning", "leaves standard support on 2026-12-02, in 10 days"),
    ],
)
def test_a_version_without_a_future_is_said_with_its_line(version, severity, words):
    level, text = one(lifecycle.version, asked=replace(WANTED, version=version))
    assert level == severity and words in text and text.startswith("group_vars/all.yml:7: ")


def test_a_version_below_the_running_cluster_is_a_warning():
    facts = replace(FACTS, cluster=Cluster("1.36", "demo"))
    severity, text = one(lifecycle.version, facts)
    assert severity == "warning" and "the cluster runs 1.36: it stays there, for EKS does not go back" in text
    assert found(lifecycle.version, facts, replace(WANTED, adopt=True)) == [], "an adopted one stays as it is"


def test_what_is_known_of_aws_for_long_is_a_warning_until_the_account_was_asked():
    said = [text for __, text in found(lifecycle.ages, asked=replace(WANTED, reference={}))]
    assert len(said) == 1 and "prices are known as of 2025-12-31, 326 days ago; run playbooks/lock.yml" in said[0]
    asked = replace(WANTED, reference={"as_of": "2026-11-01", "prices": {"m7i.large": 0.1}})
    assert found(lifecycle.ages, asked=asked) == []
    later = replace(FACTS, today=datetime.date(2027, 2, 1))
    assert "prices are known as of 2026-11-01, 92 days ago" in found(lifecycle.ages, later, asked)[0][1]


def test_a_network_of_ones_own_needs_addresses_and_one_more_vpc():
    facts = replace(FACTS, counts={"elastic-ip": (5.0, 3), "vpc": (5.0, 5)})
    asked = replace(WANTED, network=replace(WANTED.network, nat_gateways=3))
    said = dict.fromkeys(text for __, text in found(capacity.counts, facts, asked))
    assert list(said) == [
        "the quota of elastic IP addresses is 5, and 3 are needed beside 3 of others; "
        "ask for 6 or more (Service Quotas, ec2 L-0263D0A3), or give some back.",
        "the quota of VPCs is 5, and 1 is needed beside 5 of others; "
        "ask for 6 or more (Service Quotas, vpc L-F678F1CE), or give some back.",
    ]
    assert found(capacity.counts, replace(facts, counts={"elastic-ip": (6.0, 3), "vpc": (6.0, 5)}), asked) == []


def test_addons_of_a_protected_cluster_are_pinned():
    young = {"as_of": "2026-11-01", "prices": {"m7i.large": 0.1}}
    asked = replace(WANTED, reference=young, addons=("vpc-cni", "coredns"), protected=True)
    severity, text = one(lifecycle.ages, asked=asked)
    assert severity == "warning" and "pins no version of vpc-cni, coredns for Kubernetes 1.35" in text
    pinned = {**young, "addons": {"1.35": {"vpc-cni": "v1", "coredns": "v2"}}}
    assert found(lifecycle.ages, asked=replace(asked, reference=pinned)) == []
    assert found(lifecycle.ages, asked=replace(asked, protected=False)) == []


@pytest.mark.parametrize(
    ("owner", "words"), [("", "exists without our mark"), ("other", "exists marked for other"), ("demo", None)]
)
def test_a_name_that_another_has_is_an_error(owner, words):
    taken = Taken("eks_cluster", "EKS cluster", "demo", "platform_cluster_name", owner)
    rows = found(lifecycle.names, replace(FACTS, taken=(taken,)))
    assert [severity for severity, __ in rows] == (["error"] if words else [])
    assert not words or (words in rows[0][1] and "cluster_adopt: true" in rows[0][1])


def test_a_cluster_to_adopt_must_be_there():
    adopting = replace(WANTED, adopt=True)
    assert "there is no cluster demo in us-west-2" in one(lifecycle.names, asked=adopting)[1]
    assert found(lifecycle.names, replace(FACTS, cluster=Cluster("1.34", "")), adopting) == []
    assert found(lifecycle.names, replace(FACTS, refused={"cluster": "x"}), adopting) == [], "not known"


@pytest.mark.parametrize(("bucket", "severity"), [("foreign", "error"), ("free", "warning"), ("ours", None)])
def test_the_bucket_for_locks_is_there_and_ours(bucket, severity):
    rows = found(lifecycle.names, replace(FACTS, bucket=bucket), replace(WANTED, state_bucket="records"))
    assert [level for level, __ in rows] == ([severity] if severity else [])


def test_services_and_vpc_are_apart_and_of_a_size_that_is_taken():
    asked = replace(WANTED, service_cidr="10.0.128.0/20")
    assert "network_cidr (10.0.0.0/16) overlaps cluster_service_cidr" in one(network.ranges, asked=asked)[1]
    small = replace(WANTED, network=replace(WANTED.network, cidr="10.0.0.0/24"))
    assert "network_cidr is 10.0.0.0/24; give a range between /16 and /20" in one(network.ranges, asked=small)[1]
    public = replace(WANTED, service_cidr="8.8.0.0/20")
    assert "which EKS does not take" in one(network.ranges, asked=public)[1]
    broken = replace(WANTED, network=replace(WANTED.network, cidr="10.0.0.1/16"))
    assert "has host bits set" in one(network.ranges, asked=broken)[1]


def test_a_given_vpc_must_not_overlap_the_services():
    asked = replace(WANTED, network=Network(vpc_id="vpc-1"), service_cidr="10.7.0.0/16")
    facts = replace(FACTS, vpcs=(Vpc("vpc-1", ("10.6.0.0/15",)),))
    assert one(network.ranges, facts, asked)[0] == "error"


def test_networks_that_ours_is_joined_to_or_mistaken_for_are_warned_about():
    vpcs = (Vpc("vpc-1", ("10.0.0.0/16",), "demo", "demo"), Vpc("vpc-2", ("10.0.0.0/8",)))
    peered = replace(FACTS, vpcs=vpcs, peerings=(Peering("vpc-1", "vpc-2", ("10.0.0.0/8",)),))
    severity, text = one(network.ranges, peered)
    assert severity == "warning" and "overlaps 10.0.0.0/8 of vpc-2" in text
    assert found(network.ranges, replace(FACTS, vpcs=vpcs)) == [], "not joined: no matter"
    named = replace(FACTS, vpcs=(Vpc("vpc-9", ("10.9.0.0/16",), "demo"),))
    assert "vpc-9 (10.9.0.0/16) is called so too" in one(network.ranges, named)[1]


def test_zones_exist_take_a_control_plane_and_are_two():
    def with_zones(*zones):
        return replace(WANTED, network=replace(WANTED.network, zones=zones))

    assert (
        "names us-west-2x, which us-west-2 does not show"
        in one(network.zones, asked=with_zones(*ZONES, "us-west-2x"))[1]
    )
    assert "fewer than two zones" in one(network.zones, asked=with_zones(ZONES[0]))[1]
    facts = replace(FACTS, zones={ZONES[0]: "use1-az3", ZONES[1]: "use1-az1"})
    assert "(use1-az3), where EKS takes no control plane" in one(network.zones, facts)[1]


TAGGED = {"kubernetes.io/role/internal-elb": "1"}


def given(*subnets, vpc="vpc-1", ids=("a", "b"), maximum=1):
    facts = replace(FACTS, vpcs=(Vpc("vpc-1", ("10.0.0.0/16",)),), subnets=subnets)
    groups = (replace(SYSTEM, maximum=maximum),)
    return facts, replace(WANTED, network=Network(vpc_id=vpc, private_subnet_ids=ids), node_groups=groups)


@pytest.mark.parametrize(
    ("subnets", "severities", "words"),
    [
        ([("a", "a", 500), ("b", "b", 500)], [], ""),
        ([("a", "a", 500)], ["error", "error"], "names b, which vpc-1 does not have"),
        ([("a", "a", 500), ("b", "a", 500)], ["error"], "covers fewer than two zones"),
        ([("a", "a", 500), ("b", "b", 5)], ["error"], "has b with 5 free addresses, and EKS needs 6"),
        ([("a", "a", 500), ("b", "b", 12)], ["warning"], "EKS recommends 16"),
    ],
)
def test_given_subnets_exist_cover_two_zones_and_have_room(subnets, severities, words):
    rows = found(network.given, *given(*(Subnet(name, "vpc-1", zone, free, TAGGED) for name, zone, free in subnets)))
    assert [severity for severity, __ in rows] == severities
    assert any(words in text for __, text in rows) or not words


def test_a_given_network_is_found_tagged_and_large_enough_for_the_nodes():
    two = [Subnet(name, "vpc-1", name, 100, TAGGED) for name in "ab"]
    assert "200 free addresses for up to 10 nodes" in one(network.given, *given(*two, maximum=10))[1]
    untagged = [replace(subnet, tags={}) for subnet in two]
    assert "without the tag kubernetes.io/role/internal-elb" in one(network.given, *given(*untagged))[1]
    assert "which us-west-2 does not have" in one(network.given, *given(*two, vpc="vpc-7"))[1]
    strange = [replace(two[0], vpc_id="vpc-2"), two[1]]
    assert "names a, which vpc-1 does not have" in found(network.given, *given(*strange))[0][1]


def test_types_that_the_region_or_a_zone_lacks_are_named():
    gone = replace(WANTED, node_groups=(replace(SYSTEM, instance_types=("m9.large",)),))
    severity, text = one(capacity.offers, asked=gone)
    assert severity == "error" and "node_groups_system[system].instance_types names m9.large" in text
    partly = replace(WANTED, node_groups=(replace(SYSTEM, instance_types=("m9.large", "m7i.large")),))
    assert one(capacity.offers, asked=partly)[0] == "warning"
    narrow = replace(FACTS, offers=(offer("m7i.large", zones=ZONES[:1]), *FACTS.offers[1:]))
    assert "has no type that us-west-2b offers" in one(capacity.offers, narrow)[1]
    elsewhere = replace(FACTS, offers=(*FACTS.offers[:2], offer("g6.xlarge", accelerator=22888, zones=("us-west-2d",))))
    assert "g6.xlarge is offered in us-west-2d only" in one(capacity.offers, elsewhere)[1]


def test_quotas_hold_the_start_and_are_warned_about_for_the_largest():
    tight = replace(FACTS, quotas={**FACTS.quotas, ("inf", "on-demand"): 8.0})
    severity, text = one(capacity.quotas, tight)
    assert severity == "warning" and "16 are needed when all are at their largest" in text
    assert "model llama-3.1-8b 1 to 4 x inf2.xlarge = 16; ask for 16 or more (Service Quotas, ec2 L-1945791B)" in text
    severity, text = one(capacity.quotas, replace(FACTS, quotas={("standard", "on-demand"): 3.0}))
    assert severity == "error" and "is 3 vCPUs, and 4 are needed at the start" in text


def test_what_others_use_of_a_quota_counts():
    busy = replace(FACTS, in_use={("standard", "on-demand"): 62})
    severity, text = one(capacity.quotas, busy)
    assert severity == "error" and "beside 62 in use by others" in text and "ask for 66 or more" in text


def test_spot_groups_count_against_the_quota_of_spot():
    asked = replace(WANTED, node_groups=(replace(SYSTEM, spot=True),), models=())
    assert found(capacity.quotas, replace(FACTS, quotas={("standard", "on-demand"): 0.0}), asked) == []
    assert one(capacity.quotas, replace(FACTS, quotas={("standard", "spot"): 0.0}), asked)[0] == "error"


def test_a_model_gets_the_first_instance_that_has_room_and_says_why():
    ((__, place),) = models.choices(FACTS, WANTED)
    assert place.instance_type == "inf2.xlarge" and "weights 14.9 GiB + KV cache 1.0 GiB" in place.reasons[0]
    assert any("8B parameters (from its name)" in words for words in place.estimate.assumed)


def test_an_engine_is_not_put_on_what_it_cannot_use():
    neuron = replace(FACTS.offers[1], manufacturer="AWS", accelerator="Inferentia2")
    facts = replace(FACTS, offers=(FACTS.offers[0], neuron, FACTS.offers[2]))
    asked = replace(WANTED, models=(replace(LLAMA, engine="llamacpp"),))
    ((__, place),) = models.choices(facts, asked)
    assert place.instance_type == "g6.xlarge"
    assert place.reasons[0] == "inf2.xlarge: llamacpp does not compute on Inferentia2"
    only = replace(asked, models=(replace(LLAMA, engine="llamacpp", instance_types=("inf2.xlarge",)),))
    assert one(models.models, facts, only)[0] == "error"


def test_a_model_that_fits_nowhere_is_an_error_with_the_sums():
    large = replace(WANTED, models=(replace(LLAMA, given=Given("llama-70b", context=8192)),))
    severity, text = one(models.models, asked=large)
    assert severity == "error" and "inf2.xlarge: too small: weights 130.4 GiB" in text


def test_a_model_of_unknown_size_is_a_warning_and_shows_no_sums():
    mystery = replace(WANTED, models=(replace(LLAMA, given=Given("mystery")),))
    severity, text = one(models.models, asked=mystery)
    assert severity == "warning" and "set parameters" in text
    ((__, place),) = models.choices(FACTS, mystery)
    assert place.reasons == ("inf2.xlarge: taken unchecked, its size is not known",)


def test_a_model_on_processors_goes_to_a_node_group_with_room():
    small = replace(WANTED, models=(Model(Given("tiny-1b-q4_k_m"), engine="llamacpp"),))
    ((__, place),) = models.choices(FACTS, small)
    assert (place.on_group, place.instance_type, place.price_per_hour) == ("system", "m7i.large", 0.0)
    large = replace(WANTED, models=(Model(Given("huge-70b"), engine="llamacpp"),))
    assert one(models.models, asked=large)[0] == "error"
    assert one(models.models, asked=replace(large, karpenter=True))[0] == "warning", "its pools may bring larger ones"


def test_an_unknown_quantization_is_said():
    asked = replace(WANTED, models=(replace(LLAMA, given=Given("x-8b", quantization="exl9")),))
    assert "is 'exl9', whose size is not known" in one(models.models, asked=asked)[1]


def test_the_price_is_that_of_everything_at_its_smallest():
    total = price(FACTS, WANTED)
    assert total.per_hour == pytest.approx(2 * 0.1008 + 0.7582 + 0.10 + 0.045 + 0.005)
    assert price(FACTS, replace(WANTED, version="1.33")).per_hour == pytest.approx(total.per_hour + 0.5)
    own = replace(WANTED, prices={"m7i.large": 1.0})
    assert price(FACTS, own).per_hour == pytest.approx(total.per_hour + 2 * (1 - 0.1008))
    strange = replace(WANTED, node_groups=(replace(SYSTEM, instance_types=("x9.huge",)),))
    assert price(FACTS, strange).unknown == ("x9.huge",) and "unknown" in str(price(FACTS, strange))


def test_the_page_has_a_line_for_each_kind_and_says_what_was_right():
    lines = review(FACTS, WANTED).lines()
    assert lines[0] == "AWS account 123456789012, us-west-2, as arn:aws:iam::123456789012:user/ann"
    assert "  ok  version        Kubernetes 1.35" in lines
    assert any(line.startswith("model llama-3.1-8b → inf2.xlarge") for line in lines)
    assert any(line.startswith("price 1.11 USD an hour; an estimate, prices of us-east-1") for line in lines)


VALUES = {
    "platform_cluster_name": "demo",
    "platform_aws_region": "us-west-2",
    "node_groups_system": {"instance_types": ["m7i.large"], "min_size": 2, "max_size": 4},
    "node_groups_extra": [{"name": "gpu", "instance_types": ["g6.xlarge"]}],
    "identity_roles": [{"name": "weights_reader"}],
    "model_catalog": [
        {"name": "a-8b", "source": "hf://a/b", "engine": "vllm", "accelerators": ["g6.xlarge"], "replicas": {"max": 3}},
        {"name": "b", "source": "pip://b", "engine": "llamacpp"},
        {"name": "c", "source": "pip://c", "engine": "llamacpp", "state": "absent"},
    ],
}


def entry(kind, entry_name, adopt=False, /, **properties):
    return {"type": kind, "name": entry_name, "adopt": adopt, "properties": properties}


def described(*extra, cluster=None, network=None):
    """Descriptors as roles write them, as far as AWS goes."""
    zones = network or [
        entry("ec2_vpc", "vpc", name="demo", cidr="10.0.0.0/16"),
        entry("ec2_subnet", "private_a", name="demo-a", vpc_id="${out:network.vpc_id}", zone="us-west-2a"),
        entry("ec2_subnet", "private_b", name="demo-b", vpc_id="${out:network.vpc_id}", zone="us-west-2b"),
        entry("ec2_nat_gateway", "nat_a", name="demo-a", subnet_id="${out:network.private_a_id}"),
        entry("ec2_endpoint", "s3", name="demo-s3", endpoint_service="s3"),
        entry("ec2_endpoint", "ecr", endpoint_type="Interface", subnet_ids=["${out:network.private_a_id}", "b"]),
    ]
    group = {"cluster": "${out:cluster.cluster_name}", "instance_types": ["m7i.large"], "min_size": 2, "max_size": 4}
    return [
        {"name": "network", "aws": zones},
        {"name": "cluster", "aws": [cluster or entry("eks_cluster", "cluster", name="demo", version="1.35")]},
        {
            "name": "node_groups",
            "aws": [
                entry("eks_nodegroup", "group_system", **{**group, "name": "system"}),
                entry("eks_nodegroup", "group_gpu", **{**group, "name": "gpu", "min_size": 0, "capacity_type": "SPOT"}),
            ],
        },
        {"name": "identity", "aws": [entry("iam_role", "weights_reader_role", name="demo-weights-reader")]},
        {"name": "storage_s3", "state": "skip", "aws": [entry("iam_role", "role", name="demo-s3-csi")]},
        *extra,
    ]


def test_what_is_wanted_is_read_from_the_descriptors():
    asked = wanted(VALUES, described())
    assert (asked.version, asked.network.cidr) == ("1.35", "10.0.0.0/16")
    assert asked.network.zones == ("us-west-2a", "us-west-2b")
    assert (asked.network.nat_gateways, asked.network.interface_endpoints) == (1, 2)
    groups = [(group.name, group.desired, group.maximum, group.spot, group.variable) for group in asked.node_groups]
    assert groups == [("system", 2, 4, False, "node_groups_system"), ("gpu", 0, 4, True, "node_groups_extra")]
    assert [(model.name, model.instance_types, model.maximum) for model in asked.models] == [
        ("a-8b", ("g6.xlarge",), 3),
        ("b", (), 1),
    ]


def test_each_resource_that_is_described_has_a_name_to_look_for_with_the_variable_that_led_to_it():
    component = {"name": "new_one", "aws": [entry("events_rule", "rule", name="demo-rule")]}
    found = {(name.kind, name.name): name.variable for name in wanted(VALUES, described(component)).names}
    assert found["events_rule", "demo-rule"] == "platform_cluster_name"
    assert found["iam_role", "demo-weights-reader"] == "identity_roles"
    assert ("iam_role", "demo-s3-csi") not in found, "what is skipped is not made"
    group = next(name for name in wanted(VALUES, described()).names if name.name == "gpu")
    assert group.entry.properties["cluster"] == "demo", "what names follow from is known before anything is made"


def test_what_is_adopted_needs_no_free_name():
    given = [
        entry("ec2_vpc", "vpc", True, name="demo", id="vpc-1"),
        entry("ec2_subnet", "private_1", True, name="demo-1", id="subnet-1"),
        entry("ec2_subnet", "public_1", True, name="demo-p1", id="subnet-2"),
    ]
    subnets = ["${out:network.private_1_id}"]
    made = entry("eks_cluster", "cluster", name="demo", subnet_ids=subnets)
    asked = wanted(VALUES, described(cluster=made, network=given))
    assert (asked.network.vpc_id, asked.network.cidr, asked.network.zones) == ("vpc-1", "", ())
    assert asked.network.private_subnet_ids == ("subnet-1",) and asked.network.public_subnet_ids == ("subnet-2",)
    adopted = wanted(VALUES, described(cluster=entry("eks_cluster", "cluster", True, name="demo")))
    assert adopted.adopt and "eks_cluster" not in {name.kind for name in adopted.names}


def test_weights_that_lie_here_are_measured(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "readme.md").write_bytes(b"x" * 1000)
    assert size_here(f"file://{tmp_path}") == 1000
    assert size_here(f"file://{tmp_path}/model.safetensors") == 1000
    assert size_here("file:///nowhere") == size_here("hf://a/b") == 0


def test_a_private_api_in_a_network_of_this_very_run_is_refused():
    made = entry("eks_cluster", "cluster", name="demo", endpoint_public_access=False)
    asked = wanted(VALUES, described(cluster=made))
    severity, text = one(network.reach, asked=asked)
    assert severity == "error" and "platform_only=network first" in text
    there = replace(FACTS, vpcs=(Vpc("vpc-1", ("10.0.0.0/16",), "demo", "demo"),))
    assert found(network.reach, there, asked) == [], "a runner may be in it"
    assert found(network.reach, asked=replace(asked, only=("network",))) == [], "the first half of the two"
    assert found(network.reach, asked=wanted(VALUES, described())) == [], "a public one is reached from outside"


def of_group(said, **more):
    group = NodeGroup("gpu", ("g6.xlarge",), 1, more.pop("maximum", 3), variable="node_groups_extra", said=said, **more)
    return [str(finding) for finding in nodes.groups(FACTS, replace(WANTED, node_groups=(SYSTEM, group)))]


@pytest.mark.parametrize(
    ("said", "more", "sentence"),
    [
        (
            {"placement": "cluster"},
            {"subnets": 2},
            "cluster with 2 zones, and such a placement group cannot leave one zone",
        ),
        ({"placement": "spread"}, {"subnets": 2, "maximum": 15}, "up to 15 nodes, and EC2 places 7 in a zone"),
        ({"image_id": "ami-1", "ami_type": "BOTTLEROCKET_x86_64"}, {}, "joined by nodeadm, which Bottlerocket lacks"),
        ({"image_id": "ami-1", "release_version": "1.35.1-1"}, {}, "EKS takes no version with an image of your own"),
        ({"ami_type": "AL2_x86_64"}, {}, "which EKS has up to Kubernetes 1.32"),
    ],
)
def test_what_cannot_be_in_one_node_group_is_one_sentence_that_names_it(said, more, sentence):
    (found,) = of_group(said, **more)
    assert "node_groups_extra[gpu]." in found
    assert sentence in found


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ({"placement": "cluster"}, {"subnets": 1}),
        ({"placement": "spread"}, {"subnets": 2, "maximum": 14}),
        ({"image_id": "ami-1", "ami_type": "AL2023_x86_64_STANDARD"}, {}),
        ({"ami_type": "AL2023_x86_64_STANDARD"}, {}),
    ],
)
def test_what_can_be_is_not_objected_to(said, more):
    assert not of_group(said, **more)


def test_a_node_group_is_known_with_what_its_variable_says_of_it():
    values = {**VALUES, "node_groups_extra": [{"name": "gpu", "instance_types": ["g6.xlarge"], "placement": "spread"}]}
    system, gpu = wanted(values, described()).node_groups
    assert gpu.said["placement"] == "spread"
    assert system.said["max_size"] == 4


def test_karpenter_with_spot_needs_the_accounts_role_for_it():
    (found,) = account.spot(replace(FACTS, spot_role=False), WANTED)
    assert "AWSServiceRoleForEC2Spot" in str(found)
    assert "playbooks/account.yml" in str(found)
    assert not list(account.spot(replace(FACTS, spot_role=True), WANTED))


@pytest.mark.parametrize(
    ("said", "spot"),
    [
        ({}, False),
        ({"karpenter_state": "present", "karpenter_capacity": ["on-demand"], "karpenter_general": False}, False),
        ({"karpenter_state": "present", "karpenter_general_capacity": ["spot"]}, True),
        ({"karpenter_state": "present", "karpenter_capacity": ["spot"], "karpenter_general": False}, True),
    ],
)
def test_whether_karpenter_may_buy_spot_is_read_from_its_variables(said, spot):
    assert wanted({**VALUES, **said}, described()).karpenter_spot is spot
