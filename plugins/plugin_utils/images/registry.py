# SPDX-License-Identifier: Apache-2.0
"""A client of OCI registries: manifests, and blobs as streams. https://github.com/opencontainers/distribution-spec"""

from __future__ import annotations

import hashlib
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import urllib3

from ...module_utils.errors import LlmOnEksError
from ...module_utils.proxies import pool, proxy_for

_TRIES = 4
_PASSING = {429, 500, 502, 503, 504}
_CHUNK_BYTES = 1 << 20
_LARGEST_MANIFEST_BYTES = 4 << 20
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_IMAGES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


def is_local(host: str) -> bool:
    """Whether a registry is on this machine, where container tools speak plain HTTP to it."""
    return bool(_LOOPBACK.fullmatch(host))


class RegistryError(LlmOnEksError):
    """A registry refuses, does not answer, or holds something else than it says."""


@dataclass(frozen=True)
class Manifest:
    """`body`: as it is stored, since its digest is over these bytes."""

    body: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"

    @property
    def content(self) -> dict[str, Any]:
        try:
            return dict(msgspec.json.decode(self.body))
        except (msgspec.MsgspecError, TypeError, ValueError):
            raise RegistryError("a registry answers with something that is not a manifest") from None

    @property
    def is_index(self) -> bool:
        return self.media_type in _INDEXES or "manifests" in self.content

    @property
    def children(self) -> list[str]:
        """Digests of the images of an index."""
        return [str(one["digest"]) for one in self.content.get("manifests") or []]

    @property
    def blobs(self) -> dict[str, int]:
        """digest -> bytes of an image's configuration and layers."""
        content = self.content
        return {str(one["digest"]): int(one["size"]) for one in [content["config"], *content["layers"]]}


class Registry:
    """`credentials`: the Authorization header that it or its token service wants; empty for none. Never shown."""

    def __init__(self, host: str, credentials: str = "", *, timeout_s: float = 60) -> None:
        self.host = host
        self._credentials = credentials
        # As container tools do: TLS everywhere except on this machine.
        self._base = f"{'http' if is_local(host) else 'https'}://{host}/v2"
        options = {"timeout": urllib3.Timeout(connect=10, read=timeout_s), "retries": urllib3.Retry(0, redirect=5)}
        self._pool = pool(proxy_for(self._base), **options)
        self._tokens: dict[tuple[str, bool], str] = {}

    def digest(self, repository: str, reference: str) -> str:
        """The digest that a tag has now. Raises RegistryError."""
        return self.manifest(repository, reference).digest

    def manifest(self, repository: str, reference: str) -> Manifest:
        """Raises RegistryError; also where it is not the one that a digest names."""
        where = f"{repository}/manifests/{reference}"
        with self._asked("GET", where, {"Accept": ", ".join((*_INDEXES, *_IMAGES))}) as answer:
            self._expect(answer, where, 200)
            found = Manifest(
                answer.read(_LARGEST_MANIFEST_BYTES), answer.headers.get("Content-Type", "").partition(";")[0]
            )
        if reference.startswith("sha256:") and found.digest != reference:
            raise RegistryError(
                f"{self.host}/{where} is {found.digest}: the registry holds something else than it says"
            )
        return found

    def has_manifest(self, repository: str, digest: str) -> bool:
        return self._has(f"{repository}/manifests/{digest}", {"Accept": ", ".join((*_INDEXES, *_IMAGES))})

    def has_blob(self, repository: str, digest: str) -> bool:
        return self._has(f"{repository}/blobs/{digest}", {})

    @contextmanager
    def blob(self, repository: str, digest: str) -> Iterator[Iterator[bytes]]:
        """The bytes of a blob, held to its digest: the last chunk raises RegistryError where they are others."""
        where = f"{repository}/blobs/{digest}"
        with self._asked("GET", where, {}) as answer:  # pylint: disable=contextmanager-generator-missing-cleanup
            self._expect(answer, where, 200)
            yield self._checked(answer, where, digest)

    def put_blob(self, repository: str, digest: str, size: int, chunks: Iterator[bytes]) -> None:
        """Store a blob of so many bytes. Raises RegistryError."""
        where = f"{repository}/blobs/uploads/"
        with self._asked("POST", where, {"Content-Length": "0"}, writes=True) as answer:
            self._expect(answer, where, 202)
            place = urllib.parse.urljoin(f"{self._base}/", answer.headers["Location"])
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with self._sent("PATCH", place, self._authorized(repository, headers), _Body(chunks)) as answer:
            self._expect(answer, where, 202, 204)
            place = urllib.parse.urljoin(f"{self._base}/", answer.headers["Location"])
        query = urllib.parse.urlencode({"digest": digest})
        place += f"{'&' if urllib.parse.urlsplit(place).query else '?'}{query}"
        with self._sent("PUT", place, self._authorized(repository, {"Content-Length": "0"}), b"") as answer:
            self._expect(answer, where, 201)

    def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        """Raises RegistryError."""
        where = f"{repository}/manifests/{reference}"
        with self._asked("PUT", where, {"Content-Type": manifest.media_type}, manifest.body, writes=True) as answer:
            self._expect(answer, where, 201)

    def _checked(self, answer: Any, where: str, digest: str) -> Iterator[bytes]:
        total = hashlib.sha256()
        for chunk in answer.stream(_CHUNK_BYTES, decode_content=False):
            total.update(chunk)
            yield chunk
        if f"sha256:{total.hexdigest()}" != digest:
            raise RegistryError(f"{self.host}/{where} has another content than its digest says; try again")

    def _has(self, where: str, headers: Mapping[str, str]) -> bool:
        with self._asked("HEAD", where, headers) as answer:
            if answer.status == 404:
                return False
            self._expect(answer, where, 200)
            return True

    @contextmanager
    def _asked(
        self, method: str, where: str, headers: Mapping[str, str], body: bytes = b"", *, writes: bool = False
    ) -> Iterator[Any]:
        """One request, with a token if the registry wants one; repeated while the failure passes."""
        repository = re.split(r"/(?:manifests|blobs)/", where)[0]
        for attempt in range(_TRIES):
            with self._sent(
                method, f"{self._base}/{where}", self._authorized(repository, headers, writes=writes), body
            ) as answer:
                if answer.status == 401 and (repository, writes) not in self._tokens:
                    self._tokens[repository, writes] = self._token(answer)
                    continue
                if answer.status not in _PASSING or attempt == _TRIES - 1:
                    yield answer
                    return
            time.sleep(0.5 * 2**attempt)
        raise RegistryError(f"{self.host}/{where} refuses the token that it issued")

    @contextmanager
    def _sent(self, method: str, address: str, headers: Mapping[str, str], body: Any) -> Iterator[Any]:
        try:
            answer = self._pool.request(
                method, address, headers=dict(headers), body=body or None, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise RegistryError(
                f"registry {self.host} does not answer ({type(reason).__name__}); this machine must reach it, directly or by HTTPS_PROXY"
            ) from None
        try:
            yield answer
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(
                f"registry {self.host} broke off in the middle ({type(error).__name__}); try again"
            ) from None
        finally:
            answer.drain_conn()
            answer.release_conn()

    def _authorized(self, repository: str, headers: Mapping[str, str], *, writes: bool = True) -> dict[str, str]:
        token = self._tokens.get((repository, writes), "")
        return {"User-Agent": "llm.on_eks", **headers, **({"Authorization": token} if token else {})}

    def _token(self, answer: Any) -> str:
        """https://distribution.github.io/distribution/spec/auth/token/"""
        challenge = answer.headers.get("WWW-Authenticate", "")
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if not challenge.lower().startswith("bearer") or "realm" not in fields:
            return self._credentials
        query = {key: fields[key] for key in ("service", "scope") if key in fields}
        address = f"{fields['realm']}?{urllib.parse.urlencode(query)}"
        headers = {"Authorization": self._credentials} if self._credentials else {}
        with self._sent("GET", address, headers, b"") as said:
            self._expect(said, "token", 200)
            token = msgspec.json.decode(said.read())
        return f"Bearer {token.get('token') or token.get('access_token') or ''}"

    def _expect(self, answer: Any, where: str, *statuses: int) -> None:
        if answer.status in statuses:
            return
        hint = {
            401: "it wants credentials: log in to the registry",
            403: "these credentials do not suffice",
            404: "there is no such image or repository",
        }.get(answer.status, "try again later")
        raise RegistryError(f"registry {self.host} answers {answer.status} for {where}; {hint}")


class _Body:
    """Chunks as a file that is sent as it is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._left) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._left += chunk
        size = len(self._left) if size < 0 else size
        found, self._left = self._left[:size], self._left[size:]
        return found
