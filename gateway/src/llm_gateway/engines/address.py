# SPDX-License-Identifier: Apache-2.0
"""Where an engine is: host, port, TLS, and the base path under which its own paths stand."""

from __future__ import annotations

import re
import ssl
from functools import lru_cache
from typing import Final

from llm_gateway.errors import ConfigError

_VERSION: Final = re.compile(r"/v\d+[a-z0-9]*(?=/|\Z)")
_V1: Final = b"/v1"


@lru_cache(maxsize=64)
def tls_context(ca_file: str) -> ssl.SSLContext:
    """How an engine's certificate is verified. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"engine: ca_file {ca_file}: {error}") from error
    if ca_file:
        # Private CAs often lack what Python 3.13 wants besides; chain, dates and name are verified as ever.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context


class Address:
    """`host` and `port` to connect to, `tls` if that is to be verified and secret, `text` for people, `authority` for the header `host`.

    A base path with a version in it (`/openai/v1`, `/v1beta/openai`), as OpenAI's clients are given it, stands for `/v1`; another (`/llm`)
    stands before that."""

    __slots__ = ("_before", "_v1", "authority", "based", "host", "port", "text", "tls")

    def __init__(self, host: str, port: int, path: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        shown = f"[{host}]" if ":" in host else host
        self.text = f"{shown}:{port}{path}"
        self.authority = shown if tls is not None and port == 443 else f"{shown}:{port}"
        version = _VERSION.search(path)
        self._before = (path if version is None else path[: version.start()]).encode()
        self._v1 = (path + "/v1" if version is None else path).encode()
        self.based = self._v1 != _V1

    def target(self, path: bytes) -> bytes:
        """What is asked for at the engine for one of OpenAI's paths, or of its own."""
        if not self.based:
            return path
        return self._v1 + path[3:] if path.startswith(b"/v1/") else self._before + path
