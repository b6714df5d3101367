# SPDX-License-Identifier: Apache-2.0
"""A file on a web server, or an index `SHA256SUMS` that names the files beside it (`sha256sum`'s format)."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from pathlib import PurePosixPath

from .errors import ContentError, ServerError
from .http import Client, shown
from .listing import Address, Listing, RemoteFile
from .source import INDEX

_LINE = re.compile(r"([0-9a-f]{64})[ \t]+\*?(.+)")


def list_web(client: Client, url: str, sha256: str) -> Listing:
    """`sha256`: of the file or of the index, from the revision; empty before it is locked. ContentError when it differs."""
    path = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    if path.name != INDEX:
        return Listing((RemoteFile(path.name, _size(client, url), _address(url), sha256),), pinned=True)
    text, __ = client.text(url)
    found = hashlib.sha256(text.encode()).hexdigest()
    if sha256 and found != sha256:
        raise ContentError(f"{shown(url)} has sha256 {found}, and the revision says {sha256}: the file was replaced")
    files = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match:
            where = urllib.parse.urljoin(url, urllib.parse.quote(match[2].removeprefix("./")))
            files.append(RemoteFile(match[2].removeprefix("./"), _size(client, where), _address(where), match[1]))
    if not files:
        raise ContentError(f"{shown(url)} names no file: each line has a sha256 and a path")
    return Listing(tuple(files), pinned=True, facts={"index": found})


def _address(url: str) -> Address:
    return lambda: (url, {})


def _size(client: Client, url: str) -> int:
    length = client.head(url, {}).get("content-length", "")
    if not length.isdigit():
        raise ServerError(f"{shown(url)} does not state its length (Content-Length), so it cannot be fetched in parts")
    return int(length)
