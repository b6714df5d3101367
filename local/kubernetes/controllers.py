# SPDX-License-Identifier: Apache-2.0
"""AWS's own controllers beside the emulated account: Karpenter and the cloud controller manager.

They are AWS's programs, unchanged; only the account is emulated. Each waits until the account has what it needs: the cluster, and the
role with whose permissions alone it works. It runs in the cluster's network, where nothing else has its ports.

python -m local.kubernetes.controllers CONTROLLER --name NAME --program FILE: runs the program for as long as the account has this cluster.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from local.aws.pod_token import token_of
from tools import obtain

from . import emulator, network
from .config import AWS_PORT_INSIDE, STATE_ROOT, ClusterConfig

KARPENTER, CLOUD = "karpenter", "aws-cloud-controller-manager"
TOOLS = (KARPENTER, CLOUD)
_WAIT_S, _LOOK_S = 2.0, 5.0


def commands(config: ClusterConfig, tools: dict[str, Path]) -> dict[str, list[str]]:
    """Name -> command of the controllers, and of the kubelets of the instances that Karpenter starts."""
    return {
        **{name: [*surroundings(config), *_launcher(config, name, tools[name])] for name in TOOLS},
        "instances": [
            *surroundings(config),
            sys.executable,
            "-m",
            "local.kubernetes.instances",
            f"--name={config.name}",
            f"--state-root={config.state_root}",
        ],
    }


def surroundings(config: ClusterConfig) -> list[str]:
    """The cluster's network, and an environment in which clients of AWS find the emulator, and never AWS."""
    assert config.aws is not None
    file = emulator.credentials_file(config)
    variables = {
        "AWS_CONFIG_FILE": file,
        "AWS_SHARED_CREDENTIALS_FILE": file,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{AWS_PORT_INSIDE}",
        "AWS_REGION": config.aws.region,
        "AWS_DEFAULT_REGION": config.aws.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return [*network.enter_network(config), "env", *(f"{name}={value}" for name, value in variables.items())]


def _launcher(config: ClusterConfig, name: str, program: Path) -> list[str]:
    own = [f"--name={config.name}", f"--state-root={config.state_root}", f"--program={program}"]
    return [sys.executable, "-m", "local.kubernetes.controllers", name, *own]


def definitions(cache: Path) -> list[dict[str, Any]]:
    """Karpenter's custom resource definitions, which its charts bring elsewhere."""
    files = obtain.files_of(KARPENTER, cache)
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]


def karpenter(config: ClusterConfig) -> dict[str, str]:
    """Its environment, as its chart gives it by the values that role `karpenter` sets."""
    return {
        **_pod_identity(config.name, "kube-system", "karpenter"),
        "KUBECONFIG": str(config.kubeconfig),
        "CLUSTER_NAME": config.name,
        "INTERRUPTION_QUEUE": config.name,
        "DISABLE_LEADER_ELECTION": "true",
        "SYSTEM_NAMESPACE": "kube-system",
        "KARPENTER_SERVICE": "karpenter",
    }


def cloud_arguments(config: ClusterConfig, cluster: dict[str, Any]) -> list[str]:
    """The cloud controller manager's part for Services, as EKS runs it; nodes here have no cloud to be asked about."""
    file = config.state / "cloud.conf"
    file.write_text(cloud_configuration(cluster))
    return [
        "--cloud-provider=aws",
        f"--cloud-config={file}",
        f"--kubeconfig={config.kubeconfig}",
        f"--cluster-name={config.name}",
        "--controllers=service-lb-controller",
        "--configure-cloud-routes=false",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--cert-dir={config.state / 'cloud-certificates'}",
    ]


def cloud_configuration(cluster: dict[str, Any]) -> str:
    """Where it works, which an instance's metadata would tell it. `cluster`: as of DescribeCluster."""
    region = cluster["arn"].split(":")[3]
    network = cluster["resourcesVpcConfig"]
    lines = {
        "Zone": f"{region}a",
        "Region": region,
        "VPC": network["vpcId"],
        "SubnetID": network["subnetIds"][0],
        "KubernetesClusterID": cluster["name"],
    }
    return "[Global]\n" + "".join(f"{name}={value}\n" for name, value in lines.items())


def _pod_identity(cluster: str, namespace: str, service_account: str) -> dict[str, str]:
    """The credentials that EKS's Pod Identity agent would give, as soon as there is an association and the role admits the pod."""
    while True:
        try:
            return pod_credentials(boto3.client("eks-auth"), cluster, namespace, service_account)
        except (BotoCoreError, ClientError):
            time.sleep(_WAIT_S)


def pod_credentials(client: Any, cluster: str, namespace: str, service_account: str) -> dict[str, str]:
    """The environment of a pod with this service account, as EKS's Pod Identity gives it. Raises BotoCoreError, ClientError."""
    token = token_of(namespace, service_account)
    keys = client.assume_role_for_pod_identity(clusterName=cluster, token=token)["credentials"]
    names = {"accessKeyId": "ACCESS_KEY_ID", "secretAccessKey": "SECRET_ACCESS_KEY", "sessionToken": "SESSION_TOKEN"}
    return {f"AWS_{name}": keys[member] for member, name in names.items()}


@functools.cache
def _eks() -> Any:
    return boto3.client("eks")


def _session(role: str, name: str) -> dict[str, str]:
    """The environment of a session of a role."""
    keys = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName=name)["Credentials"]
    names = {"AccessKeyId": "ACCESS_KEY_ID", "SecretAccessKey": "SECRET_ACCESS_KEY", "SessionToken": "SESSION_TOKEN"}
    return {f"AWS_{name}": keys[member] for member, name in names.items()}


def _cluster(name: str) -> dict[str, Any] | None:
    """The account's cluster, None where there is none. Raises BotoCoreError, ClientError."""
    try:
        found: dict[str, Any] = _eks().describe_cluster(name=name)["cluster"]
        return found
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None
        raise


def _wait_for_cluster(name: str) -> dict[str, Any]:
    """The cluster, once it is active."""
    while True:
        try:
            found = _cluster(name)
            if found is not None and found["status"] == "ACTIVE":
                return found
        except (BotoCoreError, ClientError):
            pass
        time.sleep(_WAIT_S)


def _is_there(cluster: dict[str, Any]) -> bool:
    """Whether the account still has this very cluster; yes while it cannot be asked."""
    try:
        found = _cluster(cluster["name"])
    except (BotoCoreError, ClientError):
        return True
    return found is not None and found["createdAt"] == cluster["createdAt"]


def _run(command: list[str], environment: dict[str, str], cluster: dict[str, Any]) -> int:
    """Run the program until it ends, or until its cluster is gone: the next one has another network and other roles."""
    child = subprocess.Popen(command, env={**os.environ, **environment})
    signal.signal(signal.SIGTERM, lambda *__: child.terminate())
    while child.poll() is None:
        time.sleep(_LOOK_S)
        if not _is_there(cluster):
            child.terminate()
            child.wait()
    return child.returncode


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.kubernetes.controllers", description=__doc__)
    parser.add_argument("controller", choices=TOOLS)
    parser.add_argument("--name", required=True, help="the cluster's name")
    parser.add_argument("--state-root", type=Path, default=STATE_ROOT, help="folder of all clusters' state")
    parser.add_argument("--program", required=True)
    given = parser.parse_args()
    config = ClusterConfig(name=given.name, state_root=given.state_root)
    cluster = _wait_for_cluster(config.name)
    if given.controller == KARPENTER:
        raise SystemExit(_run([given.program], karpenter(config), cluster))
    # EKS runs it with the cluster's role.
    raise SystemExit(
        _run([given.program, *cloud_arguments(config, cluster)], _session(cluster["roleArn"], "cloud"), cluster)
    )


if __name__ == "__main__":
    main()
