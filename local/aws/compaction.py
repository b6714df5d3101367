# SPDX-License-Identifier: Apache-2.0
"""Removes what a journal need not keep: S3 objects that were overwritten or deleted later.

A lock is an object that every run creates, renews and deletes. Without this the journal of an unchanged account would
grow with every run. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from . import s3
from .journal import Entry
from .protocol import Call

# Operations that read other objects, or that make an object's history a part of the state.
_ENTANGLED = {"CopyObject", "UploadPartCopy"}
_VERSIONING = "PutBucketVersioning"


def compacted(entries: Iterable[Entry], identify: Callable[[Entry], Call | None]) -> list[Entry]:
    """The entries that lead to the same state, in order."""
    read = [(entry, identify(entry)) for entry in entries]
    calls = [call for __, call in read if call is not None and call.service == "s3"]
    if any(call.name in _ENTANGLED for call in calls):
        return [entry for entry, __ in read]
    versioned = {call.params["Bucket"] for call in calls if call.name == _VERSIONING}
    last = {_object(call): index for index, (__, call) in enumerate(read) if _writes(call, versioned)}
    kept = []
    for index, (entry, call) in enumerate(read):
        if not _writes(call, versioned):
            kept.append(entry)
        elif call is not None and call.name == "PutObject" and last[_object(call)] == index:
            # The object that its condition was about no longer exists.
            kept.append(replace(entry, headers=s3.without_conditions(entry.headers)))
    return kept


def _writes(call: Call | None, versioned: set[str]) -> bool:
    return call is not None and (call.service, call.name) in s3.CONDITIONAL and call.params["Bucket"] not in versioned


def _object(call: Call | None) -> tuple[str, str]:
    assert call is not None
    return call.params["Bucket"], call.params["Key"]
