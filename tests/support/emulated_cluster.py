# SPDX-License-Identifier: Apache-2.0
"""An emulated AWS account whose cluster of one name is a real API server, and the engine at work on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import AwsAccess
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from local.aws.webhook import webhook_kubeconfig
from local.kubernetes.cluster import Cluster
from local.kubernetes.config import ClusterConfig
from tests.support.cluster_client import new_client
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws

_SESSION = boto3.session.Session(region_name=REGION, **KEYS)


class EmulatedEks:
    """A running API server that has tokens reviewed at `listen`, where one account after the other may stand."""

    def __init__(self, cluster: Cluster, listen: str) -> None:
        self.cluster, self.listen = cluster, listen

    @contextmanager
    def account(self, *arguments: str) -> Iterator[EmulatedAws]:
        """A new account whose cluster of this name is the API server. `arguments` as of `python -m local.aws serve`."""
        config = self.cluster.config
        self._forget()
        aws = EmulatedAws("--listen", self.listen, *arguments).start()
        try:
            aws.real_cluster = {"endpoint": config.api_url, "ca": (config.state / "pki" / "ca.crt").read_text()}
            aws.admin("PUT", f"endpoints/{config.name}", aws.real_cluster)
            yield aws
        finally:
            aws.kill()

    def _forget(self) -> None:
        """What runs of the account before recorded: a new account's cluster is empty."""
        client = new_client(self.cluster.kubeconfig)
        config_maps = client.resource("v1", "ConfigMap")
        for one in client.list(config_maps, "llm-system"):
            client.delete(config_maps, one["metadata"]["name"], "llm-system", policy="Background")


@contextmanager
def emulated_eks(name: str, folder: Path) -> Iterator[EmulatedEks]:
    """The control plane alone: etcd, API server, controller manager and scheduler. `folder`: for the webhook's file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    webhook = folder / "webhook.yaml"
    config = ClusterConfig(name=name, node=False, token_webhook=webhook)
    # The API server lives in a network namespace: it reaches the account by our end of its cable.
    listen = f"{config.host_address}:{port}"
    webhook.write_text(webhook_kubeconfig(f"http://{listen}", REGION, name))
    control_plane = Cluster(config)
    control_plane.down()
    control_plane.up()
    try:
        yield EmulatedEks(control_plane, listen)
    finally:
        control_plane.down()


@contextmanager
def emulated_cluster(name: str, folder: Path, *arguments: str) -> Iterator[EmulatedAws]:
    """An account whose cluster of this name is an API server of its own."""
    with emulated_eks(name, folder) as eks, eks.account(*arguments) as aws:
        yield aws


def access(aws: EmulatedAws, name: str, bucket: str = "") -> AwsAccess:
    """A run's way into the account; retries come quickly."""
    connection = Connection(lambda service: _SESSION.client(service, endpoint_url=aws.url), REGION, retry_delay_s=0.05)
    return AwsAccess(connection, name, bucket)


def converge(aws: EmulatedAws, name: str, components, **options):
    """A run that must end well."""
    done = engine.converge(engine.Request(lose_data=("all",), descriptors=components, aws=access(aws, name), **options))
    assert not done.errors, done.errors
    return done


def did(result) -> list[tuple[str, str, str]]:
    """(component, verb, subject) of all that was or would be done."""
    return sorted(
        (name, action.verb, action.subject) for name, one in result.components.items() for action in one.actions
    )


def gone(components):
    """The same components, to be removed."""
    return [{**one, "state": "absent"} for one in components]


def without_retain(components):
    """The same, with nothing that stays."""
    return [{**one, "aws": [{**entry, "retain": False} for entry in one.get("aws", [])]} for one in components]
