# SPDX-License-Identifier: Apache-2.0
"""Allows one run per cluster at a time: a Lease that is taken before the first write and renewed during the run.

A dead run is recognised at once on its own machine (its process is gone), and elsewhere when its Lease expires.
https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import datetime
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...module_utils.errors import LlmOnEksError
from ...module_utils.names import LABEL_MANAGED_BY, LABEL_RECORD, LEASE, MANAGED_BY, NAMESPACE_SYSTEM
from ..kubernetes.client import ApiError, Client, Resource
from ..objects.record import who
from .holder import is_dead, this_process

Document = dict[str, Any]
DURATION_S = 30
_PROCESS = "llm.on-eks/process"
# Tells our own write from another run's when the answer was lost.
_RUN = "llm.on-eks/run"


class LockError(LlmOnEksError):
    """Another run holds the cluster."""


class Held:
    """A Lease that this run holds and renews in a thread."""

    def __init__(self, client: Client, resource: Resource, lease: Document, stop: threading.Event) -> None:
        self._client, self._resource, self._lease = client, resource, lease
        self._ended = threading.Event()
        arguments = (client, resource, lease, self._ended, stop)
        self._renewer = threading.Thread(target=_renew, args=arguments, daemon=True)
        self._renewer.start()

    def let_go(self) -> None:
        """Release the Lease, so that the next run can start."""
        self._stop_renewing()
        _release(self._client, self._resource, self._lease)

    def end(self) -> None:
        """Delete the namespace of records and Lease: nothing of ours stays in the cluster.

        The Lease is deleted only in our own version of it, so that no other run has begun to use it.
        """
        self._stop_renewing()
        live = _mine(self._client, self._resource, self._lease)
        if live is None:
            return
        try:
            self._client.replace(self._resource, {**live, "spec": {**live["spec"], "renewTime": _now()}})
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return  # another run holds it now
        _remove_namespace(self._client)

    def _stop_renewing(self) -> None:
        self._ended.set()
        self._renewer.join()


def take(
    client: Client,
    *,
    wait_s: float,
    stop: threading.Event,
    say: Callable[[str], None] = lambda text: None,
) -> Held:
    """Wait until nobody else holds the cluster's Lease, and take it. `stop` is set if it is lost later. Raises LockError."""
    _ensure_namespace(client, wait_s, say)
    resource = client.resource("coordination.k8s.io/v1", "Lease")
    if resource is None:
        raise LockError(
            "the API has no Lease (coordination.k8s.io/v1), which every Kubernetes since 1.14 has; check that the kubeconfig names a Kubernetes API"
        )
    return Held(client, resource, _take(client, resource, wait_s, say), stop)


@contextmanager
def held(
    client: Client,
    *,
    wait_s: float,
    stop: threading.Event,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Held]:
    """Hold the cluster's Lease for the block. Raises LockError."""
    lease = take(client, wait_s=wait_s, stop=stop, say=say)
    try:
        yield lease
    finally:
        lease.let_go()


def last_run(client: Client) -> tuple[str, str]:
    """(when the Lease was last renewed, who holds it now); empty strings where there is none."""
    resource = client.resource("coordination.k8s.io/v1", "Lease")
    live = client.get(resource, LEASE, NAMESPACE_SYSTEM) if resource else None
    spec = (live or {}).get("spec") or {}
    return str(spec.get("renewTime") or ""), str(spec.get("holderIdentity") or "")


def _remove_namespace(client: Client) -> None:
    resource = client.resource("v1", "Namespace")
    live = client.get(resource, NAMESPACE_SYSTEM) if resource else None
    if resource and live and (live["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGED_BY:
        client.delete(resource, NAMESPACE_SYSTEM, uid=live["metadata"]["uid"])
        end = time.monotonic() + DURATION_S
        while client.get(resource, NAMESPACE_SYSTEM) is not None and time.monotonic() < end:
            time.sleep(0.2)


def _take(client: Client, resource: Resource, wait_s: float, say: Callable[[str], None]) -> Document:
    end = time.monotonic() + wait_s
    told = False
    run = str(uuid.uuid4())
    while True:
        live = client.get(resource, LEASE, NAMESPACE_SYSTEM)
        if live and (live["metadata"].get("annotations") or {}).get(_RUN) == run:
            return live
        holder = _holder(live)
        if not holder:
            try:
                taken = client.create(resource, _lease({}, run)) if live is None else None
                taken = taken or client.replace(resource, _lease(live or {}, run))
            except ApiError as error:
                if error.status not in (404, 409) and not error.namespace_is_terminating:
                    raise
                taken = None  # another run was faster, or has just removed the last component
            # What is written into a namespace that is being deleted is deleted with it.
            if not _ensure_namespace(client, max(1.0, end - time.monotonic()), say) and taken:
                return taken
            continue
        if time.monotonic() > end:
            raise LockError(
                f"{holder} is running on this cluster; wait for it, or, if it certainly died, "
                f"delete Lease {NAMESPACE_SYSTEM}/{LEASE}"
            )
        if not told:
            say(f"waiting for {holder}, which is running on this cluster")
            told = True
        time.sleep(1)


def _holder(live: Document | None) -> str:
    """Who holds a Lease, in words; empty when nobody holds it any more."""
    spec = (live or {}).get("spec") or {}
    identity = spec.get("holderIdentity")
    if not live or not identity:
        return ""
    renewed = datetime.datetime.fromisoformat(spec["renewTime"].replace("Z", "+00:00"))
    if datetime.datetime.now(datetime.UTC) - renewed > datetime.timedelta(seconds=spec["leaseDurationSeconds"]):
        return ""
    process = (live["metadata"].get("annotations") or {}).get(_PROCESS, "")
    if is_dead(process):
        return ""
    since = spec.get("acquireTime", "")[:19]
    return f"{identity} (process {process.rpartition('/')[2].partition(':')[0]}, since {since} UTC)"


def _lease(live: Document, run: str) -> Document:
    now = _now()
    metadata = dict(live.get("metadata") or {"name": LEASE, "namespace": NAMESPACE_SYSTEM})
    metadata["labels"] = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_RECORD: "lease"}
    metadata["annotations"] = {_PROCESS: this_process(), _RUN: run}
    transitions = ((live.get("spec") or {}).get("leaseTransitions") or 0) + 1
    spec = {
        "holderIdentity": who(),
        "leaseDurationSeconds": DURATION_S,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": transitions,
    }
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _renew(client: Client, resource: Resource, lease: Document, ended: threading.Event, stop: threading.Event) -> None:
    while not ended.wait(DURATION_S / 3):
        try:
            lease = client.replace(resource, {**lease, "spec": {**lease["spec"], "renewTime": _now()}})
        except ApiError as error:
            if error.status not in (404, 409):
                continue
            live = _mine(client, resource, lease)
            if live is None:  # another run took it: our next writes could conflict with its own
                stop.set()
                return
            lease = live
        except LlmOnEksError:
            continue  # the API does not answer; the next renewal tells whether the Lease was lost


def _mine(client: Client, resource: Resource, lease: Document) -> Document | None:
    """The Lease as it is now, if this run still holds it: after a renewal whose answer was lost, our version is outdated."""
    try:
        live = client.get(resource, LEASE, NAMESPACE_SYSTEM)
    except LlmOnEksError:
        return lease
    held = ((live or {}).get("metadata", {}).get("annotations") or {}).get(_RUN)
    return live if held == lease["metadata"]["annotations"][_RUN] else None


def _release(client: Client, resource: Resource, lease: Document) -> None:
    """Release the Lease and note the time of this run. Best effort: if that fails, the Lease expires."""
    try:
        live = _mine(client, resource, lease)
        if live:
            spec = {**live["spec"], "holderIdentity": "", "renewTime": _now()}
            client.replace(resource, {**live, "spec": spec})
    except LlmOnEksError:
        return


def _ensure_namespace(client: Client, wait_s: float, say: Callable[[str], None]) -> bool:
    """Whether the namespace had to be created. Waits for one that an earlier run is deleting. Raises LockError."""
    resource = client.resource("v1", "Namespace")
    if resource is None:
        return False
    end, told = time.monotonic() + wait_s, False
    while True:
        live = client.get(resource, NAMESPACE_SYSTEM)
        if live is None:
            labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_RECORD: "namespace"}
            metadata = {"name": NAMESPACE_SYSTEM, "labels": labels}
            client.apply(resource, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            return True
        if not live["metadata"].get("deletionTimestamp"):
            return False
        if time.monotonic() > end:
            raise LockError(
                f"Namespace {NAMESPACE_SYSTEM} is still being deleted by the run that removed the last component; "
                f"see what holds it (kubectl get namespace {NAMESPACE_SYSTEM} -o yaml), then run again"
            )
        if not told:
            say(f"waiting for Namespace {NAMESPACE_SYSTEM}, which the last removal is deleting")
            told = True
        time.sleep(0.3)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
