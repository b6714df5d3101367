# SPDX-License-Identifier: Apache-2.0
"""A request's head: parsed strictly by llhttp, then checked for what llhttp lets pass.

Everything a client sends goes through `HeadParser.parse`, whoever serves the request afterwards, so no second parser can see another
message than this one did (RFC 9112 section 11.2: request smuggling).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Protocol

import httptools

from llm_gateway.errors import ApiError, malformed
from llm_gateway.http.template import Template
from llm_gateway.protocols import doors, multipart

# Control characters, a CR or LF alone, and folded lines: each has carried a smuggled header somewhere.
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n|\n[ \t]")
_CONTENT_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(\d{1,15})\r\n")
_BEARER: Final = re.compile(rb"\r\n[Aa]uthorization: Bearer ([A-Za-z0-9._~+/=-]{1,1024})\r\n")
_DIGITS: Final = re.compile(rb"\d{1,15}")
_ABSOLUTE: Final = re.compile(rb"\Ahttps?://[A-Za-z0-9._:\[\]-]+(?=[/?]|\Z)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
# Neither identity is all zeros, and no version is ff: https://www.w3.org/TR/trace-context/#traceparent-header-field-values
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE: Final = re.compile(rb"[\x20-\x7e]{1,512}")
_RANK: Final = re.compile(rb"\d{1,5}")
_ADDRESSES: Final = re.compile(rb"[0-9A-Za-z.:,_ \[\]%-]{1,1024}")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_START: Final = re.compile(rb"[A-Z]{1,16}(?: |\Z)")
_ONCE: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"expect"}
)

# A client sends nearly the same head with every request; these many different ones are kept parsed.
CACHED_HEADS: Final = 4096
CACHED_HEAD_BYTES: Final = 2048


@dataclass(frozen=True, slots=True)
class Head:
    """What the head said. `digest` is the SHA-256 of the key shown, `token` the key itself; the body's length is told apart.

    `path` is the one that is served, whatever its spelling in `target`; `named_model` is the model that a path of Azure's kind names; `form` is
    the Content-Type of a form, with its boundary, and empty for anything else; `coding` is the body's content coding, in lower case; `origin` is
    the page's that a browser asks for; `lines` are header lines that go on to an engine, each beginning with CRLF; `forwarded` is
    X-Forwarded-For."""

    method: bytes
    target: bytes
    path: bytes
    http11: bool
    keep_alive: bool
    chunked: bool
    expects_continue: bool
    token: bytes | None
    digest: bytes | None
    request_id: bytes | None
    traceparent: bytes | None
    session: bytes | None
    priority: bytes | None
    named_model: bytes
    form: bytes
    coding: bytes
    origin: bytes | None
    lines: bytes
    forwarded: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    def without_key(self) -> Head:
        """What all clients share that differ in their key only. Nothing of the key, or of the other headers, is left in it."""
        return replace(self, token=None, digest=None, headers=())

    def canonical(self, content_length: int) -> bytes:
        """The head as one unambiguous message of a single request, for Sanic's own parser."""
        dropped = {
            b"connection",
            b"content-length",
            b"transfer-encoding",
            b"expect",
            b"upgrade",
            b"keep-alive",
            b"te",
            b"trailer",
        }
        asked, question, query = self.target.partition(b"?")
        target = self.target if asked == self.path else self.path + question + query
        lines = [b"%b %b HTTP/1.1\r\n" % (self.method, target)]
        lines += [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name not in dropped]
        if content_length >= 0:
            lines.append(b"content-length: %d\r\n" % content_length)
        lines.append(b"connection: close\r\n\r\n")
        return b"".join(lines)


class Prefetched(Protocol):
    """A table that can read an entry from memory before the entry is asked for (see callers/digest_table.py)."""

    def prefetch_slot(self, digest: bytes) -> None:
        """This digest will be asked for soon: read its entry."""

    def prefetch_value(self, digest: bytes) -> None:
        """Some time after `prefetch_slot`: read the value."""


class HeadParser:
    """Parses heads; keeps those of returning clients, by everything in them but the body's length and, on the data path, the key. `callers` is
    told of each key that is about to be looked up."""

    def __init__(self, callers: Prefetched | None = None) -> None:
        self._callers = callers
        self._cache: dict[bytes, Head] = {}
        self._shared: dict[bytes, Head] = {}

    def parse(self, head: bytes) -> tuple[Head, int]:
        """Head and body length (-1: none told) of `head`, which ends with its blank line. Raises ApiError (400, 501, 505)."""
        found = _CONTENT_LENGTH.search(head)
        if found is None:
            return read_head(head)
        start, end = found.span(1)
        key = head[:start] + head[end:]
        known = self._cache.get(key)
        if known is not None:
            return known, int(found[1])
        parsed, length = read_head(head)
        if _comes_again(head, parsed):
            _keep(self._cache, key, parsed)
        return parsed, length

    def find(self, head: bytes) -> tuple[Head, int, bytes | None, bytes | None]:
        """As `parse`, and the SHA-256 of the key shown, and the key. For a known head with a bearer token the Head is shared with other
        clients: it then holds no key and no headers. Raises ApiError (400, 501, 505)."""
        bearer = _BEARER.search(head)
        found = _CONTENT_LENGTH.search(head)
        if bearer is None or found is None:
            parsed, length = self.parse(head)
            return parsed, length, parsed.digest, parsed.token
        token = bearer[1]
        digest = sha256(token).digest()
        callers = self._callers
        if callers is not None:
            callers.prefetch_slot(digest)
        first, second = (bearer, found) if bearer.start(1) < found.start(1) else (found, bearer)
        # Both values are of harmless characters; all else has been through the parser, with values of the same kind in their places.
        rest = head[: first.start(1)] + head[first.end(1) : second.start(1)] + head[second.end(1) :]
        if callers is not None:
            callers.prefetch_value(digest)
        shared = self._shared.get(rest)
        if shared is not None:
            return shared, int(found[1]), digest, token
        parsed, length = read_head(head)
        if _comes_again(head, parsed) and parsed.token == token:
            _keep(self._shared, rest, parsed.without_key())
        return parsed, length, parsed.digest, parsed.token

    @staticmethod
    def template(head: bytes, parsed: Head) -> Template | None:
        """What tells the next request of the same connection, if it comes with the same head; None where that is unlikely."""
        if parsed.chunked or not _comes_again(head, parsed):
            return None
        found = _CONTENT_LENGTH.search(head)
        return None if found is None else Template(head[: found.start(1)], head[found.end(1) :])

    def forget(self) -> None:
        """Drop what is kept (keys have changed; a revoked one should not linger in memory)."""
        self._cache.clear()
        self._shared.clear()


def _comes_again(head: bytes, parsed: Head) -> bool:
    """Whether a head is worth keeping: those with an id, or a boundary, of their own never come again."""
    own = parsed.request_id is not None or parsed.traceparent is not None or parsed.form or parsed.coding
    return len(head) <= CACHED_HEAD_BYTES and not own


def _keep(cache: dict[bytes, Head], key: bytes, head: Head) -> None:
    if len(cache) >= CACHED_HEADS:
        cache.clear()
    cache[key] = head


def plausible(start: bytes) -> bool:
    """Whether an unfinished head can still become a request: tells TLS and garbage from a slow client at once."""
    return _START.match(start) is not None or (len(start) < 17 and start.isalpha() and start.isupper())


class _Collector:
    """llhttp's callbacks."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False
        self.parser: Any = None

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
        # Asked later, llhttp has forgotten it if the body is empty.
        self.keep_alive = self.parser.should_keep_alive()


def read_head(head: bytes) -> tuple[Head, int]:
    """Head and body length (-1: none told), always through the parser. Raises ApiError (400, 501, 505)."""
    if _FORBIDDEN.search(head) is not None:
        raise malformed("The request head contains a forbidden control character or a folded line.")
    collector = _Collector()
    parser = collector.parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # an upgrade that is ignored, as RFC 9110 section 7.8 allows (Java's client asks for h2c so)
    except httptools.HttpParserError as error:
        raise malformed("The request head is not HTTP/1.1.") from error
    finally:
        collector.parser = None  # they hold each other; garbage of that kind would wait long for its collection
    if not collector.complete:
        raise malformed("The request head is not HTTP/1.1.")
    version = parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise ApiError(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.", code="http_version_not_supported")
    # llhttp passes over empty lines before the request's, and over more than one space in it; Sanic does not.
    if not head.startswith(b"%b %b HTTP/%b\r\n" % (parser.get_method(), collector.url, version.encode())):
        raise malformed("The request line is not METHOD TARGET HTTP/1.1.")
    return _understand(parser, collector, version == "1.1")


def _understand(parser: httptools.HttpRequestParser, collector: _Collector, http11: bool) -> tuple[Head, int]:
    fields: dict[bytes, bytes] = {}
    for name, value in collector.headers:
        if name in fields and name in _ONCE:
            raise malformed(f"The header {name.decode('latin-1')} may be sent once only.")
        fields[name] = value
    if http11 and b"host" not in fields:
        raise malformed("The header host is missing.")
    # RFC 9112 section 3.2.2: the absolute form, as proxies are sent it, must be understood.
    # Without a path it asks for "/" (section 3.2.1).
    target, absolute = _ABSOLUTE.subn(b"", collector.url, 1)
    if absolute and not target.startswith(b"/"):
        target = b"/" + target
    if _TARGET.fullmatch(target) is None:
        raise malformed("The request target must be an absolute path.")
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise malformed("Content-Length and Transfer-Encoding exclude each other.")
        if coding.lower() != b"chunked" or not http11:
            raise ApiError(
                501, "Of the transfer codings only chunked is understood.", code="unsupported_transfer_coding"
            )
    if length is not None and _DIGITS.fullmatch(length) is None:
        raise malformed("Content-Length is not a number.")
    expectation = fields.get(b"expect")
    if expectation is not None and expectation.lower() != b"100-continue":
        raise ApiError(417, "Of the expectations only 100-continue is understood.", code="expectation_failed")
    shown = keys_shown(fields)
    token = shown[0] if shown else None
    method = bytes(parser.get_method())
    path, named_model = doors.served(target.partition(b"?")[0], posted=method == b"POST")
    content_type = fields.get(b"content-type", b"")
    request_id = fields.get(b"x-request-id")
    traceparent = fields.get(b"traceparent")
    return (
        Head(
            method=method,
            target=target,
            path=path,
            http11=http11,
            keep_alive=collector.keep_alive or (http11 and b"upgrade" in fields and _stays(fields)),
            chunked=coding is not None,
            expects_continue=expectation is not None and http11,
            token=token,
            digest=None if token is None else sha256(token).digest(),
            request_id=request_id if request_id is not None and _REQUEST_ID.fullmatch(request_id) else None,
            traceparent=traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None,
            session=fields.get(b"x-session-id"),
            priority=fields.get(b"x-priority"),
            named_model=named_model,
            form=content_type if content_type[: len(multipart.FORM)].lower() == multipart.FORM else b"",
            coding=_coding(fields),
            origin=fields.get(b"origin"),
            lines=_lines_for_engines(collector, fields),
            forwarded=_all_of(collector, b"x-forwarded-for", _ADDRESSES),
            headers=tuple(pair for pair in collector.headers if pair[0] != b"content-length"),
        ),
        -1 if length is None else int(length),
    )


def _stays(fields: dict[bytes, bytes]) -> bool:
    return b"close" not in fields.get(b"connection", b"").lower()


def _coding(fields: Mapping[bytes, bytes]) -> bytes:
    coding = fields.get(b"content-encoding", b"").strip().lower()
    return b"" if coding == b"identity" else coding


def _all_of(collector: _Collector, name: bytes, good: re.Pattern[bytes]) -> bytes:
    """A header that may come several times, as one (RFC 9110 section 5.3); nothing, if it is not as it should be."""
    value = b", ".join(value.strip() for found, value in collector.headers if found == name)
    return value if good.fullmatch(value) else b""


def _lines_for_engines(collector: _Collector, fields: Mapping[bytes, bytes]) -> bytes:
    lines = b""
    if b"tracestate" in fields and _TRACEPARENT.fullmatch(fields.get(b"traceparent", b"")):
        # The two go together (https://www.w3.org/TR/trace-context/#tracestate-header).
        state = _all_of(collector, b"tracestate", _TRACESTATE)
        lines += b"\r\ntracestate: " + state if state else b""
    rank = fields.get(b"x-data-parallel-rank")
    if rank is not None and _RANK.fullmatch(rank):
        lines += b"\r\nx-data-parallel-rank: " + rank  # vLLM's: which of its replicas is meant
    return lines


def keys_shown(fields: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys shown, the likeliest first: a bearer token, and the headers of Anthropic's (x-api-key) and Azure's (api-key) clients.

    A key is its bytes as they were sent; nothing decodes them. Another scheme of authorization is meant for something before us, such as an
    ingress with a password of its own."""
    scheme, __, token = fields.get(b"authorization", b"").partition(b" ")
    bearer = token.strip() if scheme.lower() == b"bearer" else b""
    return [key for key in (bearer, fields.get(b"x-api-key", b""), fields.get(b"api-key", b"")) if key]
