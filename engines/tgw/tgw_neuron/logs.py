# SPDX-License-Identifier: Apache-2.0
"""One JSON object a line on stdout, without secrets, whatever upstream has set up."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable

# Upstream's own logger was renamed in v4.5.
UPSTREAM_LOGGERS = ("textgen", "text-generation-webui")
_HIDDEN = "[hidden]"


class JsonFormatter(logging.Formatter):
    """`secrets`: strings that are replaced wherever they stand, in tracebacks too."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: self._masked(value) for key, value in entry.items()}, ensure_ascii=False)

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text


class TextFormatter(JsonFormatter):
    """The same facts for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        entry = json.loads(super().format(record))
        trace = f"\n{entry['exception']}" if "exception" in entry else ""
        return f"{entry['time']} {entry['level']} {entry['message']}{trace}"


def set_up(secrets: Iterable[str], log_format: str) -> None:
    """Replace every handler: upstream's wrap lines at a terminal's width and print keys."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter((JsonFormatter if log_format == "json" else TextFormatter)(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in (*UPSTREAM_LOGGERS, __package__ or "tgw_neuron"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(logging.INFO)
