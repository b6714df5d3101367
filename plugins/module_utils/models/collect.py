# SPDX-License-Identifier: Apache-2.0
"""Removes old revisions: those that the catalogue no longer names, except the newest few and those that a pod mounts."""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .store import ModelStore, ModelStoreError

Revision = tuple[str, str]
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Old:
    """A revision on the volume that the catalogue does not name; `why_kept` is empty when it is removed."""

    name: str
    revision: str
    size_bytes: int
    why_kept: str


def judge(
    store: ModelStore,
    wanted: Collection[Revision],
    mounted: Collection[Revision],
    keep: int,
    *,
    drop_unnamed: bool = False,
) -> list[Old]:
    """Every revision that is not wanted, newest first within its model. `keep`: how many of a model stay in addition.

    `drop_unnamed`: of models without a wanted revision none stays.
    """
    named = {name for name, __ in wanted}
    found: list[Old] = []
    kept: dict[str, int] = {}
    newest_first = sorted(store.list(), key=lambda one: _published_at(store, one.name, one.revision), reverse=True)
    for manifest in newest_first:
        name, revision = manifest.name, manifest.revision
        if (name, revision) in wanted:
            continue
        if (name, revision) in mounted:
            why = "a pod mounts it"
        elif kept.get(name, 0) < (0 if drop_unnamed and name not in named else keep):
            why, kept[name] = f"the newest {keep} stay", kept.get(name, 0) + 1
        else:
            why = ""
        found.append(Old(name, revision, manifest.size_bytes, why))
    return found


def remove(store: ModelStore, old: Sequence[Old]) -> int:
    """Remove those that are not kept; returns the freed bytes."""
    gone = [one for one in old if not one.why_kept and store.remove(one.name, one.revision)]
    return sum(one.size_bytes for one in gone)


def mounted_by_pods(namespace: str, claim: str, account: Path = _ACCOUNT) -> set[Revision]:
    """What the pods of a namespace mount of the claim, read from the API server as this pod's service account.

    ModelStoreError when it cannot be read: then nothing may be removed.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
    port = os.environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
    url = f"https://{f'[{host}]' if ':' in host else host}:{port}/api/v1/namespaces/{namespace}/pods"
    try:
        token = (account / "token").read_text(encoding="utf-8")
        context = ssl.create_default_context(cafile=str(account / "ca.crt"))
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        with opener.open(request, timeout=30) as response:
            pods = json.load(response)
    except (OSError, ValueError) as problem:
        raise ModelStoreError(f"cannot find out which models are mounted: {problem}; nothing was removed") from problem
    return mounted(pods, claim)


def mounted(pods: dict[str, Any], claim: str) -> set[Revision]:
    """(name, revision) of every subPath of the claim that a running pod mounts."""
    found: set[Revision] = set()
    for pod in pods["items"]:
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        spec = pod["spec"]
        volumes = {
            volume["name"]
            for volume in spec.get("volumes", ())
            if volume.get("persistentVolumeClaim", {}).get("claimName") == claim
        }
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            for mount in container.get("volumeMounts", ()):
                name, __, revision = mount.get("subPath", "").strip("/").partition("/")
                if mount["name"] in volumes and revision:
                    found.add((name, revision.partition("/")[0]))
    return found


def _published_at(store: ModelStore, name: str, revision: str) -> float:
    return (store.folder(name, revision) / "manifest.json").stat().st_mtime
