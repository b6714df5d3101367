# SPDX-License-Identifier: Apache-2.0
"""A Job that runs to completion once for each content; files may be streamed into its pod."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ...module_utils.models.progress import reporter
from ..describe.descriptor import Job, Wait
from ..kubernetes.client import Client, Resource
from ..kubernetes.connection import ConnectionError
from ..objects import diagnose
from ..objects.identity import identity
from .base import Action, Context, Document, NodeError, Outcome, Policy, subject
from .gone import wait_gone
from .manifest import labelled, placed, refuse_stranger
from .once import has_run
from .wait import condition, until

# The digest of the Job's description: a Job is immutable, so a changed one is run again.
DIGEST = "llm.on-eks/job-digest"
_STREAM_TRIES = 5


@dataclass
class JobNode:
    """One entry of the descriptor's `jobs`."""

    component: str
    job: Job
    namespace: str
    policy: Policy = field(default_factory=Policy)
    slow: bool = True

    @property
    def name(self) -> str:
        return f"job {self.job.manifest['metadata']['name']}"

    def run(self, context: Context) -> Outcome:
        document = self._document(context)
        target = subject(document)
        context.desire(self.component, [document], self.name)
        outcome = Outcome([Action("run", target, after=document)], [self.job.about] if self.job.about else [])
        context.desired.make_object(identity(document))
        resource = context.resource(document)
        if resource is None or (
            context.run.check and context.desired.makes_namespace(document["metadata"]["namespace"])
        ):
            return outcome
        client = context.run.api()
        live = client.get(resource, document["metadata"]["name"], document["metadata"]["namespace"])
        refuse_stranger(document, live, self.policy)
        if live is None and has_run(context, document):
            return Outcome()
        current = (
            live is not None
            and (live["metadata"].get("annotations") or {}).get(DIGEST) == document["metadata"]["annotations"][DIGEST]
        )
        if live is not None and current and condition(live, "Complete").get("status") == "True":
            return Outcome()
        if context.run.check:
            return outcome
        if live is not None and (not current or condition(live, "Failed").get("status") == "True"):
            client.delete(
                resource, document["metadata"]["name"], document["metadata"]["namespace"], uid=live["metadata"]["uid"]
            )
            wait_gone(context, resource, {**live, "apiVersion": "batch/v1", "kind": "Job"}, timeout_s=60)
            live = None
        if live is None:
            client.apply(resource, document)
        if self.job.stdin_files:
            self._feed(context, client, resource, document)
        metadata = document["metadata"]
        wait = Wait(kind="Job", name=metadata["name"], condition="Complete", timeout=self.job.timeout)
        until(context, target, wait, metadata["namespace"])
        return outcome

    def _document(self, context: Context) -> Document:
        document = labelled(context.outputs.resolve_text(self.job.manifest), self.component)
        document = placed(context, document, self.namespace)
        digest = hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()
        metadata = document["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), DIGEST: digest[:16]}
        return document

    def _feed(self, context: Context, client: Client, resource: Resource, document: Document) -> None:
        """Stream the files into the Job's pod; when the pod dies, into the Job's next pod."""
        files = [Path(name) for name in self.job.stdin_files]
        missing = next((file for file in files if not file.is_file()), None)
        if missing:
            raise NodeError(f"{subject(document)}: its input file {missing} does not exist on this machine")
        metadata = document["metadata"]
        end = time.monotonic() + self.job.timeout
        failures: list[str] = []
        while len(failures) < _STREAM_TRIES:
            live = client.get(resource, metadata["name"], metadata["namespace"])
            if live is None or any(condition(live, kind).get("status") == "True" for kind in ("Complete", "Failed")):
                return
            pod = _running_pod(client, live)
            if pod is not None:
                try:
                    _stream(context, pod, files, subject(document))
                    return
                except ConnectionError as error:
                    # The pod may have found its result published already and ended; the Job's status tells. A pod that
                    # never got a byte still waits for the first one.
                    failures.append(str(error))
            elif time.monotonic() > end:
                reason = diagnose.why(client, live)
                raise NodeError(f"{subject(document)}: none of its pods ran within {self.job.timeout} s: {reason}")
            context.waits.note(subject(document), "a pod that takes the file")
            if context.run.stop.wait(1.0 if failures else 0.3):
                raise NodeError(f"{subject(document)}: waiting was interrupted")
        raise NodeError(
            f"{subject(document)}: its input file {files[0]} could not be streamed into a pod: {failures[-1]}"
        )


def _stream(context: Context, pod: Document, files: list[Path], target: str) -> None:
    """Stream the files into a pod; the live summary says how far it is."""
    total_bytes = sum(file.stat().st_size for file in files)
    report = reporter(lambda text: context.waits.note(target, text))
    metadata, container = pod["metadata"], pod["spec"]["containers"][0]["name"]
    context.run.api().stream_files(
        metadata["namespace"], metadata["name"], container, files, lambda sent_bytes: report(sent_bytes, total_bytes)
    )


def _running_pod(client: Client, job: Document) -> Document | None:
    for pod in diagnose.pods_of(client, job):
        statuses = pod.get("status", {}).get("containerStatuses") or []
        running = any(status.get("state", {}).get("running") for status in statuses)
        if running and not pod["metadata"].get("deletionTimestamp"):
            return pod
    return None
