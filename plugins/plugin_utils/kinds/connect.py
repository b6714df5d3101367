# SPDX-License-Identifier: Apache-2.0
"""The two ends of a cluster's life in a run: its API is there and lets us in; all of Kubernetes is gone, and AWS may go."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..describe.descriptor import Kubernetes
from ..describe.references import is_unknown
from ..kubernetes.aws_access import admitted
from ..kubernetes.client import Client
from ..kubernetes.errors import ConnectionError
from .base import Context, NodeError, Outcome

# A new access entry takes a moment to be known to the API.
_ADMITTED_AFTER_S = 120


@dataclass
class ConnectNode:
    """Signs in to the cluster of this run, unless the run began with it; every Kubernetes node comes after it."""

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
            return Outcome()  # a plan on an account without the cluster: there is nothing in it yet
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
        """Why it cannot be talked to yet; empty where it can. Raises ConnectionError at the `last` look."""
        try:
            return "" if admitted(client) else "our access entry is not known there yet"
        except ConnectionError:
            # The name of a new endpoint takes a while to be known, and so does the way to it.
            if last:
                raise
            return "its endpoint cannot be reached yet"


@dataclass
class FarewellNode:
    """Everything in Kubernetes is gone. `last`: the cluster itself goes now, and with it the run's Lease."""

    last: bool
    name: str = "end of the Kubernetes part"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        if self.last and not context.run.check and context.run.client is not None:
            context.run.leave()
            context.run.client = None
        return Outcome()
