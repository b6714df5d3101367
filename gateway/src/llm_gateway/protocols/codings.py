# SPDX-License-Identifier: Apache-2.0
"""Content codings of requests (RFC 9110 section 8.4): compressed bodies become what they were, as engines read no compressed ones.

gzip and deflate come with Python; zstd and br are read where their packages are installed (the extra `codings`).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, Final

from llm_gateway.errors import ApiError, too_large

_GZIP, _ZLIB, _RAW = 31, 15, -15
_CHECK_BYTES: Final = 2
# As RFC 9659 says: a decoder need not keep more.
_ZSTD_WINDOW_BYTES: Final = 8 << 20


class _Broken(Exception):
    """Not what the coding's name says."""


# (body, the most bytes that are wanted of it) → the decoded body, or of a longer one at least a byte more. Raises _Broken.
Decoder = Callable[[bytes, int], bytes]


def _gzip(body: bytes, most: int) -> bytes:
    pieces, size = [], 0
    while body:  # members follow each other (RFC 1952 section 2.2)
        piece, body = _inflated(body, _GZIP, most + 1 - size)
        pieces.append(piece)
        size += len(piece)
        if size > most:
            break
    return b"".join(pieces)


def _deflate(body: bytes, most: int) -> bytes:
    # Some senders leave the zlib format's head away (RFC 9110 section 8.4.1.2).
    headed = len(body) >= _CHECK_BYTES and body[0] & 15 == zlib.DEFLATED and not int.from_bytes(body[:2]) % 31
    return _inflated(body, _ZLIB if headed else _RAW, most + 1)[0]


def _inflated(body: bytes, window: int, most: int) -> tuple[bytes, bytes]:
    inflate = zlib.decompressobj(window)
    try:
        found = inflate.decompress(body, most)
    except zlib.error as error:
        raise _Broken(str(error)) from error
    if not inflate.eof and len(found) < most:
        raise _Broken("it ends too early")
    return found, inflate.unused_data


@cache
def decoders() -> dict[bytes, Decoder]:
    """All that can be read here, by name."""
    found: dict[bytes, Decoder] = {b"gzip": _gzip, b"x-gzip": _gzip, b"deflate": _deflate}
    with suppress(ImportError):
        found[b"zstd"] = _zstd()
    with suppress(ImportError):
        found[b"br"] = _brotli()
    return found


def _zstd() -> Decoder:
    zstandard: Any = import_module("zstandard")

    def decode(body: bytes, most: int) -> bytes:
        reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
            io.BytesIO(body), read_across_frames=True
        )
        try:
            return bytes(reader.read(most + 1))
        except zstandard.ZstdError as error:
            raise _Broken(str(error)) from error

    return decode


def _brotli() -> Decoder:
    brotli: Any = import_module("brotli")

    def decode(body: bytes, most: int) -> bytes:
        decoder = brotli.Decompressor()
        try:
            found: bytes = decoder.process(body, output_buffer_limit=most + 1)
        except brotli.error as error:
            raise _Broken(str(error)) from error
        if not decoder.is_finished() and len(found) <= most:
            raise _Broken("it ends too early")
        return found

    return decode


def decoded(coding: bytes, body: bytes, most: int) -> bytes:
    """The body without its coding, `most` bytes at most. Raises ApiError (400, 413, 415)."""
    decode = decoders().get(coding)
    if decode is None:
        raise _unsupported(f"Of content codings, {_names()} are read here. Send the body without one.")
    try:
        found = decode(body, most)
    except _Broken as error:
        raise _unsupported(f"The body is not {coding.decode('latin-1')}, as its head says: {error}.") from error
    if len(found) > most:
        raise too_large(most)
    return found


def _names() -> str:
    return ", ".join(sorted(name.decode() for name in decoders()))


def _unsupported(message: str) -> ApiError:
    return ApiError(415, message, code="unsupported_content_encoding", headers=(("accept-encoding", _names()),))
