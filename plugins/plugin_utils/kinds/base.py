# SPDX-License-Identifier: Apache-2.0
"""What every kind of node shares: the context of a run, what a node reports, and the contract it keeps."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ...module_utils.errors import LlmOnEksError
from ..compare import Change, to_yaml
from ..helm.options import ChartOptions
from ..kubernetes.client import Client, Resource

Document = dict[str, Any]
Verb = Literal["create", "update", "delete", "run", "adopt"]


class NodeError(LlmOnEksError):
    """A node of the graph could not reach its state."""


@dataclass(frozen=True)
class Action:
    """One thing done, or that would be done. `subject` is kind and name as people write them."""

    verb: Verb
    subject: str
    changes: Sequence[Change] = ()
    before: Document | None = None
    after: Document | None = None

    def diff(self) -> dict[str, str]:
        """In Ansible's form; secrets are digests already."""
        return {
            "before_header": self.subject,
            "after_header": self.subject,
            "before": to_yaml(self.before),
            "after": to_yaml(self.after),
        }


@dataclass(frozen=True)
class Outcome:
    """What a node did or would do, and what someone should know about it."""

    actions: Sequence[Action] = ()
    notes: Sequence[str] = ()


@dataclass
class Context:
    """One run. `check`: plan only. `client` is None when the cluster is to be taken for empty; `charts`: where charts come from."""

    client: Client | None
    check: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    charts: ChartOptions = field(default_factory=ChartOptions)
    _planned: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def api(self) -> Client:
        if self.client is None:
            raise NodeError("converge: an empty cluster is assumed, there is nothing to read from")
        return self.client

    def will_exist(self, *keys: str) -> None:
        """Note that namespaces, kinds or objects come into being in this run."""
        with self._lock:
            self._planned.update(keys)

    def is_planned(self, key: str) -> bool:
        with self._lock:
            return key in self._planned

    def planned_kinds(self) -> list[str]:
        """apiVersion/kind of what definitions of this run bring."""
        with self._lock:
            return sorted(key.removeprefix("kind ") for key in self._planned if key.startswith("kind "))

    def resource(self, document: Document) -> Resource | None:
        """How the API serves this document's kind; None when a definition made in this run will serve it."""
        api_version, kind = document["apiVersion"], document["kind"]
        if self.client is None:
            return None
        found = self.client.resource(api_version, kind)
        if found is None and not self.check:
            self.client.forget_resources()
            found = self.client.resource(api_version, kind)
        if found is None and not (self.check and self.is_planned(f"kind {api_version}/{kind}")):
            raise NodeError(
                f"{subject(document)}: the cluster serves no {kind} in {api_version}; "
                "install what defines it, or name it in `requires`"
            )
        return found


class Node(Protocol):
    """A unit of work. `slow` nodes only wait: they do not count against the concurrency."""

    @property
    def name(self) -> str: ...

    @property
    def slow(self) -> bool: ...

    def run(self, context: Context) -> Outcome:
        """Bring the state about (plan it only, when `context.check`). Raises LlmOnEksError."""
        ...


def subject(document: Document) -> str:
    """`Deployment kong/kong-gateway`, `Namespace kong`."""
    metadata = document.get("metadata", {})
    namespace = metadata.get("namespace", "")
    return f"{document['kind']} {namespace + '/' if namespace else ''}{metadata['name']}"
