# SPDX-License-Identifier: Apache-2.0
"""HTTP for chart repositories and registries: retries, redirects, and the credentials that this controller already has."""

from __future__ import annotations

import base64
import json
import netrc
import os
import random
import re
import subprocess
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from ...module_utils.proxies import pool, proxy_for
from .errors import ChartError, redacted

TRIES = 4
_PASSING = {429, 500, 502, 503, 504}
# A chart is some hundred kilobytes, a repository's index some megabytes.
_LARGEST_BYTES = 256 << 20


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Downloader:
    """HTTP GET with credentials from the address, ~/.netrc or the container registries' auth file. No credential is ever shown."""

    def __init__(self, *, timeout_s: float = 30) -> None:
        self._options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=10, read=timeout_s),
            "retries": urllib3.Retry(0, redirect=5),
        }
        self._pools: dict[str, urllib3.PoolManager] = {}

    def get(self, address: str) -> bytes:
        """The body of a 200 answer. Raises ChartError."""
        answer = self.ask(address, authorization=web_credentials(address))
        if answer.status != 200:
            raise refused(address, answer.status)
        return answer.body

    def ask(self, address: str, *, authorization: str = "", accept: str = "*/*") -> Answer:
        """One GET, retried while the failure is temporary. Raises ChartError when nothing answers."""
        parts = urllib.parse.urlsplit(address)
        plain = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        headers = {"Accept": accept, "User-Agent": "llm.on_eks"}
        if authorization:
            headers["Authorization"] = authorization
        for attempt in range(TRIES):
            try:
                answer = self._pool(plain).request("GET", plain, headers=headers, preload_content=False)
                body = answer.read(_LARGEST_BYTES)
                answer.release_conn()
            except urllib3.exceptions.HTTPError as error:
                if attempt == TRIES - 1 or isinstance(error, urllib3.exceptions.LocationParseError):
                    raise ChartError(f"{redacted(address)} does not answer ({_reason(error)})") from None
            else:
                if answer.status not in _PASSING or attempt == TRIES - 1:
                    return Answer(answer.status, answer.headers, body)
            time.sleep(0.3 * 2**attempt * random.uniform(0.7, 1.3))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    def _pool(self, address: str) -> urllib3.PoolManager:
        proxy = proxy_for(address)
        if proxy not in self._pools:
            self._pools[proxy] = pool(proxy, **self._options)
        return self._pools[proxy]


def refused(address: str, status: int) -> ChartError:
    hint = {
        401: "it wants credentials: put them into ~/.netrc, or log in to the registry",
        403: "these credentials may not read it",
        404: "there is nothing at that address",
    }.get(status, "try again later")
    return ChartError(f"{redacted(address)} answers {status}; {hint}")


def web_credentials(address: str) -> str:
    """The Authorization header for a web address, from its user part or ~/.netrc; empty for none."""
    parts = urllib.parse.urlsplit(address)
    if parts.username:
        return basic(urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or ""))
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname or "")
    except (OSError, netrc.NetrcParseError):
        return ""
    return basic(found[0], found[2] or "") if found and found[0] else ""


def registry_credentials(registry: str) -> str:
    """The Authorization header for a registry, from the auth files that docker, podman and buildah write; empty for none."""
    for file in _auth_files():
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        helper = (document.get("credHelpers") or {}).get(registry) or document.get("credsStore")
        for key in (registry, f"https://{registry}", f"https://{registry}/v1/", f"https://{registry}/v2/"):
            encoded = ((document.get("auths") or {}).get(key) or {}).get("auth")
            if encoded:
                return f"Basic {encoded}"
        if helper and re.fullmatch(r"[a-z0-9-]+", helper) and (said := _ask_helper(helper, registry)):
            return said
    return ""


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _auth_files() -> list[Path]:
    home = Path.home()
    named = [os.environ.get("REGISTRY_AUTH_FILE", "")]
    if os.environ.get("XDG_RUNTIME_DIR"):
        named.append(f"{os.environ['XDG_RUNTIME_DIR']}/containers/auth.json")
    named.append(f"{os.environ.get('DOCKER_CONFIG') or home / '.docker'}/config.json")
    return [Path(name) for name in named if name]


def _ask_helper(helper: str, registry: str) -> str:
    """https://github.com/docker/docker-credential-helpers: the registry goes in by stdin, the credentials come by stdout."""
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=registry,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        answer = json.loads(done.stdout)
        return basic(answer["Username"], answer["Secret"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return ""


def _reason(error: BaseException) -> str:
    while isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason:
        error = error.reason
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name is not known here"
    if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(
        error, urllib3.exceptions.NewConnectionError
    ):
        return "timeout"
    text = str(error).rsplit(": ", 1)[-1]
    return redacted(text)[:200] or type(error).__name__
