# SPDX-License-Identifier: Apache-2.0
"""The record of what was applied, kept in the cluster: the last ten revisions of each component, with their objects and documents.

They are ConfigMaps in namespace llm-system: `record-COMPONENT` holds the list of revisions, `record-COMPONENT-N` the
documents of one (`record-COMPONENT-N.2` and so on those that do not fit). A revision is written before its first object,
so that a run that is killed leaves no unknown object behind. A record holds no secret: values of Secrets are digests, other secrets are masked.
"""

from __future__ import annotations

import base64
import datetime
import getpass
import hashlib
import itertools
import os
import socket
import threading
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from ...module_utils.errors import LlmOnEksError
from ...module_utils.names import LABEL_MANAGED_BY, LABEL_RECORD, MANAGED_BY, NAMESPACE_SYSTEM
from ..kubernetes.client import Client
from .identity import Identity, from_compact
from .masking import Masker

Document = dict[str, Any]
KEPT = 10
# Under the API server's limit of 1 MiB an object, with room for its metadata.
_MAX_BYTES = 900_000


class RecordError(LlmOnEksError):
    """A record cannot be read, or holds no such revision."""


class Revision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One revision. `digest` of its documents, which are in `parts` objects; `at` in UTC; `seconds` that it took.

    `versions`: chart -> version; `pages`: lines for people.
    """

    number: int
    state: Literal["applying", "applied"]
    digest: str = ""
    parts: int = 1
    at: str = ""
    by: str = ""
    seconds: float = 0.0
    versions: dict[str, str] = {}
    pages: list[str] = []
    objects: list[str] = []
    rolled_back_to: int = 0


class Recorder:
    """The records of one cluster. Without a client it has no records and writes none. Safe to share between threads."""

    def __init__(self, client: Client | None = None, masker: Masker | None = None) -> None:
        self._client = client
        self._masker = masker or Masker()
        self._lock = threading.Lock()
        self._revisions = self._read() if client else {}

    # --- reading

    def components(self) -> list[str]:
        return sorted(self._revisions)

    def history(self, component: str) -> list[Revision]:
        """Oldest first."""
        return list(self._revisions.get(component, []))

    def applied(self, component: str) -> Revision | None:
        """The newest revision that was applied completely."""
        return next((one for one in reversed(self.history(component)) if one.state == "applied"), None)

    def known(self, component: str) -> set[Identity]:
        """Every object of every revision that is kept."""
        return {from_compact(text) for revision in self.history(component) for text in revision.objects}

    def documents(self, component: str, number: int) -> list[Document]:
        """The documents of one revision, without secrets. Raises RecordError."""
        numbers = [str(one.number) for one in self.history(component) if one.state == "applied"]
        resource = self._client.resource("v1", "ConfigMap") if self._client else None
        parts: list[str] = []
        while self._client and resource and str(number) in numbers:
            found = self._client.get(resource, _part_of(component, number, len(parts)), NAMESPACE_SYSTEM)
            if found is None:
                break
            parts.append(found["data"]["documents"])
            if len(parts[-1]) < _MAX_BYTES:
                break
        if not parts:
            known = f"recorded are {', '.join(numbers)}" if numbers else "nothing of it is recorded"
            raise RecordError(f"component {component} has no revision {number}; {known}")
        packed = zlib.decompress(base64.b64decode("".join(parts)))
        documents: list[Document] = msgspec.json.decode(packed)
        return documents

    def _read(self) -> dict[str, list[Revision]]:
        if not self._client:
            raise AssertionError
        resource = self._client.resource("v1", "ConfigMap")
        if resource is None:
            return {}
        found = {}
        for document in self._client.list(resource, NAMESPACE_SYSTEM, labels=f"{LABEL_RECORD}=index"):
            try:
                revisions = msgspec.json.decode(document["data"]["revisions"], type=list[Revision])
            except (msgspec.MsgspecError, KeyError, TypeError) as error:
                raise RecordError(
                    f"ConfigMap {NAMESPACE_SYSTEM}/{document['metadata']['name']} cannot be read as a record ({error}); "
                    "delete it; the next run writes a new one"
                ) from None
            found[document["data"]["component"]] = revisions
        return found

    # --- writing

    def intend(self, component: str, objects: Iterable[Identity]) -> None:
        """Write down objects that no revision contains yet, before the first of them is created."""
        if self._client is None or not component:
            return
        with self._lock:
            unknown = set(objects) - self.known(component)
            if not unknown:
                return
            revisions = self.history(component)
            if revisions and revisions[-1].state == "applying":
                last = revisions.pop()
            else:
                last = Revision(number=revisions[-1].number + 1 if revisions else 1, state="applying")
            listed = sorted({*last.objects, *(one.compact() for one in unknown)})
            self._write(component, [*revisions, _stamped(last, objects=listed)])

    def commit(
        self,
        component: str,
        objects: Mapping[Identity, Document],
        *,
        seconds: float,
        versions: Mapping[str, str],
        pages: Iterable[str] = (),
        rolled_back_to: int = 0,
    ) -> Revision | None:
        """Note that a component's documents are applied. None when the newest revision is the same already."""
        if self._client is None:
            return None
        documents = [_recorded(self._masker, objects[key]) for key in sorted(objects)]
        packed = msgspec.json.encode(documents, order="sorted")
        digest = hashlib.sha256(packed).hexdigest()[:16]
        with self._lock:
            revisions = self.history(component)
            newest = revisions[-1] if revisions else None
            if newest and newest.state == "applied" and newest.digest == digest:
                return None
            if newest and newest.state == "applying":
                revisions.pop()
                number = newest.number
            else:
                number = newest.number + 1 if newest else 1
            parts = _parts(_packed(packed))
            made = _stamped(
                Revision(number=number, state="applied"),
                digest=digest,
                parts=len(parts),
                seconds=round(seconds, 1),
                versions=dict(versions),
                pages=list(pages),
                objects=[one.compact() for one in sorted(objects)],
                rolled_back_to=rolled_back_to,
            )
            for index, part in enumerate(parts):
                self._apply_map(_part_of(component, number, index), "documents", {"documents": part})
            for one in [*revisions, made][:-KEPT]:
                self._delete_documents(component, one)
            self._write(component, [*revisions, made][-KEPT:])
            return made

    def forget(self, component: str) -> None:
        """Delete the record of a component that was removed."""
        if self._client is None:
            return
        with self._lock:
            revisions = self._revisions.pop(component, [])
        for one in revisions:
            self._delete_documents(component, one)
        self._delete(name_of(component))

    def _write(self, component: str, revisions: list[Revision]) -> None:
        text = msgspec.json.encode(revisions).decode()
        while len(text) > _MAX_BYTES and len(revisions) > 1:
            self._delete_documents(component, revisions[0])
            revisions = revisions[1:]
            text = msgspec.json.encode(revisions).decode()
        self._apply_map(name_of(component), "index", {"component": component, "revisions": text})
        self._revisions[component] = revisions

    def _apply_map(self, name: str, role: str, data: dict[str, str]) -> None:
        if not self._client:
            raise AssertionError
        resource = self._client.resource("v1", "ConfigMap")
        if resource:
            labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_RECORD: role}
            metadata = {"name": name, "namespace": NAMESPACE_SYSTEM, "labels": labels}
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            self._client.apply(resource, document, force=True)

    def _delete_documents(self, component: str, revision: Revision) -> None:
        """Delete the documents of a revision, before the list forgets it: what is left by a run that dies is deleted by the next.

        One that was never finished has none, or more than the list says.
        """
        for index in itertools.count():
            if not self._delete(_part_of(component, revision.number, index)) and index + 1 >= revision.parts:
                return

    def _delete(self, name: str) -> bool:
        """False when it was gone already."""
        if not self._client:
            raise AssertionError
        resource = self._client.resource("v1", "ConfigMap")
        # Nothing depends on a record. In the foreground it would stay until the garbage collector comes, and take with it
        # what the next run writes there meanwhile.
        return bool(resource and self._client.delete(resource, name, NAMESPACE_SYSTEM, policy="Background"))


def name_of(component: str) -> str:
    """The ConfigMap of a component's record: names of objects have no underscore."""
    return f"record-{component.replace('_', '-')}"


def _part_of(component: str, number: int, index: int) -> str:
    """The ConfigMap with one part of a revision's documents: most revisions have one part."""
    return f"{name_of(component)}-{number}{f'.{index + 1}' if index else ''}"


def _parts(text: str) -> list[str]:
    """Pieces that fit into one object each. A piece of full length has a successor, which may be empty."""
    return [text[start : start + _MAX_BYTES] for start in range(0, len(text) + 1, _MAX_BYTES)]


def _stamped(revision: Revision, **changed: Any) -> Revision:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return msgspec.structs.replace(revision, at=now, by=who(), **changed)


def who() -> str:
    """Who runs this, for records and leases: an AWX job where there is one, else user and host."""
    job = os.environ.get("AWX_JOB_ID") or os.environ.get("JOB_ID")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"AWX job {job}" if job else f"{user}@{socket.gethostname()}"


def _recorded(masker: Masker, document: Document) -> Document:
    """A document as a record keeps it. Only the names of CRDs are kept: they are large, and never rolled back."""
    if document["kind"] == "CustomResourceDefinition":
        body = msgspec.json.encode(document, order="sorted")
        short = {key: document[key] for key in ("apiVersion", "kind")}
        return {**short, "metadata": document["metadata"], "digest": hashlib.sha256(body).hexdigest()[:16]}
    masked: Document = masker.data(document)
    return masked


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode()
