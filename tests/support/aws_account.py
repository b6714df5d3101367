# SPDX-License-Identifier: Apache-2.0
"""An emulated account whose cluster NAME is a real API server, and runs on it in this process."""

from __future__ import annotations

from typing import Any

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import AwsAccess
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support import emulated_cluster as emulated
from tests.support.aws_inventory import inventory
from tests.support.emulated_aws import REGION, EmulatedAws

LOCKS = "records"


class Account:
    """`aws`: the account, with a bucket for locks that belongs to nobody's cluster."""

    def __init__(self, name: str, aws: EmulatedAws) -> None:
        self.name, self.aws = name, aws
        self._furnish()

    def _furnish(self) -> None:
        self.aws.admin("PUT", f"endpoints/{self.name}", self.aws.real_cluster)
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
        return emulated.access(self.aws, self.name, LOCKS)

    def try_converge(self, components: list[dict[str, Any]], **options: Any) -> engine.Result:
        """The result, errors and all."""
        return engine.converge(
            engine.Request(lose_data=("all",), descriptors=components, aws=self.access(), lock_timeout_s=20, **options)
        )

    def converge(self, components: list[dict[str, Any]], **options: Any) -> engine.Result:
        done = self.try_converge(components, **options)
        assert not done.errors, done.errors
        return done
