# SPDX-License-Identifier: Apache-2.0
"""Why an object is not ready: the state of its pods, the last log lines of their containers, and events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..kubernetes import refusals
from ..kubernetes.client import Client

Document = dict[str, Any]
# Waiting reasons that do not resolve themselves.
TERMINAL = ("ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
LOG_LINES = 10
_LONGEST_LINE = 120
# Refusals of pods that do not pass, as an exceeded quota does when other pods end.
_FOR_GOOD = ("violates PodSecurity", "per Container", "per Pod", "limit to request ratio")
_REVISION = "deployment.kubernetes.io/revision"


def why(client: Client, workload: Document) -> str:
    """One or two sentences about the pods behind a workload; its own conditions and events where there are no pods."""
    pods = pods_of(client, workload)
    said = [text for pod in pods if (text := _pod(client, pod))]
    if said:
        return "; ".join(said[:3])
    if not pods and (refused := no_pods(workload)):
        return refused
    conditions = [
        text for condition in workload.get("status", {}).get("conditions", []) if (text := _condition(condition))
    ]
    events = event_texts(client, workload)
    return "; ".join([*conditions, *events]) or ("no pod was made for it" if not pods else "its pods say nothing")


def last_words(client: Client, job: Document) -> str:
    """The last line of a Job's newest pod: how far it is."""
    pods = sorted(pods_of(client, job), key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    for pod in reversed(pods):
        metadata = pod["metadata"]
        for container in pod["spec"]["containers"]:
            lines = client.logs(metadata["namespace"], metadata["name"], container["name"], lines=1).split("\n")
            if said := next((line.strip() for line in reversed(lines) if line.strip()), ""):
                return said[:_LONGEST_LINE]
    return ""


def hopeless(client: Client, workload: Document) -> str:
    """The reason why waiting longer cannot help; empty where it can."""
    refused = no_pods(workload)
    if any(words in refused for words in _FOR_GOOD):
        return refused
    for pod in pods_of(client, workload):
        for status in _statuses(pod):
            waiting = status.get("state", {}).get("waiting", {})
            if waiting.get("reason") in TERMINAL:
                return _pod(client, pod)
            if waiting.get("reason") == "CrashLoopBackOff" and status.get("restartCount", 0) >= 4:
                return _pod(client, pod)
    return ""


def no_pods(workload: Document) -> str:
    """Why the API refuses the pods of a Deployment, and what helps; empty where it does not."""
    for condition in workload.get("status", {}).get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = " ".join(str(condition.get("message", "")).split())
            help_ = refusals.mend(403, message, {})
            return f"no pod can be made: {message}{f'; {help_}' if help_ else ''}"
    return ""


def pods_of(client: Client, workload: Document) -> list[Document]:
    """Pods of the workload's newest revision, newest first: a failure of an older revision is no reason to give up on this one."""
    selector = (workload.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
    resource = client.resource("v1", "Pod")
    if not selector or resource is None:
        return []
    revision = _revision_label(client, workload, selector)
    if revision is None:
        return []
    labels = ",".join(f"{key}={value}" for key, value in {**selector, **revision}.items())
    pods = client.list(resource, workload["metadata"].get("namespace", ""), labels=labels)
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)


def _revision_label(client: Client, workload: Document, selector: Mapping[str, str]) -> dict[str, str] | None:
    """The label that pods of the newest revision carry; empty where there are no revisions, None while the newest does not exist yet."""
    if workload.get("kind") == "StatefulSet":
        revision = workload.get("status", {}).get("updateRevision")
        return {"controller-revision-hash": revision} if revision else None
    if workload.get("kind") != "Deployment":
        return {}
    resource = client.resource("apps/v1", "ReplicaSet")
    if resource is None:
        return {}
    metadata = workload["metadata"]
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    wanted = (metadata.get("annotations") or {}).get(_REVISION)
    for found in client.list(resource, metadata.get("namespace", ""), labels=labels):
        owners = [owner["uid"] for owner in found["metadata"].get("ownerReferences") or []]
        if metadata["uid"] in owners and (found["metadata"].get("annotations") or {}).get(_REVISION) == wanted:
            return {"pod-template-hash": found["metadata"]["labels"]["pod-template-hash"]}
    return None


def event_texts(client: Client, document: Document) -> list[str]:
    """The last two warnings about an object."""
    resource = client.resource("v1", "Event")
    if resource is None:
        return []
    metadata = document["metadata"]
    fields = f"involvedObject.name={metadata['name']},involvedObject.kind={document['kind']},type=Warning"
    events = client.list(resource, metadata.get("namespace", ""), fields=fields)
    newest = sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))[-2:]
    return [f"{event.get('reason')}: {' '.join(str(event.get('message')).split())}" for event in newest]


def of_pod(client: Client, pod: Document) -> str:
    """What a pod's containers, conditions and events say about why it is not well."""
    return _pod(client, pod) or f"pod {pod['metadata']['name']} says nothing"


def _pod(client: Client, pod: Document) -> str:
    name = pod["metadata"]["name"]
    texts = [text for status in _statuses(pod) if (text := _container(client, pod, status))]
    if not texts:
        texts = [text for condition in pod.get("status", {}).get("conditions", []) if (text := _condition(condition))]
        texts += event_texts(client, pod)
    return f"pod {name}: {', '.join(texts)}" if texts else ""


def _container(client: Client, pod: Document, status: Mapping[str, Any]) -> str:
    state = status.get("state", {})
    waiting, ended = state.get("waiting"), state.get("terminated") or status.get("lastState", {}).get("terminated")
    if status.get("ready") or (ended and ended.get("exitCode") == 0 and not waiting):
        return ""
    text = ""
    if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        text = f"{waiting['reason']} {status.get('image', '')}"
        if waiting.get("message"):
            text += f" ({' '.join(waiting['message'].split())})"
    if ended and ended.get("exitCode"):
        text += (
            f"{', ' if text else ''}{status['name']} ended with {ended['exitCode']} ({ended.get('reason', 'Error')})"
        )
    if text or state.get("running"):
        metadata = pod["metadata"]
        previous = bool(waiting and ended)
        log = client.logs(
            metadata["namespace"], metadata["name"], status["name"], lines=LOG_LINES, previous=previous
        ).strip()
        if log:
            text += ", " if text else f"{status['name']} runs but is not ready, "
            text += f"last words: {' | '.join(log.splitlines())}"
    return text


def _statuses(pod: Document) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _condition(condition: Mapping[str, Any]) -> str:
    if condition.get("status") != "False" or condition.get("reason") in (
        None,
        "ContainersNotReady",
        "MinimumReplicasUnavailable",
    ):
        return ""
    return f"{condition['type']} is False: {condition.get('reason')} {' '.join(str(condition.get('message', '')).split())}".strip()
