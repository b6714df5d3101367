# SPDX-License-Identifier: Apache-2.0
"""Request heads: what passes is what llhttp and Sanic read, however it is remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway_support.sanic_parser import sanic_reads
from sanic.exceptions import SanicException

from fuzz.target import Target
from llm_gateway.errors import ApiError
from llm_gateway.http.head import Head, HeadParser, read_head

START = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-1\r\n"
SEEDS = (
    START + b"Content-Length: 29\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n\r\n",
    START + b"transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n",
    START + b"content-length: 5\r\nx-request-id: a-1\r\nx-priority: high\r\nx-session-id: s\r\n\r\n",
    b"GET /v1/models?a=%20b HTTP/1.0\r\nconnection: keep-alive\r\nx-api-key: k\r\n\r\n",
    b"GET http://x?a=1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\n\r\n",
    b"GET /x HTTP/1.1\r\nhost: x\r\ntraceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\r\nte: trailers\r\n\r\n",
)
WORDS = (
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Length: ",
    b"content-length:",
    b"Transfer-Encoding: chunked",
    b"identity",
    b"Host: x\r\n",
    b"Authorization: Bearer ",
    b"Connection: close",
    b"Expect: 100-continue",
    b"Upgrade: websocket",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"POST ",
    b"HEAD ",
    b"CONNECT ",
    b"PRI * ",
    b"http://",
    b"x-api-key: ",
    b"api-key: ",
    b"trailer: ",
)


def outcome(parse: Callable[[bytes], Any], data: bytes) -> Any:
    """What was read, or the status it was refused with."""
    try:
        return parse(data)
    except ApiError as error:
        assert 400 <= error.status < 500 or error.status in (501, 505), error.status
        return error.status


def same_for_sanic(data: bytes, ours: Head, length: int) -> None:
    """Sanic reads the head, and its canonical form, as we do."""
    path, question, query = ours.target.partition(b"?")
    canonical = ours.target if path == ours.path else ours.path + question + query
    # Sanic knows the coding in small letters only, and takes fewer authorities; it never gets to see others.
    unusual = ours.chunked and dict(ours.headers).get(b"transfer-encoding") != b"chunked"
    unusual = unusual or not data.split(b" ", 2)[1].startswith(b"/")
    for form in (ours.canonical(length),) if unusual else (data, ours.canonical(length)):
        try:
            method, url, headers, body = sanic_reads(form)
        except SanicException as refused:
            raise AssertionError(f"Sanic refuses what we take ({refused}): {form!r}") from refused
        assert method.encode() == ours.method
        if form is data:
            assert url.encode() == ours.target
        else:
            assert url.encode() == canonical
        if form is data:
            assert body == ("chunked" if ours.chunked else length)
            known = {name.decode("latin-1"): value for name, value in ours.headers}
            for name, value in headers:
                if name in ("host", "authorization", "transfer-encoding"):
                    # Sanic takes blanks of all scripts from a value's ends.
                    assert value.strip() == known[name].decode("utf-8", "surrogateescape").strip()


def make() -> Callable[[bytes], None]:
    """See Target."""
    parser = HeadParser()

    def check(payload: bytes) -> None:
        data = payload[: payload.find(b"\r\n\r\n") + 4]
        exact = outcome(read_head, data)
        assert outcome(parser.parse, data) == outcome(parser.parse, data) == exact
        for __ in range(2):
            found = outcome(parser.find, data)
            if isinstance(found, int):
                assert found == exact
            else:
                head, length, digest, token = found
                ours, its_length = exact
                assert (head.without_key(), length) == (ours.without_key(), its_length)
                assert (digest, token) == (ours.digest, ours.token)
        if isinstance(exact, int):
            return
        ours, length = exact
        same_for_sanic(data, ours, length)
        template = parser.template(data, ours)
        if template is not None:
            # What follows is the body, or the next request.
            assert template.fit(payload) == (len(data), length)
            # And what fits is read as the same head.
            end, other = template.fit(data.replace(b": %d\r\n" % length, b": %d\r\n" % (length + 1)))
            assert not end or other in (length, length + 1)

    return check


HEAD = Target(make, SEEDS, WORDS)
