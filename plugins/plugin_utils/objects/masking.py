# SPDX-License-Identifier: Apache-2.0
"""Masks secrets in all output of a run: a value that was once seen as a secret is masked wherever it appears.

Values are learnt from Secrets (described, rendered or read), and from chart values and container environments whose
name says that they are secret. All text that leaves the run (lines, diffs, plans, reports, records, errors) goes
through `text` or `document`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections.abc import Mapping
from typing import Any

# Masking a shorter value would hit half of every text.
_MIN_LENGTH = 6
_NAMES = re.compile(
    r"(passw(or)?d|passphrase|secret|token|api_?key|private_?key|access_?key|credential|client_?key|bearer)s?$",
    re.IGNORECASE,
)
# Names that end like a secret's but hold a reference, a name or a switch.
_REFERENCES = re.compile(r"(name|ref|file|path|existing\w*|secretkeyref|automount\w*)$", re.IGNORECASE)
# The password of `scheme://user:password@host`, wherever it stands.
_IN_ADDRESS = re.compile(r"(?<=://)(?P<user>[^\s/:@\"']*):[^\s/@\"']+(?=@)")
_HARMLESS = re.compile(r"^(true|false|\d{1,6}|none|null|default|enabled|disabled|optional|required)$", re.IGNORECASE)


def digest(value: str) -> str:
    """Tells two values apart, and reveals neither."""
    return f"(secret, sha256 {hashlib.sha256(value.encode()).hexdigest()[:8]})"


class Masker:
    """The secrets of one run. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, value: Any) -> None:
        """Learn one secret value, in each encoding in which it may appear."""
        if not isinstance(value, str) or len(value) < _MIN_LENGTH or _HARMLESS.match(value):
            return
        forms = {value, base64.b64encode(value.encode()).decode().rstrip("=")}
        # Multi-line values are shown and quoted line by line.
        forms |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * _MIN_LENGTH}
        with self._lock:
            if not forms <= self._values:
                self._values |= forms
                self._pattern = None

    def learn_document(self, document: Mapping[str, Any]) -> None:
        """Learn the values of a Secret; of any other object, the values of fields that are named like a secret."""
        if document.get("kind") == "Secret":
            for value in (document.get("stringData") or {}).values():
                self.learn(value)
            for value in (document.get("data") or {}).values():
                self.learn(value)
                self.learn(_decoded(value))
        else:
            self.learn_values(document)

    def learn_values(self, values: Any) -> None:
        """Chart values, or any nested data: strings behind a key, or an environment variable, that is named like a secret."""
        if isinstance(values, Mapping):
            name, value = values.get("name"), values.get("value")
            if isinstance(name, str) and isinstance(value, str) and _is_secret_name(name):
                self.learn(value)
            for key, item in values.items():
                if isinstance(item, str) and _is_secret_name(str(key)):
                    self.learn(item)
                else:
                    self.learn_values(item)
        elif isinstance(values, list):
            for item in values:
                self.learn_values(item)

    def text(self, text: str) -> str:
        """The text with every known secret masked, and passwords in addresses, known or not."""
        if "://" in text:
            text = _IN_ADDRESS.sub(r"\g<user>:(secret)", text)
        with self._lock:
            if not self._values:
                return text
            if self._pattern is None:
                longest_first = sorted(self._values, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            pattern = self._pattern
        return pattern.sub("(secret)", text)

    def data(self, value: Any) -> Any:
        """Nested data with every string masked; Secrets become digests."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            if value.get("kind") == "Secret" and "metadata" in value:
                value = masked_secret(value)
            return {key: self.data(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.data(item) for item in value]
        return value


def masked_secret(document: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret's values as digests; its form stays."""
    made = dict(document)
    for section in ("data", "stringData"):
        if isinstance(document.get(section), Mapping):
            made[section] = {key: digest(str(value)) for key, value in document[section].items()}
    metadata = dict(made.get("metadata") or {})
    if metadata.get("annotations"):
        kept = dict(metadata["annotations"])
        kept.pop("kubectl.kubernetes.io/last-applied-configuration", None)
        metadata["annotations"] = kept
    made["metadata"] = metadata
    return made


def _is_secret_name(name: str) -> bool:
    return bool(_NAMES.search(name)) and not _REFERENCES.search(name)


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
