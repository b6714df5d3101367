# SPDX-License-Identifier: Apache-2.0
"""The first and the last node of a cluster in a run: its API is there and lets us in; all of Kubernetes is gone, and AWS may follow."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..describe.descriptor import Kubernetes
from ..describe.references import is_unknown
from ..kubernetes.aws_access import admitted
from ..kubernetes.client import Client
from ..kubernetes.errors import ConnectionError
from .base import Context, NodeError, Outcome

# The API accepts a new access entry only after a moment.
_ADMITTED_AFTER_S = 120


@dataclass
class ConnectNode:
    """Signs in to the cluster of this run, unless the run already had one. Every Kubernetes node comes after it."""

    component: str
    kubernetes: Kubernetes
    name: str = "Kubernetes API"
    slow: bool = True

    def run(self, context: Context) -> Outcome:
        if context.run.client is not None:
            return Outcome()
        place = self.kubernetes
        endpoint, authority = context.outputs.resolve([place.endpoint, place.certificate_authority])
        if is_unknown([endpoint, authority]):
            return Outcome()  # The plan of an account without the cluster: nothing is in it yet.
        client = context.run.cloud().client_at(endpoint, authority)
        end = time.monotonic() + _ADMITTED_AFTER_S
        while reason := self._kept_out(client, last=time.monotonic() > end):
            if context.run.check:
                return Outcome(notes=["the Kubernetes API does not let us in yet; it is planned for as an empty one"])
            if time.monotonic() > end:
                raise NodeError(
                    f"the API of EKS cluster {context.run.cloud().cluster} does not let {context.run.cloud().connection.identity.arn} in; "
                    "give it an access entry (cluster_admins)"
                )
            context.waits.note(self.name, reason)
            if context.run.stop.wait(1.0):
                raise NodeError(f"{self.name}: waiting was interrupted")
        context.waits.note(self.name, "")
        context.run.client = client
        context.run.enter(client)
        return Outcome()

    @staticmethod
    def _kept_out(client: Client, *, last: bool) -> str:
        """Why the API cannot be used yet; empty where it can. Raises ConnectionError at the `last` attempt."""
        try:
            return "" if admitted(client) else "our access entry is not known there yet"
        except ConnectionError:
            # The name of a new endpoint takes a while to resolve, and so does its route.
            if last:
                raise
            return "its endpoint cannot be reached yet"


@dataclass
class FarewellNode:
    """Ends the Kubernetes part of a removal. `last`: the cluster itself is deleted next, and the run's Lease with it."""

    last: bool
    name: str = "end of the Kubernetes part"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        if self.last and not context.run.check and context.run.client is not None:
            context.run.leave()
            context.run.client = None
        return Outcome()
