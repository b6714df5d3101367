# SPDX-License-Identifier: Apache-2.0
"""AWS's own Karpenter beside the emulated account.

It is AWS's program, unchanged; only the account is emulated. It waits until the account has what it needs: the cluster, and the role
of its service account, with whose permissions alone it works. It runs in the cluster's network, where nothing else has its ports.

python -m local.kubernetes.controllers karpenter --cluster NAME --kubeconfig FILE --program FILE: waits, then becomes the program.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from tools import obtain

from . import emulator, network
from .config import AWS_PORT_INSIDE, ClusterConfig

KARPENTER = "karpenter"
TOOLS = (KARPENTER,)
_WAIT_S = 2.0


def commands(config: ClusterConfig, tools: dict[str, Path]) -> dict[str, list[str]]:
    """Name -> command of the controllers, and of the kubelets of the instances that Karpenter starts."""
    return {
        **{name: [*_surroundings(config), *_launcher(config, name, tools[name])] for name in TOOLS},
        "instances": [
            *_surroundings(config),
            sys.executable,
            "-m",
            "local.kubernetes.instances",
            f"--name={config.name}",
            f"--state-root={config.state_root}",
        ],
    }


def _surroundings(config: ClusterConfig) -> list[str]:
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
    own = [f"--cluster={config.name}", f"--kubeconfig={config.kubeconfig}", f"--program={program}"]
    return [sys.executable, "-m", "local.kubernetes.controllers", name, *own]


def definitions(cache: Path) -> list[dict[str, Any]]:
    """Karpenter's custom resource definitions, which its charts bring elsewhere."""
    files = obtain.files_of(KARPENTER, cache)
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]


def karpenter(cluster: str, kubeconfig: str) -> dict[str, str]:
    """Its environment, as its chart gives it by the values that role `karpenter` sets."""
    return {
        **_pod_identity(cluster, "kube-system", "karpenter"),
        "KUBECONFIG": kubeconfig,
        "CLUSTER_NAME": cluster,
        "INTERRUPTION_QUEUE": cluster,
        "DISABLE_LEADER_ELECTION": "true",
        "SYSTEM_NAMESPACE": "kube-system",
        "KARPENTER_SERVICE": "karpenter",
    }


def _pod_identity(cluster: str, namespace: str, service_account: str) -> dict[str, str]:
    """The credentials that EKS's Pod Identity agent would give, as soon as there is an association."""
    eks = boto3.client("eks")
    given = {"clusterName": cluster, "namespace": namespace, "serviceAccount": service_account}
    while True:
        try:
            for row in eks.list_pod_identity_associations(**given)["associations"]:
                found = eks.describe_pod_identity_association(clusterName=cluster, associationId=row["associationId"])
                role = found["association"]["roleArn"]
                keys = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName=service_account)["Credentials"]
                names = {
                    "AccessKeyId": "ACCESS_KEY_ID",
                    "SecretAccessKey": "SECRET_ACCESS_KEY",
                    "SessionToken": "SESSION_TOKEN",
                }
                return {f"AWS_{name}": keys[member] for member, name in names.items()}
        except (BotoCoreError, ClientError):
            pass
        time.sleep(_WAIT_S)


def _wait_for_cluster(name: str) -> None:
    """Until the account has the cluster, and it is active."""
    client = boto3.client("eks")
    while True:
        try:
            if client.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE":
                return
        except (BotoCoreError, ClientError):
            pass
        time.sleep(_WAIT_S)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.kubernetes.controllers", description=__doc__)
    parser.add_argument("controller", choices=TOOLS)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--program", required=True)
    given = parser.parse_args()
    _wait_for_cluster(given.cluster)
    environment = {**os.environ, **karpenter(given.cluster, str(given.kubeconfig))}
    os.execve(given.program, [given.program], environment)  # noqa: S606 - by full path


if __name__ == "__main__":
    main()
