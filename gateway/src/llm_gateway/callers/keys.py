# SPDX-License-Identifier: Apache-2.0
"""Who may ask: keys, stored as SHA-256 only, found by hash.

Finding a key is one look-up of its SHA-256. An attacker who times the look-up learns about hashes of guesses, from which nothing about a
key follows; so no comparison here depends on the secret itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from llm_gateway.config.key_documents import ANONYMOUS, Key, KeyDocument
from llm_gateway.errors import UNREADABLE, ConfigError

if TYPE_CHECKING:
    from llm_gateway.callers.jwt import TokenVerifier

_HEX: Final = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class KeyStore:
    """Keys by hash. `find` is all that the data path calls."""

    def __init__(
        self,
        keys: Iterable[tuple[bytes, Key]] = (),
        *,
        anonymous: bool = False,
        tokens: TokenVerifier | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._anonymous = anonymous
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, digest: bytes | None, token: bytes | None = None) -> Key | None:
        """The key with this SHA-256, if it is known and in its time; or whom a signed `token` names."""
        if digest is None:
            return ANONYMOUS if self._anonymous else None
        key = self._keys.get(digest)
        if key is None:
            if self._tokens is not None and token is not None:
                key = self._tokens.find(digest, token)
            return key or (ANONYMOUS if self._anonymous else None)
        if key.expires_at is not None and time.time() >= key.expires_at:
            return None
        return key

    def stored(self, digest: bytes) -> bool:
        """Whether this is a configured key's SHA-256."""
        return digest in self._keys

    def all(self) -> list[Key]:
        """All keys, one for each name, sorted by it."""
        return sorted({key.name: key for key in reversed(self._keys.values())}.values(), key=lambda key: key.name)

    def names(self) -> list[str]:
        """All key names, sorted."""
        found = {key.name for key in self._keys.values()}
        if self._tokens is not None:
            found |= self._tokens.names()
        return sorted(found)


def moment(value: float | str | None, where: str) -> float | None:
    """Seconds since the epoch, from a number or an ISO 8601 time with its zone. Raises ConfigError."""
    if value is None or isinstance(value, int | float):
        return value
    from datetime import datetime

    try:
        parsed = datetime.fromisoformat(value)
    except ValueError as error:
        raise ConfigError(f"{where}: not an ISO 8601 time: {value!r}") from error
    if parsed.tzinfo is None:
        raise ConfigError(f"{where}: say the zone, as in 2027-01-01T00:00:00Z (got {value!r})")
    return parsed.timestamp()


def _digest(text: str, where: str) -> bytes:
    found = _HEX.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{where}: expected sha256: and 64 hexadecimal digits")
    return bytes.fromhex(found[1])


def read_key_document(name: str, content: str) -> list[tuple[bytes, Key]]:
    """The hashes and keys of one file of a keys folder. Raises ConfigError that names the file, never what is in it."""
    where = f"key {name}"
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"{where}: a key's name is letters, digits, dot, dash and underscore")
    text = content.strip()
    if not text.startswith("{"):
        return [(_digest(text, where), Key(name=name, tenant=name))]
    try:
        document = msgspec.json.decode(text.encode(), type=KeyDocument)
    except UNREADABLE as error:
        raise ConfigError(f"{where}: {error}") from error
    expires_at = moment(document.expires, where)
    if document.name is not None:
        if _NAME.fullmatch(document.name) is None:
            raise ConfigError(f"{where}: name: letters, digits, dot, dash and underscore only")
        name = document.name

    def key(until: float | None) -> Key:
        ends = [moment_ for moment_ in (expires_at, until) if moment_ is not None]
        return Key(
            name=name,
            tenant=document.tenant or name,
            models=None if document.models is None else frozenset(document.models),
            classes=None if document.classes is None else frozenset(document.classes),
            weight=document.weight,
            expires_at=min(ends) if ends else None,
            admin=document.admin,
            limits=document.limits,
        )

    if document.weight <= 0:
        raise ConfigError(f"{where}: weight must be above 0")
    found = [(_digest(document.sha256, where), key(None))]
    previous_until = moment(document.previous_until, where)
    found += [(_digest(old, where), key(previous_until)) for old in document.previous]
    return found


def read_keys_dir(folder: Path) -> list[tuple[bytes, Key]]:
    """All keys of a folder, as a mounted Secret has them (names that begin with a dot are the mount's own). Raises ConfigError."""
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
        contents = [(path.name, path.read_text(encoding="utf-8")) for path in files]
    except OSError as error:
        raise ConfigError(f"keys folder {folder}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"keys folder {folder}: a file is not text: {error.reason}") from error
    return [pair for name, content in contents for pair in read_key_document(name, content)]


def read_key_file(path: Path) -> list[tuple[bytes, Key]]:
    """The keys of a file with one key a line: plain, `sha256:HEX`, or a JSON object with a name. Raises ConfigError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"API key file {path}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        name = f"key-{number}"
        if text.startswith((b"{", b"sha256:")):
            found += read_key_document(name, text.decode("utf-8", "replace"))
        else:
            found.append((sha256(text).digest(), Key(name=name, tenant=name)))
    return found


def read_keys(keys_dir: str, api_key_file: str) -> list[tuple[bytes, Key]]:
    """All configured keys. Raises ConfigError."""
    found: list[tuple[bytes, Key]] = []
    if api_key_file:
        found += read_key_file(Path(api_key_file))
    if keys_dir:
        found += read_keys_dir(Path(keys_dir))
    return found
