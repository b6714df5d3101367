# SPDX-License-Identifier: Apache-2.0
"""Charts from OCI registries. https://github.com/opencontainers/distribution-spec, https://helm.sh/docs/topics/registries/"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from typing import Any

import msgspec

from .download import Answer, Downloader, refused, registry_credentials, web_credentials
from .errors import ChartError, redacted

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


def pull(downloader: Downloader, reference: str) -> bytes:
    """The archive behind `oci://registry/path/chart:version`, held to the digest in its manifest. Raises ChartError."""
    parts = urllib.parse.urlsplit(reference)
    registry = parts.netloc.rpartition("@")[2]
    path, __, tag = parts.path.strip("/").rpartition(":")
    if not registry or not path or not tag:
        raise ChartError(
            f"{redacted(reference)} is not a reference of the form oci://registry/path/chart with a version"
        )
    # As container tools do: TLS everywhere except on this machine.
    scheme = "http" if _LOOPBACK.fullmatch(registry) else "https"
    session = _Session(
        downloader, f"{scheme}://{registry}/v2/{path}", web_credentials(reference) or registry_credentials(registry)
    )
    # A tag cannot contain `+`; a chart version can.
    manifest = _decoded(session.get(f"manifests/{tag.replace('+', '_')}", _MANIFEST), reference)
    layers = [layer for layer in manifest.get("layers") or [] if layer.get("mediaType") == _CONTENT]
    if len(layers) != 1:
        raise ChartError(f"{redacted(reference)} is there, but it is not a chart")
    digest = str(layers[0]["digest"])
    content = session.get(f"blobs/{digest}", "*/*")
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise ChartError(
            f"{redacted(reference)}: its content is not what its manifest says; try again, or tell the registry's owner"
        )
    return content


class _Session:
    """Requests to one repository of a registry; the token that it asks for is fetched once."""

    def __init__(self, downloader: Downloader, base: str, credentials: str) -> None:
        self._downloader = downloader
        self._base = base
        self._credentials = credentials
        self._authorization = ""

    def get(self, path: str, accept: str) -> bytes:
        address = f"{self._base}/{path}"
        answer = self._downloader.ask(address, authorization=self._authorization, accept=accept)
        if answer.status == 401 and not self._authorization:
            self._authorization = self._answer_challenge(answer)
            answer = self._downloader.ask(address, authorization=self._authorization, accept=accept)
        if answer.status != 200:
            raise refused(address, answer.status)
        return answer.body

    def _answer_challenge(self, answer: Answer) -> str:
        """https://distribution.github.io/distribution/spec/auth/token/"""
        challenge = answer.headers.get("WWW-Authenticate", "")
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if not challenge.lower().startswith("bearer") or "realm" not in fields:
            return self._credentials
        query = {key: fields[key] for key in ("service", "scope") if key in fields}
        said = self._downloader.ask(
            f"{fields['realm']}?{urllib.parse.urlencode(query)}", authorization=self._credentials
        )
        if said.status != 200:
            raise refused(fields["realm"], said.status)
        token = _decoded(said.body, fields["realm"])
        return f"Bearer {token.get('token') or token.get('access_token') or ''}"


def _decoded(body: bytes, where: str) -> dict[str, Any]:
    try:
        return dict(msgspec.json.decode(body))
    except (msgspec.MsgspecError, TypeError, ValueError):
        raise ChartError(f"{redacted(where)} answers with what is not JSON; is it a registry?") from None
