# SPDX-License-Identifier: Apache-2.0
"""What the URL of an engine says: where it is, how it is reached, and what is known of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from llm_gateway.errors import ConfigError

_URL = re.compile(
    r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?((?:/[A-Za-z0-9._~%!$&'()*+,;=:@-]*)*)"
)
_OPTIONS = ("ca_file", "key_file", "kind", "model", "name", "weight")


@dataclass(frozen=True, slots=True)
class EngineUrl:
    """One engine. `path` is the base path, without a slash at its end; `models` the names that it is asked for (none: all that it says it has);
    `key_file` holds the key that it is shown, `ca_file` who may vouch for it; empty: the gateway's own, the system's."""

    secure: bool
    host: str
    port: int
    path: str = ""
    name: str = ""
    kind: str = ""
    models: tuple[str, ...] = ()
    weight: float = 1.0
    key_file: str = ""
    ca_file: str = ""

    @property
    def place(self) -> tuple[str, int, str]:
        """What tells one engine from another."""
        return self.host, self.port, self.path


def read(url: str) -> EngineUrl:
    """`https://api.example/v1?key_file=/run/key&model=a,b` and the like. Raises ConfigError."""
    bare, __, query = url.partition("?")
    found = _URL.fullmatch(bare)
    if found is None or int(found[3] or 1) > 65535:
        raise ConfigError(f"engine: expected http://HOST:PORT or https://HOST/BASE/PATH (got {url!r})")
    secure = found[1] == "https"
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise ConfigError(f"engine: {unknown[0]!r} is not one of {', '.join(_OPTIONS)} (got {url!r})")
    if options.get("ca_file") and not secure:
        raise ConfigError(f"engine: ca_file is for https (got {url!r})")
    return EngineUrl(
        secure,
        found[2].removeprefix("[").removesuffix("]"),
        int(found[3] or (443 if secure else 80)),
        found[4].rstrip("/"),
        options.get("name", ""),
        options.get("kind", ""),
        tuple(name for name in options.get("model", "").split(",") if name),
        _weight(options.get("weight", "1"), url),
        options.get("key_file", ""),
        options.get("ca_file", ""),
    )


def read_all(urls: tuple[str, ...]) -> list[EngineUrl]:
    """All engines, each once. Raises ConfigError."""
    found = [read(url) for url in urls]
    places = [engine.place for engine in found]
    for engine in found:
        if places.count(engine.place) > 1:
            raise ConfigError(
                f"engine: {engine.host}:{engine.port}{engine.path} stands there twice; say all its models as ?model=A,B"
            )
    return found


def _weight(text: str, url: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise ConfigError(f"engine: weight is a number above 0 (got {url!r})")
    return weight
