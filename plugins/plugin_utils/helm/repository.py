# SPDX-License-Identifier: Apache-2.0
"""Chart repositories: where in an index a chart's archive is. https://helm.sh/docs/topics/chart_repository/"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

import msgspec
import yaml

from .download import Downloader
from .errors import ChartError, redacted

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def locate(downloader: Downloader, repository: str, name: str, version: str) -> tuple[str, str]:
    """(address of the archive, its sha256 or empty). Raises ChartError."""
    base = repository.rstrip("/")
    entries = entries_of(downloader.get(f"{base}/index.yaml"), name)
    if not entries:
        raise ChartError(f"{redacted(base)} has no chart {name}")
    for entry in entries:
        if str(entry.get("version", "")).removeprefix("v") == version.removeprefix("v") and entry.get("urls"):
            return _with_credentials(base, urllib.parse.urljoin(f"{base}/", str(entry["urls"][0]))), str(
                entry.get("digest") or ""
            )
    newest = ", ".join(str(entry.get("version")) for entry in entries[:3])
    raise ChartError(f"{redacted(base)} has no version {version} of {name}; it begins with {newest}")


def entries_of(index: bytes, name: str) -> list[dict[str, Any]]:
    """One chart's entries. A large index is cut to that chart first: parsing ten megabytes of YAML takes half a minute."""
    if index.lstrip().startswith(b"{"):
        return list(msgspec.json.decode(index).get("entries", {}).get(name) or [])
    text = index.decode(errors="replace")
    heading = re.compile(
        rf"^(?P<indent> +)(?P<quote>[\"']?){re.escape(name)}(?P=quote): *\n(?P<body>(?:(?P=indent)[ -].*\n?|[ \t]*\n)*)",
        re.MULTILINE,
    )
    try:
        for found in heading.finditer(text):
            document = yaml.load(found["body"], Loader=_LOADER)  # noqa: S506 - a safe loader, in C
            if _is_list_of_charts(document, name):
                return list(document)
        entries = yaml.load(text, Loader=_LOADER)["entries"]  # noqa: S506
        return list((entries or {}).get(name) or [])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise ChartError("its index.yaml cannot be read; is the address that of a chart repository?") from None


def _is_list_of_charts(document: Any, name: str) -> bool:
    """Whether the cut found the right place: a list of this chart's versions."""
    return isinstance(document, list) and all(
        isinstance(entry, dict) and entry.get("name") == name and "version" in entry for entry in document
    )


def _with_credentials(base: str, address: str) -> str:
    """The repository's own user and password, for archives that stand on the same host only."""
    ours, theirs = urllib.parse.urlsplit(base), urllib.parse.urlsplit(address)
    same = (ours.scheme, ours.hostname, ours.port) == (theirs.scheme, theirs.hostname, theirs.port)
    if not same or not ours.username or theirs.username:
        return address
    return urllib.parse.urlunsplit(theirs._replace(netloc=ours.netloc))
