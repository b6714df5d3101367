# SPDX-License-Identifier: Apache-2.0
"""The kubelets of emulated instances that Karpenter starts: each instance joins as a node that runs nothing.

A node has what its instance's user data and type say: labels and taints of nodeadm's configuration, name, provider id, type and
zone of the instance, as EKS's cloud controller manager writes them. Pods on it are said to run.

python -m local.kubernetes.instances --name NAME: for as long as it runs; credentials and endpoint as any client of AWS has them.
"""

from __future__ import annotations

import argparse
import base64
import email
import logging
import time
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from .api import Api
from .config import STATE_ROOT, ClusterConfig
from .errors import LocalClusterError
from .simulated_pods import now, status_of

log = logging.getLogger("instances")
_EVERY_S = 1.0
_BEAT_S = 10.0
# What the kubelet keeps for itself and the system, of memory in MiB and of CPU in thousandths; the order of magnitude is EKS's.
_KEPT_MIB, _KEPT_MILLI = 800, 80
# Startup taints that a driver's own pod takes off, once it runs on the node.
_OF_DRIVERS = "/agent-not-ready"


def node_of(instance: dict[str, Any], config: dict[str, Any], zone: str) -> dict[str, Any]:
    """The Node that the instance's kubelet registers. `config`: the spec of nodeadm's NodeConfig in its user data."""
    kubelet = config.get("kubelet") or {}
    given = [flag.removeprefix("--node-labels=") for flag in kubelet.get("flags") or [] if "--node-labels=" in flag]
    labels = dict(pair.split("=", 1) for text in given for pair in text.strip('"').split(",") if pair)
    architecture = {"x86_64": "amd64"}.get(instance["Architecture"], instance["Architecture"])
    own = {
        "kubernetes.io/hostname": instance["PrivateDnsName"],
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "node.kubernetes.io/instance-type": instance["InstanceType"],
        "topology.kubernetes.io/region": zone[:-1],
        "topology.kubernetes.io/zone": zone,
    }
    taints = (kubelet.get("config") or {}).get("registerWithTaints") or []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": instance["PrivateDnsName"], "labels": {**labels, **own}},
        "spec": {"providerID": f"aws:///{zone}/{instance['InstanceId']}", "taints": taints},
    }


def capacity_of(instance_type: dict[str, Any], config: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """(capacity, allocatable) of a node. `instance_type`: as of DescribeInstanceTypes."""
    cpus, mib = instance_type["VCpuInfo"]["DefaultVCpus"], instance_type["MemoryInfo"]["SizeInMiB"]
    pods = ((config.get("kubelet") or {}).get("config") or {}).get("maxPods") or 110
    more = {"ephemeral-storage": "80Gi", "pods": str(pods), **_devices(instance_type)}
    capacity = {"cpu": str(cpus), "memory": f"{mib * 92 // 100}Mi", **more}
    left = {"cpu": f"{cpus * 1000 - _KEPT_MILLI}m", "memory": f"{mib * 92 // 100 - _KEPT_MIB}Mi", **more}
    return capacity, left


def _devices(instance_type: dict[str, Any]) -> dict[str, str]:
    """What device plugins report; nothing else in a cluster counts it."""
    gpus = (instance_type.get("GpuInfo") or {}).get("Gpus") or []
    neurons = (instance_type.get("NeuronInfo") or {}).get("NeuronDevices") or []
    counts = {
        "nvidia.com/gpu": sum(one["Count"] for one in gpus if one["Manufacturer"] == "NVIDIA"),
        "aws.amazon.com/neuron": sum(one["Count"] for one in neurons),
        "aws.amazon.com/neuroncore": sum(one["Count"] * one["CoreInfo"]["Count"] for one in neurons),
    }
    return {name: str(count) for name, count in counts.items() if count}


def node_config(user_data: str) -> dict[str, Any]:
    """nodeadm's configuration in a MIME archive; the parts are merged as nodeadm merges them. Empty where there is none."""
    found: dict[str, Any] = {}
    for part in email.message_from_string(user_data).walk():
        if part.get_content_type() == "application/node.eks.aws":
            spec = (yaml.safe_load(str(part.get_payload())) or {}).get("spec") or {}
            for name, value in spec.items():
                found[name] = {**found.get(name, {}), **value} if isinstance(value, dict) else value
    return found


class Instances:
    """`ec2`: a client of the account; `name`: of the cluster."""

    def __init__(self, api: Api, ec2: Any, name: str) -> None:
        self._api, self._ec2, self._name = api, ec2, name
        self._beats: dict[str, float] = {}
        self._types: dict[str, dict[str, Any]] = {}

    def step(self) -> None:
        """Let instances join, beat and run their pods. Raises LocalClusterError, BotoCoreError, ClientError."""
        for instance in self._running():
            self._live(instance)

    def _running(self) -> list[dict[str, Any]]:
        filters = {
            f"tag:kubernetes.io/cluster/{self._name}": "owned",
            "tag-key": "karpenter.sh/nodepool",
            "instance-state-name": "running",
        }
        pages = self._ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": key, "Values": [value]} for key, value in filters.items()]
        )
        return [one for page in pages for each in page["Reservations"] for one in each["Instances"]]

    def _live(self, instance: dict[str, Any]) -> None:
        name = instance["PrivateDnsName"]
        path = f"/api/v1/nodes/{name}"
        if time.monotonic() - self._beats.get(name, float("-inf")) > _BEAT_S:
            if name not in self._beats:
                config = self._config(instance)
                self._api.create("/api/v1/nodes", node_of(instance, config, instance["Placement"]["AvailabilityZone"]))
                log.info("%s joined: %s %s", name, instance["InstanceType"], instance["InstanceId"])
            self._beat(instance, path)
            self._beats[name] = time.monotonic()
        node = self._api.get(path)
        if node is not None:
            self._drop_startup_taints(node, path)
            for pod in self._api.items(f"/api/v1/pods?fieldSelector=spec.nodeName={name}"):
                self._pod(pod, instance["NetworkInterfaces"][0]["NetworkInterfaceId"])

    def _config(self, instance: dict[str, Any]) -> dict[str, Any]:
        found = self._ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
        text = base64.b64decode((found.get("UserData") or {}).get("Value") or "").decode(errors="replace")
        return node_config(text)

    def _beat(self, instance: dict[str, Any], path: str) -> None:
        kind = instance["InstanceType"]
        if kind not in self._types:
            self._types[kind] = self._ec2.describe_instance_types(InstanceTypes=[kind])["InstanceTypes"][0]
        capacity, allocatable = capacity_of(self._types[kind], self._config(instance))
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now()}
        version = {"kubeletVersion": "v1.35.4", "operatingSystem": "linux", "architecture": "amd64"}
        status = {"capacity": capacity, "allocatable": allocatable, "conditions": [ready], "nodeInfo": version}
        self._api.merge(f"{path}/status", {"status": status}, strategic=True)

    def _drop_startup_taints(self, node: dict[str, Any], path: str) -> None:
        taints = node["spec"].get("taints") or []
        kept = [taint for taint in taints if not taint["key"].endswith(_OF_DRIVERS)]
        if len(kept) < len(taints):
            version = node["metadata"]["resourceVersion"]
            self._api.merge(path, {"metadata": {"resourceVersion": version}, "spec": {"taints": kept}})

    def _pod(self, pod: dict[str, Any], interface: str) -> None:
        """A pod has an address of its node's interface, as the VPC CNI gives it: load balancers send straight to it."""
        metadata, status = pod["metadata"], pod.get("status") or {}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if metadata.get("deletionTimestamp"):
            if status.get("podIP"):
                self._ec2.unassign_private_ip_addresses(
                    NetworkInterfaceId=interface, PrivateIpAddresses=[status["podIP"]]
                )
            self._api.delete(path, at_once=True)
        elif status.get("phase") == "Pending":
            self._api.merge(
                f"{path}/status", {"status": status_of(pod, pod_ip=self._address(interface))}, strategic=True
            )

    def _address(self, interface: str) -> str:
        given = self._ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1)
        return str(given["AssignedPrivateIpAddresses"][-1]["PrivateIpAddress"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.kubernetes.instances", description=__doc__)
    parser.add_argument("--name", required=True, help="the cluster's name")
    parser.add_argument("--state-root", type=Path, default=STATE_ROOT, help="folder of all clusters' state")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = ClusterConfig(name=arguments.name, state_root=arguments.state_root)
    instances = Instances(Api(config), boto3.client("ec2"), config.name)
    while True:
        try:
            instances.step()
        except (LocalClusterError, BotoCoreError, ClientError) as error:
            log.warning("%s", error)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main()
