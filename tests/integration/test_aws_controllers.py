# SPDX-License-Identifier: Apache-2.0
"""AWS's own Karpenter judges what our roles describe, on the emulated account beside a local cluster.

Karpenter works with the permissions of the role that we give it, on the node classes and pools that we describe. Only the
account and the kubelets of its instances are emulated. The tests are steps of one story.
"""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import AwsAccess
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from local.kubernetes import controllers
from local.kubernetes.cluster import Cluster
from local.kubernetes.config import AwsConfig, ClusterConfig
from tests.support.aws_inventory import inventory
from tests.support.aws_roles import PLATFORM, ROLES
from tests.support.cluster_client import new_client
from tests.support.cluster_names import cluster_name
from tests.support.described import describe
from tests.support.emulated_aws import REGION, EmulatedAws
from tools import obtain

pytestmark = [pytest.mark.apiserver, pytest.mark.full]
NAME = cluster_name("judged")
DELAYS = {"instance-delete": 1.0, "spot-interruption": 60.0}
CONFIG = ClusterConfig(name=NAME, node=False, aws=AwsConfig(region=REGION, delays=DELAYS, controllers=True))
MODEL = {"name": "a-8b", "source": "hf://a/b", "revision": "0" * 40, "engine": "vllm", "accelerators": ["g6.xlarge"]}
SETTINGS = {
    **PLATFORM,
    "platform_cluster_name": NAME,
    "model_catalog": [MODEL],
    "karpenter_aws_instance_profile": False,
    "karpenter_state": "present",
    "karpenter_controller": "given",
    "karpenter_capacity": ["spot", "on-demand"],
    # Nobody waits minutes here.
    "karpenter_consolidate_after": "5s",
    "karpenter_general_spec": {"disruption": {"consolidateAfter": "5s"}},
}
PATIENCE_S = 240


class Judged:
    """The cluster with its account and the controllers, and what we describe in it."""

    def __init__(self, cluster, status) -> None:
        self.cluster = cluster
        self.connection = Connection.open(
            status.aws_region, credentials_file=status.aws_credentials_file, endpoint_url=status.aws_endpoint_url
        )
        self.account = EmulatedAws()
        self.account.url = status.aws_endpoint_url
        self.ec2 = self.account.client("ec2")
        self.client = new_client(cluster.kubeconfig)
        self.started = time.monotonic()
        self.shapes = describe({"judged": SETTINGS, "drifted": {**SETTINGS, "karpenter_tags": {"team": "research"}}})

    def components(self, shape="judged", **more):
        wanted = (*ROLES, "karpenter_pools")
        return [{**one, **more} for one in self.shapes[shape] if one["name"] in wanted]

    def converge(self, components):
        aws = AwsAccess(self.connection, NAME, "")
        done = engine.converge(engine.Request(lose_data=("all",), descriptors=components, aws=aws))
        assert not done.errors, done.errors

    def deploy(self, name, replicas, **pod):
        label = {"app": name}
        requests = pod.pop("requests", {"cpu": "1"})
        container = {"name": "a", "image": "none", "resources": {"requests": requests, "limits": pod.pop("limits", {})}}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **pod}
        made = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": label},
                "template": {"metadata": {"labels": label}, "spec": spec},
            },
        }
        self.client.apply(self.client.resource("apps/v1", "Deployment"), made)

    def pods(self, name):
        pods = self.client.list(self.client.resource("v1", "Pod"), "default")
        return [one for one in pods if one["metadata"]["labels"].get("app") == name]

    def nodes_of(self, name):
        """Nodes of its pods that run."""
        return {one["spec"].get("nodeName") for one in self.pods(name) if one["status"].get("phase") == "Running"}

    def node(self, name):
        return self.client.get(self.client.resource("v1", "Node"), name)

    def instances(self, *states):
        filters = [
            {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]},
            {"Name": "instance-state-name", "Values": list(states) or ["pending", "running"]},
        ]
        found = self.ec2.describe_instances(Filters=filters)["Reservations"]
        return {one["InstanceId"]: one for each in found for one in each["Instances"]}

    def instance_of(self, node):
        return self.node(node)["spec"]["providerID"].rsplit("/", 1)[1]

    def wait(self, what, ready):
        begun = time.monotonic()
        while not (found := ready()):
            assert time.monotonic() - begun < PATIENCE_S, f"{what}: not after {PATIENCE_S} s; see {CONFIG.state}/logs"
            time.sleep(0.5)
        print(f"{what}: {time.monotonic() - begun:.1f} s")
        return found


@pytest.fixture(scope="module")
def judged():
    try:
        obtain.obtain(list(controllers.TOOLS), obtain.default_cache())
    except obtain.ObtainError as error:
        pytest.skip(f"AWS's Karpenter can be neither found nor built here: {error}")
    cluster = Cluster(CONFIG)
    cluster.down()
    cluster.up()
    try:
        found = Judged(cluster, cluster.status())
        # As playbooks/account.yml does.
        found.account.client("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        found.converge(found.components())
        yield found
    finally:
        cluster.down()


@contextmanager
def deployed(judged, name, replicas=1, **pod):
    """A Deployment and the node that it runs on; at its end its nodes go as well."""
    judged.deploy(name, replicas, **pod)
    yield judged.wait(f"{name} runs", lambda: len(judged.pods(name)) == replicas and judged.nodes_of(name))
    judged.client.delete(judged.client.resource("apps/v1", "Deployment"), name, "default")
    judged.wait(f"{name}'s nodes are gone", lambda: not judged.instances())


GENERAL = {"nodeSelector": {"karpenter.sh/nodepool": "general"}}


def test_a_pending_pod_gets_an_instance_as_our_node_class_says_and_its_empty_node_goes(judged):
    with deployed(judged, "plain", **GENERAL) as nodes:
        [node] = nodes
        instance = judged.instances()[judged.instance_of(node)]
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert (tags["llm.on_eks/cluster"], tags["llm.on_eks/component"]) == (NAME, "karpenter")
        cluster = judged.account.client("eks").describe_cluster(name=NAME)["cluster"]["resourcesVpcConfig"]
        assert [one["GroupId"] for one in instance["SecurityGroups"]] == [cluster["clusterSecurityGroupId"]]
        assert instance["SubnetId"] in cluster["subnetIds"]
        size = judged.ec2.describe_instance_types(InstanceTypes=[instance["InstanceType"]])["InstanceTypes"][0]
        assert size["VCpuInfo"]["DefaultVCpus"] <= 8, "a pod with one CPU gets no large machine"
        claims = judged.client.list(judged.client.resource("karpenter.sh/v1", "NodeClaim"))
        drifted = [one for claim in claims for one in claim["status"]["conditions"] if one["type"] == "Drifted"]
        assert not [one for one in drifted if one["status"] == "True"]


def test_an_engines_pod_gets_the_accelerator_that_its_model_names(judged):
    gpu = {"nodeSelector": {"llm.on-eks/accelerator": "gpu"}, "tolerations": [{"operator": "Exists"}]}
    with deployed(judged, "engine", limits={"nvidia.com/gpu": "1"}, **gpu) as nodes:
        assert [one["InstanceType"] for one in judged.instances().values()] == ["g6.xlarge"]
        [node] = map(judged.node, nodes)
        assert {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"} in node["spec"]["taints"]


def test_a_node_that_differs_from_its_class_is_replaced(judged):
    with deployed(judged, "kept", **GENERAL) as nodes:
        [first] = map(judged.instance_of, nodes)
        judged.converge(judged.components("drifted"))
        judged.wait("drift: the first instance is gone", lambda: first not in judged.instances())
        judged.wait("drift: the pod runs again", lambda: judged.nodes_of("kept"))
        [second] = judged.instances().values()
        assert {"Key": "team", "Value": "research"} in second["Tags"]


def test_a_spot_interruption_drains_the_node_and_brings_another_one(judged):
    with deployed(judged, "spot", **GENERAL) as nodes:
        [node] = nodes
        first = judged.instance_of(node)
        assert judged.instances()[first]["InstanceLifecycle"] == "spot"
        judged.account.admin("POST", f"interruptions/{REGION}/{first}", {"kind": "spot"})
        judged.wait("interruption: the pod runs elsewhere", lambda: judged.nodes_of("spot") - {node})
        judged.wait("interruption: the instance is gone", lambda: first not in judged.instances())


def test_nodes_that_are_too_many_become_fewer(judged):
    spread = [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}]
    spread[0]["labelSelector"] = {"matchLabels": {"app": "spread"}}
    with deployed(judged, "spread", 2, topologySpreadConstraints=spread, **GENERAL):
        judged.wait("two nodes", lambda: len(judged.nodes_of("spread")) == 2)
        judged.deploy("spread", 2, requests={"cpu": "100m"}, **GENERAL)
        judged.wait("consolidation: one instance", lambda: len(judged.instances()) == 1 and judged.nodes_of("spread"))


def test_removal_leaves_nothing_that_karpenter_made(judged):
    judged.deploy("last", 1, **GENERAL)
    judged.wait("last runs", lambda: judged.nodes_of("last"))
    judged.converge(judged.components(state="absent"))
    left = sorted(map(str, inventory(judged.account)))
    assert not left, left
    assert not judged.instances("pending", "running", "shutting-down")
