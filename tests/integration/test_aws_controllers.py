# SPDX-License-Identifier: Apache-2.0
"""AWS's own controllers judge what our roles describe, on the emulated account beside a local cluster.

Karpenter works with the permissions of the role that we give it, on the node classes and pools that we describe; the cloud controller
manager with the cluster's role, as EKS runs it. Only the account and the kubelets of its instances are emulated. The tests
are steps of one story.
"""

from __future__ import annotations

import configparser
import time
from contextlib import contextmanager

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import AwsAccess
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from local.kubernetes import controllers, emulator
from local.kubernetes.cluster import Cluster
from local.kubernetes.config import AwsConfig, ClusterConfig
from tests.support import judges
from tests.support.aws_inventory import inventory
from tests.support.aws_roles import PLATFORM, ROLES
from tests.support.cluster_client import new_client
from tests.support.cluster_names import cluster_name
from tests.support.described import REPO, describe
from tests.support.emulated_aws import REGION, EmulatedAws
from tests.support.live_metrics import Scene, needs_prometheus, shortened, wait_for
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
    "identity_load_balancer_controller": True,
    "karpenter_state": "present",
    "karpenter_controller": "given",
    "karpenter_capacity": ["spot", "on-demand"],
    # Nobody waits minutes here.
    "karpenter_consolidate_after": "5s",
    "karpenter_general_spec": {"disruption": {"consolidateAfter": "5s"}},
}
PATIENCE_S = 240
KONG = yaml.safe_load((REPO / "roles/kong/tests/default.yml").read_text())


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

    def keys(self):
        """Those of the account's own user."""
        file = configparser.ConfigParser()
        file.read(emulator.credentials_file(CONFIG))
        return {name: file["default"][name] for name in ("aws_access_key_id", "aws_secret_access_key")}

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
        pytest.skip(f"AWS's controllers can be neither found nor built here: {error}")
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


@needs_prometheus
def test_a_refusing_aws_and_a_full_pool_are_told_until_it_is_over(judged, tmp_path):
    """Rules on what Karpenter itself measures. Of a pool's two nodes one is over the lowered limit."""
    karpenter = {f"{CONFIG.node_address}:8080": {"namespace": "kube-system"}}
    scene = Scene(tmp_path, tmp_path, shortened(pool=0.3), targets=karpenter)
    gpu = {"nodeSelector": {"llm.on-eks/accelerator": "gpu"}, "tolerations": [{"operator": "Exists"}]}
    refusal = {"kind": "error", "code": "UnauthorizedOperation", "message": "not allowed", "status": 403}
    with scene.prometheus():
        wait_for(lambda: scene.query("karpenter_nodepools_limit > 0"), "the pool's limit")
        judged.account.admin("POST", "faults", {"service": "ec2", "operation": "CreateFleet", **refusal})
        judged.deploy("full", 1, limits={"nvidia.com/gpu": "1"}, **gpu)
        scene.fires("KarpenterCannotLaunch", seconds=PATIENCE_S)
        judged.account.admin("DELETE", "faults")
        scene.fires("KarpenterPoolNearLimit", seconds=PATIENCE_S)
        scene.clears("KarpenterCannotLaunch", seconds=PATIENCE_S)
        judged.client.delete(judged.client.resource("apps/v1", "Deployment"), "full", "default")
        judged.wait("the pool is empty", lambda: not judged.instances())
        scene.clears("KarpenterPoolNearLimit", seconds=PATIENCE_S)


def service(name, **annotations):
    """A Service of type LoadBalancer within the network; what is made for it has our mark.

    The cloud controller manager makes a network load balancer again that it has just deleted, if nodes go at the same moment. Only its mark
    tells that nobody will take it away.
    """
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    marks = {"additional-resource-tags": f"llm.on_eks/cluster={NAME},llm.on_eks/component=front"}
    given = {f"{prefix}{key}": value for key, value in {"internal": "true", **marks, **annotations}.items()}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "front", "annotations": given},
        "spec": {"type": "LoadBalancer", "selector": {"app": "front"}, "ports": [{"name": "http", "port": 80}]},
    }


def front(*services, **more):
    """A component with these Services."""
    return {"name": "front", "namespace": {"name": "front"}, "manifests": list(services), **more}


def address(judged, name, namespace="front"):
    found = judged.client.get(judged.client.resource("v1", "Service"), name, namespace) or {}
    balancer = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}]
    return balancer[0].get("hostname")


def test_a_service_gets_its_load_balancer_and_its_end_takes_it_away(judged):
    new, old = judged.account.client("elbv2"), judged.account.client("elb")
    with deployed(judged, "served", **GENERAL) as nodes:
        [instance] = map(judged.instance_of, nodes)
        judged.converge([*judged.components(), front(service("new", type="nlb"), service("old"))])
        names = {
            name: judged.wait(f"{name} has an address", lambda n=name: address(judged, n)) for name in ("new", "old")
        }
        [balancer] = new.describe_load_balancers()["LoadBalancers"]
        assert (balancer["DNSName"], balancer["Type"], balancer["Scheme"]) == (names["new"], "network", "internal")
        [group] = new.describe_target_groups()["TargetGroups"]
        targets = new.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
        assert [one["Target"]["Id"] for one in targets] == [instance]
        [classic] = old.describe_load_balancers()["LoadBalancerDescriptions"]
        assert (classic["DNSName"], [one["InstanceId"] for one in classic["Instances"]]) == (names["old"], [instance])
        judged.converge([*judged.components(), front(state="absent")])
    judged.wait("no load balancer is left", lambda: not balancers(judged))


@contextmanager
def load_balancer_controller(judged, folder):
    """AWS's load balancer controller with the permissions of our role, and the settings that our role gives its chart."""
    for definition in judges.definitions(folder):
        judged.client.apply(judged.client.resource(definition["apiVersion"], definition["kind"]), definition)
    certificates = CONFIG.state / "load-balancer-certificates"
    judges.certificate(certificates)
    vpc = judged.account.client("eks").describe_cluster(name=NAME)["cluster"]["resourcesVpcConfig"]["vpcId"]
    arguments = [
        *(f"--kubeconfig={CONFIG.kubeconfig}", f"--cluster-name={NAME}", f"--aws-region={REGION}"),
        *(f"--aws-vpc-id={vpc}", "--default-target-type=ip", "--enable-leader-election=false"),
        f"--default-tags=llm.on_eks/cluster={NAME},llm.on_eks/component=load_balancer_controller",
        *("--feature-gates=NLBGatewayAPI=false,ALBGatewayAPI=false", "--metrics-bind-addr=127.0.0.1:18080"),
        *("--health-probe-bind-addr=127.0.0.1:18081", f"--webhook-cert-dir={certificates}"),
    ]
    keys = judged.keys()
    environment = judges.credentials(judged.account, NAME, "aws-load-balancer-controller", keys)
    with judges.running(CONFIG, folder / "program", arguments, environment):
        yield


def front_door():
    """Kong's Service, with the annotations of our role."""
    releases = [one for component in KONG["descriptor"] for one in component.get("releases", [])]
    [proxy] = [one["values"]["gateway"]["proxy"] for one in releases if "gateway" in one["values"]]
    made = service("kong")
    made["metadata"]["annotations"] = proxy["annotations"]
    made["spec"] |= {"loadBalancerClass": proxy["loadBalancerClass"], "selector": {"app": "door"}}
    made["spec"]["ports"] = [{"name": "http", "port": 80}, {"name": "https", "port": 443, "targetPort": 8443}]
    return made


def test_the_front_door_gets_a_load_balancer_that_sends_straight_to_its_pods(judged):
    folder = judges.folder_of("aws-load-balancer-controller")
    elb, ec2 = judged.account.client("elbv2"), judged.ec2
    with deployed(judged, "door", **GENERAL), load_balancer_controller(judged, folder):
        [pod] = judged.pods("door")
        door = front_door()
        pod_service = {**door, "metadata": {**door["metadata"], "namespace": "default"}}
        kind = judged.client.resource("v1", "Service")
        judged.client.apply(kind, pod_service)
        judged.wait("the front door has an address", lambda: address(judged, "kong", "default"))
        [balancer] = elb.describe_load_balancers()["LoadBalancers"]
        assert (balancer["Type"], balancer["Scheme"]) == ("network", "internal")
        groups = elb.describe_target_groups()["TargetGroups"]
        assert {(one["Port"], one["TargetType"]) for one in groups} == {(80, "ip"), (8443, "ip")}

        def targets():
            found = [elb.describe_target_health(TargetGroupArn=one["TargetGroupArn"]) for one in groups]
            return [row["Target"]["Id"] for each in found for row in each["TargetHealthDescriptions"]]

        judged.wait("its pod is a target", lambda: targets() == [pod["status"]["podIP"]] * 2)
        ours = [
            {"Name": "tag:llm.on_eks/cluster", "Values": [NAME]},
            {"Name": "tag:elbv2.k8s.aws/cluster", "Values": [NAME]},
        ]
        assert ec2.describe_security_groups(Filters=ours)["SecurityGroups"], "its groups carry our mark"
        judged.client.delete(kind, "kong", "default")
        judged.wait("no load balancer is left", lambda: not balancers(judged))


def balancers(judged):
    new, old = judged.account.client("elbv2"), judged.account.client("elb")
    found = [*new.describe_load_balancers()["LoadBalancers"], *new.describe_target_groups()["TargetGroups"]]
    return found + old.describe_load_balancers()["LoadBalancerDescriptions"]


def test_removal_leaves_nothing_that_the_controllers_made(judged):
    judged.deploy("last", 1, **GENERAL)
    judged.wait("last runs", lambda: judged.nodes_of("last"))
    judged.converge([*judged.components(), front(service("new", type="nlb"), service("old"))])
    judged.wait("load balancers", lambda: len(balancers(judged)) == 3)
    judged.converge([*judged.components(state="absent"), front(state="absent")])
    assert not balancers(judged)
    left = sorted(map(str, inventory(judged.account)))
    assert not left, left
    assert not judged.instances("pending", "running", "shutting-down")
