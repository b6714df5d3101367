# SPDX-License-Identifier: Apache-2.0
"""A repository on the Hugging Face Hub, or on a compatible mirror (HF_ENDPOINT).

https://huggingface.co/docs/hub/api. Large files have the sha256 of git-lfs, small ones git's sha1. A Xet hash is
neither, and is ignored; the Hub serves files that it keeps in Xet under their plain addresses, too.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from .errors import AccessError, MissingError, ServerError
from .http import Client
from .listing import Address, Listing, RemoteFile

DEFAULT_ENDPOINT = "https://huggingface.co"
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class Hub:
    """`token` may be empty: then only public repositories can be read."""

    def __init__(self, client: Client, endpoint: str = "", token: str = "") -> None:
        self._client, self.endpoint = client, (endpoint or DEFAULT_ENDPOINT).rstrip("/")
        self._headers: Mapping[str, str] = {"Authorization": f"Bearer {token}"} if token else {}

    def resolve(self, repository: str, revision: str) -> str:
        """The commit that a branch, a tag or a commit stands for now."""
        url = (
            f"{self.endpoint}/api/models/{_path(repository)}/revision/{urllib.parse.quote(revision or 'main', safe='')}"
        )
        return str(self._json(url, repository)["sha"])

    def list(self, repository: str, commit: str) -> Listing:
        """Every file of one commit."""
        url = f"{self.endpoint}/api/models/{_path(repository)}/tree/{commit}?recursive=true"
        files: list[RemoteFile] = []
        while url:
            page, headers = self._page(url, repository)
            files += [self._file(repository, commit, entry) for entry in page if entry.get("type") == "file"]
            found = _NEXT.search(headers.get("Link", headers.get("link", "")))
            url = urllib.parse.urljoin(url, found[1]) if found else ""
        return Listing(tuple(files), pinned=True)

    def _file(self, repository: str, commit: str, entry: Mapping[str, Any]) -> RemoteFile:
        large = entry.get("lfs") or {}
        path = str(entry["path"])
        return RemoteFile(
            path,
            int(large.get("size") or entry["size"]),
            self._address(repository, commit, path),
            sha256=str(large.get("oid") or large.get("sha256") or "").removeprefix("sha256:"),
            git_sha1="" if large else str(entry.get("oid") or ""),
        )

    def _address(self, repository: str, commit: str, path: str) -> Address:
        url = f"{self.endpoint}/{_path(repository)}/resolve/{commit}/{urllib.parse.quote(path)}"
        return lambda: (url, self._headers)

    def _page(self, url: str, repository: str) -> tuple[Any, Mapping[str, str]]:
        try:
            page, headers = self._client.json(url, self._headers)
        except (AccessError, MissingError) as problem:
            raise self._explained(problem, repository) from problem
        if not isinstance(page, list):
            raise ServerError(
                f"{self.endpoint} did not answer with a list of files: is HF_ENDPOINT a mirror of the Hub?"
            )
        return page, headers

    def _json(self, url: str, repository: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._client.json(url, self._headers)[0]
        except (AccessError, MissingError) as problem:
            raise self._explained(problem, repository) from problem
        return found

    def _explained(self, problem: AccessError | MissingError, repository: str) -> AccessError | MissingError:
        if isinstance(problem, AccessError):
            return AccessError(f"{self.explain_access(repository)} ({problem})")
        # The Hub answers both 404 and 401 for a repository that the token may not see.
        hint = "" if self._headers else "; a private one needs models_hub_token_secret"
        return MissingError(f"{repository} has no such revision or does not exist on {self.endpoint}{hint}")

    def explain_access(self, repository: str) -> str:
        if self._headers:
            return f"the token may not read {repository}: accept its terms on {self.endpoint}/{repository}, or use another token"
        return f"{repository} is gated or private: put a token into the Secret that models_hub_token_secret names"


def _path(repository: str) -> str:
    return urllib.parse.quote(repository)
