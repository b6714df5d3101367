# SPDX-License-Identifier: Apache-2.0
"""One HTTP client: persistent connections, redirects, proxies, and the pauses that a server asks for.

Standard library only: the Job's image contains nothing else. Proxies and their exceptions come from the environment.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import os
import random
import re
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import AccessError, MissingError, ServerError

# Statuses that are worth a retry: https://www.rfc-editor.org/rfc/rfc9110#section-15
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
# Headers that are meant for one server alone.
_PRIVATE = ("authorization", "cookie", "proxy-authorization")
# What is left, and in how many seconds there is more: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
_RATE_LIMIT = re.compile(r";\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)")
_XML_MESSAGE = re.compile(r"<Message>([^<]{1,200})")

Say = Callable[[str], None]
Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]  # pylint: disable=unsupported-binary-operation


class CutError(Exception):
    """The connection broke, or the server asked for a retry; `wait_s` is the pause that it asked for, or None."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class ExpiredError(CutError):
    """The target of a redirect has expired."""


@dataclass(frozen=True)
class Patience:
    """`tries`: without any new byte between them. `wait_max_s`: longest single pause that a server may ask for."""

    tries: int = 8
    first_wait_s: float = 0.5
    wait_max_s: float = 900.0
    timeout_s: float = 60.0


@dataclass
class Client:
    """Safe to share: each thread has its own connections. `stopped` ends every wait."""

    patience: Patience = field(default_factory=Patience)
    say: Say = lambda _sentence: None
    stopped: threading.Event = field(default_factory=threading.Event)
    user_agent: str = "llm.on_eks-model-store"
    # False: proxies of the environment are not asked.
    proxied: bool = True

    def __post_init__(self) -> None:
        self._local = threading.local()
        self._tls = ssl.create_default_context()
        self._redirected: dict[str, str] = {}

    @contextlib.contextmanager
    def open(self, url: str, headers: Mapping[str, str], method: str = "GET") -> Iterator[http.client.HTTPResponse]:
        """One answer below 400, after redirects. CutError when a retry makes sense, SyncError when it does not."""
        first = url
        url = self._redirected.get(first, first)
        for __ in range(_MOST_REDIRECTS):
            connection, response = self._ask(method, url, _for(first, url, headers))
            if response.status not in _REDIRECTS:
                break
            target = response.headers.get("Location", "")
            response.read()
            url = urllib.parse.urljoin(url, target)
            if response.status in (302, 303, 307):
                self._redirected[first] = url
        else:
            raise ServerError(f"{shown(first)} redirects more than {_MOST_REDIRECTS} times")
        whole = False
        try:
            if response.status >= 400:
                self._refuse(first, url, response, _secrets(headers))
            yield response
            whole = response.isclosed()
        except (OSError, http.client.HTTPException) as problem:
            raise CutError(f"{type(problem).__name__}: {problem}") from problem
        finally:
            if not whole:
                self._drop(connection)

    def text(self, url: str, headers: Headers | None = None) -> tuple[str, Mapping[str, str]]:
        """A whole body and the headers, retried as often as `patience` says; `headers` may be computed again for each try."""

        def ask() -> tuple[str, Mapping[str, str]]:
            with self.open(url, headers() if callable(headers) else headers or {}) as response:
                return response.read().decode(), dict(response.headers)

        found: tuple[str, Mapping[str, str]] = self.again(ask, shown(url))
        return found

    def head(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of an answer without its body; names in lower case."""

        def ask() -> Mapping[str, str]:
            with self.open(url, headers, method="HEAD") as response:
                response.read()
                return {name.lower(): value for name, value in response.headers.items()}

        found: Mapping[str, str] = self.again(ask, shown(url))
        return found

    def json(self, url: str, headers: Headers | None = None) -> tuple[Any, Mapping[str, str]]:
        body, got = self.text(url, headers)
        try:
            return json.loads(body), got
        except ValueError as problem:
            raise ServerError(f"{shown(url)} did not answer with JSON: is it a mirror's error page?") from problem

    def again(self, step: Callable[[], Any], what: str, progress: Callable[[], int] = lambda: 0) -> Any:
        """Run `step` until it succeeds. The count of tries starts again whenever `progress` has grown. ServerError after the last."""
        tries, seen = 0, progress()
        while True:
            try:
                return step()
            except CutError as cut:
                if progress() > seen:
                    tries, seen = 0, progress()
                tries += 1
                if tries >= self.patience.tries:
                    raise ServerError(f"{what}: {cut}; given up after {tries} tries") from cut
                self._wait(what, cut, tries)

    def _wait(self, what: str, cut: CutError, tries: int) -> None:
        if cut.wait_s is not None and cut.wait_s > self.patience.wait_max_s:
            raise ServerError(
                f"{what}: {cut}, and asks for {cut.wait_s:.0f} s of patience; "
                f"{self.patience.wait_max_s:.0f} s are the most: run it again then"
            ) from cut
        backoff = self.patience.first_wait_s * 2 ** (tries - 1)
        wait = cut.wait_s if cut.wait_s is not None else min(backoff, 30.0) * random.uniform(0.5, 1)  # noqa: S311
        if wait > 2:
            self.say(f"{what}: {cut}; waiting {wait:.0f} s")
        if self.stopped.wait(wait):
            raise ServerError(f"{what}: stopped")

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urllib.parse.urlsplit(url)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        # The server may have closed an idle connection: that does not count as a failure.
        for fresh in (False, True):
            connection = self._connection(parts, fresh)
            target = url if getattr(connection, "plain_proxy", False) else path
            try:
                connection.request(method, target, headers={"User-Agent": self.user_agent, **headers})
                return connection, connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as problem:
                self._drop(connection)
                if fresh or not getattr(connection, "used", False):
                    raise CutError(f"{type(problem).__name__}: {problem}") from problem
            except (OSError, http.client.HTTPException) as problem:
                self._drop(connection)
                if isinstance(problem, ssl.SSLCertVerificationError):
                    raise ServerError(
                        f"{shown(url)} shows a certificate that is not trusted here: name your bundle in SSL_CERT_FILE"
                    ) from problem
                raise CutError(f"{parts.hostname} cannot be reached: {problem}") from problem
            finally:
                connection.used = True  # type: ignore[attr-defined]
        raise CutError("unreachable")

    def _connection(self, parts: urllib.parse.SplitResult, fresh: bool) -> http.client.HTTPConnection:
        kept: dict[str, http.client.HTTPConnection] = self._local.__dict__
        key = f"{parts.scheme}://{parts.netloc}"
        if fresh or key not in kept:
            kept[key] = self._connect(parts)
        return kept[key]

    def _connect(self, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        host, port, secure = parts.hostname or "", parts.port, parts.scheme == "https"
        proxy = _proxy(parts) if self.proxied else None
        at, at_port = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        made: http.client.HTTPConnection
        if secure:
            made = http.client.HTTPSConnection(at, at_port, timeout=self.patience.timeout_s, context=self._tls)
        else:
            made = http.client.HTTPConnection(at, at_port, timeout=self.patience.timeout_s)
        if proxy and secure:
            made.set_tunnel(host, port or 443, _proxy_key(proxy))
        elif proxy:
            made.plain_proxy = True  # type: ignore[attr-defined]
        return made

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        kept = self._local.__dict__
        for key in [key for key, one in kept.items() if one is connection]:
            del kept[key]

    def _refuse(self, first: str, url: str, response: http.client.HTTPResponse, secrets: Iterable[str]) -> None:
        status, where = response.status, shown(first)
        body = _masked(response.read(2000).decode(errors="replace"), secrets)
        if status in AGAIN:
            raise CutError(f"{urllib.parse.urlsplit(url).hostname} answered {status}", _retry_after(response))
        if url != first and status in (400, 401, 403, 404, 410):
            if self._redirected.get(first) == url:  # another thread may have opened a new one already
                del self._redirected[first]
            raise ExpiredError(f"the address that {where} redirects to answered {status}")
        if status in (401, 403):
            gate = _masked(response.headers.get("X-Error-Message", ""), secrets) or _first_line(body)
            raise AccessError(f"{where} answered {status}: {gate}")
        if status in (404, 410):
            raise MissingError(f"{where} is not there ({status})")
        raise ServerError(f"{where} answered {status}: {_first_line(body)}")


def shown(url: str) -> str:
    """The address without what may be secret: the query may hold a signature, the part before the host a password."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _for(first: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers for this server: a token is only sent to the server that it is meant for."""
    if urllib.parse.urlsplit(first).netloc == urllib.parse.urlsplit(url).netloc:
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in _PRIVATE}


def _secrets(headers: Mapping[str, str]) -> list[str]:
    return [value.rpartition(" ")[2] for name, value in headers.items() if name.lower() in _PRIVATE and value]


def _masked(text: str, secrets: Iterable[str]) -> str:
    """Without what was sent: some servers repeat a token that they refuse."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return text


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    """Seconds, or a date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after

    The Hub says it in RateLimit: https://huggingface.co/docs/hub/rate-limits
    """
    limit = _RATE_LIMIT.search(response.headers.get("RateLimit", ""))
    if limit and limit[1] == "0":
        return float(limit[2]) + 1  # it counts whole seconds
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _first_line(body: str) -> str:
    """What an error's body says: JSON, S3's XML, or text."""
    if said := _XML_MESSAGE.search(body):
        return said[1]
    try:
        found = json.loads(body)
        body = str(found.get("error") or found.get("message") or body)
    except (ValueError, AttributeError):
        pass
    return " ".join(body.split())[:200] or "it said nothing"


def _proxy(parts: urllib.parse.SplitResult) -> urllib.parse.SplitResult | None:
    found = urllib.request.getproxies().get(parts.scheme)
    if not found or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.parse.urlsplit(found if "://" in found else f"http://{found}")


def _proxy_key(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    import base64

    pair = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def token_from_environment() -> str:
    """HF_TOKEN, or the first line of the file that HF_TOKEN_PATH names, as huggingface_hub reads them."""
    token = os.environ.get("HF_TOKEN", "").strip()
    path = os.environ.get("HF_TOKEN_PATH", "")
    if not token and path:
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:  # noqa: PTH123
            token = file.readline().strip()
    return token
