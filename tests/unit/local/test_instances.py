# SPDX-License-Identifier: Apache-2.0
"""Nodes of emulated instances are what user data and instance type say; AWS's controllers find the emulator, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.kubernetes import controllers
from local.kubernetes.config import AwsConfig, ClusterConfig
from local.kubernetes.instances import capacity_of, node_config, node_of
from local.kubernetes.programs import programs
from tools import obtain

# As Karpenter writes it for Amazon Linux 2023.
USER_DATA = """MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster: {name: demo, apiServerEndpoint: "https://198.18.0.2:6443"}
  kubelet:
    config:
      maxPods: 58
      registerWithTaints:
      - {effect: NoExecute, key: karpenter.sh/unregistered}
    flags:
    - --node-labels="karpenter.sh/capacity-type=spot,karpenter.sh/nodepool=general"
--//--
"""
INSTANCE = {
    "InstanceId": "i-1",
    "InstanceType": "g6.xlarge",
    "Architecture": "x86_64",
    "PrivateDnsName": "ip-10-0-0-9.us-west-2.compute.internal",
}


def test_a_node_registers_with_the_labels_and_taints_of_its_user_data():
    node = node_of(INSTANCE, node_config(USER_DATA), "us-west-2a")
    labels = node["metadata"]["labels"]
    assert (labels["karpenter.sh/nodepool"], labels["karpenter.sh/capacity-type"]) == ("general", "spot")
    assert labels["kubernetes.io/arch"] == "amd64"
    assert node["spec"]["providerID"] == "aws:///us-west-2a/i-1"
    assert labels["topology.kubernetes.io/zone"] == "us-west-2a"
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["karpenter.sh/unregistered"]


def test_a_node_has_what_its_instance_type_has_and_its_device_plugin_counts():
    row = {"VCpuInfo": {"DefaultVCpus": 4}, "MemoryInfo": {"SizeInMiB": 16384}}
    row["GpuInfo"] = {"Gpus": [{"Manufacturer": "NVIDIA", "Count": 1}]}
    capacity, left = capacity_of(row, node_config(USER_DATA))
    assert (capacity["cpu"], capacity["pods"], capacity["nvidia.com/gpu"]) == ("4", "58", "1")
    assert left["cpu"] == "3920m"


def test_user_data_without_nodeadms_part_configures_nothing():
    assert node_config("#!/bin/sh\n") == {}


@pytest.fixture
def config(tmp_path):
    aws = AwsConfig(controllers=True)
    return ClusterConfig(name="demo", node=False, aws=aws, state_root=tmp_path)


def test_controllers_run_only_where_they_are_asked_for_and_find_the_emulator_alone(config):
    tools = {name: Path("/bin") / name for name in controllers.TOOLS}
    lines = controllers.commands(config, tools)
    assert list(lines) == [*controllers.TOOLS, "instances"]
    for words in lines.values():
        assert "AWS_ENDPOINT_URL=http://127.0.0.1:4566" in words
        assert "AWS_EC2_METADATA_DISABLED=true" in words
    without = ClusterConfig(name="demo", node=False, token_webhook=None)
    every = dict.fromkeys(("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"), Path("/bin/x"))
    for identity in ("controller-manager", "scheduler"):
        for suffix in ("crt", "key"):
            file = config.state / "pki" / f"{identity}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
    (config.state / "pki" / "ca.crt").write_bytes(b"x")
    names = [one.name for one in programs(ClusterConfig(name="demo", node=False, state_root=config.state_root), every)]
    assert not set(controllers.TOOLS) & set(names)
    assert without.aws is None


def test_what_is_published_as_a_module_only_is_obtained_only_where_it_is_named():
    known = obtain.load_tools()
    for name in controllers.TOOLS:
        assert known[name].by_name
        assert not known[name].binary and not known[name].archive
    assert known["karpenter"].files


def test_files_beside_a_program_are_found_with_it(tmp_path):
    folder = obtain.cached_path(obtain.load_tools()["karpenter"], tmp_path).parent
    folder.mkdir(parents=True)
    (folder / "pools.yaml").write_text("kind: CustomResourceDefinition\n---\nkind: Second\n")
    assert [one["kind"] for one in controllers.definitions(tmp_path)] == ["CustomResourceDefinition", "Second"]
    assert obtain.files_of("helm", tmp_path) == []
