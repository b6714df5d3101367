# SPDX-License-Identifier: Apache-2.0
"""The access log: one JSON object a line, written in batches. No prompt, no answer, no key is ever in it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final

import msgspec

from llm_gateway.errors import ConfigError
from llm_gateway.telemetry.access_log_line import Line

# Small enough to stay in the L1 cache.
BATCH_BYTES: Final = 16 << 10


class AccessLog:
    """Where lines go: a file (opened for appending; again after `reopen`), standard output, or nowhere."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._lines = bytearray()
        self._used = 0  # of these bytes; what comes after it is of a batch that was written
        self._encode_into = msgspec.json.Encoder().encode_into
        self._descriptor = -1
        self.reopen()

    @property
    def enabled(self) -> bool:
        """Whether anything is written at all."""
        return self._descriptor >= 0

    def reopen(self) -> None:
        """Open the file (again, after it was rotated). Raises ConfigError."""
        if not self._target:
            return
        self.flush()
        if self._target == "-":
            self._descriptor = sys.stdout.fileno()
            return
        try:
            descriptor = os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigError(f"access log {self._target}: cannot be opened: {error.strerror}") from error
        old, self._descriptor = self._descriptor, descriptor
        if old >= 0:
            os.close(old)

    def write(self, line: Line) -> None:
        """Take one line; it is on disk with the batch."""
        lines = self._lines
        self._encode_into(line, lines, self._used)
        lines += b"\n"
        self._used = len(lines)
        if self._used >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is there. A full disk loses lines, never requests."""
        size, self._used = self._used, 0
        if not size or self._descriptor < 0:
            return
        written = 0
        with memoryview(self._lines) as lines, suppress(OSError):
            while written < size:
                written += os.write(self._descriptor, lines[written:size])
