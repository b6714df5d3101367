# SPDX-License-Identifier: Apache-2.0
"""AWS's part of descriptors by itself: each resource through its class, in the order of its references. No cluster is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import AwsResource, Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.references import references, resolve
from tests.support.emulated_aws import KEYS, EmulatedAws

Key = tuple[str, str]


def deployer(aws: EmulatedAws, region: str) -> Connection:
    """A connection as a deployer has it: held to the published permissions."""
    config = Config(retries={"total_max_attempts": 1}, user_agent_extra="llm.on_eks")
    session = boto3.session.Session(region_name=region, **KEYS)
    return Impatient(
        lambda service: session.client(service, endpoint_url=aws.url, config=config), region, retry_delay_s=0.005
    )


class Impatient(Connection):
    """Looks again sooner than a real run: here things take a moment and no minutes."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.05))


@dataclass
class Walk:
    """`entries`: (component, name) → the entry, in an order in which they can be made; `outputs` as they become known."""

    connection: Connection
    cluster: str
    entries: dict[Key, Mapping[str, Any]]
    outputs: dict[Key, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, connection: Connection, cluster: str, components: Sequence[Mapping[str, Any]]) -> Walk:
        found = {(one["name"], entry["name"]): entry for one in components for entry in one.get("aws") or []}
        made_by = {
            (component, f"{name}_{output}"): (component, name)
            for (component, name), entry in found.items()
            for output in RESOURCES[entry["type"]].produces
        }
        before = {
            key: {made_by[one] for one in references(entry.get("properties") or {})} | set(_after(key, entry, found))
            for key, entry in found.items()
        }
        ordered: dict[Key, Mapping[str, Any]] = {}
        while len(ordered) < len(found):
            ready = [key for key in found if key not in ordered and before[key] <= set(ordered)]
            assert ready, f"in a circle: {set(found) - set(ordered)}"
            ordered |= {key: found[key] for key in ready}
        return cls(connection, cluster, ordered)

    def make(self, key: Key) -> AwsResource:
        entry = self.entries[key]
        owner = None if entry.get("adopt") else Owner(self.cluster, key[0])
        properties = resolve(entry.get("properties") or {}, self.outputs)
        return RESOURCES[entry["type"]](self.connection, properties, owner, bool(entry.get("adopt")))

    def apply(self) -> list[str]:
        """Make all of it; verb and subject of what was done. Raises AwsError where a run would end with one."""
        done = []
        for key in self.entries:
            resource = self.make(key)
            plan = resource.apply()
            resource.wait()
            self.outputs |= {(key[0], f"{key[1]}_{name}"): value for name, value in resource.outputs().items()}
            done += [f"{plan.verb} {plan.subject}"] if plan.changes_anything else []
        return done

    def remove(self, most: int = 10_000) -> Iterator[str]:
        """Remove all of it, or only so many: an interrupted run. What was never made is passed over."""
        for key in list(reversed(self.entries))[:most]:
            try:
                resource = self.make(key)
            except KeyError:
                continue
            if resource.delete().verb == "delete":
                yield resource.subject

    def prune(self, before: Walk) -> None:
        """Remove what an earlier description had and this one has not, as the engine does at the end of a run."""
        for key in reversed(before.entries):
            if key not in self.entries:
                before.make(key).delete()

    def look(self) -> None:
        """The outputs of what is there, as a run that removes finds them."""
        for key in self.entries:
            try:
                resource = self.make(key)
                found = resource.outputs()
            except (KeyError, AwsError):
                continue
            self.outputs |= {(key[0], f"{key[1]}_{name}"): value for name, value in found.items()}


def _after(key: Key, entry: Mapping[str, Any], found: Mapping[Key, Any]) -> Iterator[Key]:
    for text in entry.get("after") or []:
        component, __, name = text.rpartition(".")
        if (component or key[0], name) in found:
            yield component or key[0], name
