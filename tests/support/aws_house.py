# SPDX-License-Identifier: Apache-2.0
"""An emulated account whose cluster NAME is a real API server, and runs on it in this process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from ansible_collections.llm.on_eks.plugins.module_utils.aws.connection import Connection
from ansible_collections.llm.on_eks.plugins.plugin_utils import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.aws_access import AwsAccess
from local.aws.token_review import webhook_kubeconfig
from local.kubernetes.cluster import Cluster
from local.kubernetes.config import ClusterConfig
from tests.support.aws_inventory import inventory
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws

LOCKS = "records"
_SESSION = boto3.session.Session(region_name=REGION, **KEYS)


class House:
    """`aws`: the account, with a bucket for locks that belongs to nobody's cluster."""

    def __init__(self, name: str, aws: EmulatedAws, endpoint: dict[str, str]) -> None:
        self.name, self.aws, self._endpoint = name, aws, endpoint
        self._furnish()

    def _furnish(self) -> None:
        self.aws.admin("PUT", f"endpoints/{self.name}", self._endpoint)
        self.aws.client("s3").create_bucket(Bucket=LOCKS, CreateBucketConfiguration={"LocationConstraint": REGION})

    def renew(self) -> None:
        """A new account in the place of the old one."""
        self.aws.kill()
        self.aws.start()
        self._furnish()

    def is_empty(self) -> bool:
        return set(inventory(self.aws)) == {("bucket", LOCKS)}

    def access(self) -> AwsAccess:
        """A run's way in, of its own."""
        connection = Connection(
            lambda service: _SESSION.client(service, endpoint_url=self.aws.url), REGION, retry_delay_s=0.05
        )
        return AwsAccess(connection, self.name, LOCKS)

    def try_converge(self, components: list[dict[str, Any]], **options: Any) -> engine.Result:
        """The result, errors and all."""
        return engine.converge(components, None, aws=self.access(), lock_timeout_s=20, **options)

    def converge(self, components: list[dict[str, Any]], **options: Any) -> engine.Result:
        done = self.try_converge(components, **options)
        assert not done.errors, done.errors
        return done


@contextlib.contextmanager
def opened(name: str, folder: Path, *arguments: str) -> Iterator[House]:
    """`arguments` as of `python -m local.aws serve`; all of it ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    webhook = folder / "webhook.yaml"
    config = ClusterConfig(name=name, node=False, token_webhook=webhook)
    webhook.write_text(webhook_kubeconfig(f"http://{config.host_address}:{port}", REGION, name))
    control_plane = Cluster(config)
    control_plane.down()
    control_plane.up()
    aws = EmulatedAws("--listen", f"{config.host_address}:{port}", *arguments).start()
    try:
        authority = (config.state / "pki" / "ca.crt").read_text()
        yield House(name, aws, {"endpoint": config.api_url, "ca": authority})
    finally:
        aws.kill()
        control_plane.down()


def absent(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "state": "absent"} for one in components]


def did(result: engine.Result) -> list[tuple[str, str, str]]:
    """(component, verb, subject) of everything that was or would be done."""
    return sorted(
        (name, action.verb, action.subject) for name, one in result.components.items() for action in one.actions
    )
