# SPDX-License-Identifier: Apache-2.0
"""Settings come from the environment: upstream's command line refuses flags that it does not know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import SettingsError

BACKENDS = ("tnx", "optimum")
DTYPES = ("bf16", "fp16", "fp32")


@dataclass(frozen=True)
class Settings:
    """`_s` seconds, `_bytes` bytes. A zero or empty shape is taken from the artifact's manifest, else from the model."""

    root: Path
    backend: str = ""
    artifacts: str = ""
    tp_degree: int = 0
    batch_size: int = 0
    n_positions: int = 0
    dtype: str = ""
    queue_max: int = 8
    queue_timeout_s: float = 60.0
    request_timeout_s: float = 900.0
    drain_s: float = 60.0
    hang_s: float = 180.0
    body_max_bytes: int = 8 << 20
    api_key: str = ""
    admin_key: str = ""
    allow_admin: bool = False
    unsupported: str = "reject"
    log_format: str = "json"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read TGW_ROOT and TEXTGEN_*. SettingsError names the variable, its value and what to write instead."""
    given = _Reader(os.environ if environment is None else environment)
    default = Settings(Path())
    return Settings(
        root=Path(given.text("TGW_ROOT", str(Path.cwd()))),
        backend=given.choice("TEXTGEN_NEURON_BACKEND", "", ("", *BACKENDS)),
        artifacts=given.text("TEXTGEN_NEURON_ARTIFACTS", ""),
        tp_degree=given.count("TEXTGEN_NEURON_TP", 0),
        batch_size=given.count("TEXTGEN_NEURON_BATCH", 0),
        n_positions=given.count("TEXTGEN_NEURON_N_POSITIONS", 0),
        dtype=given.choice("TEXTGEN_NEURON_DTYPE", "", ("", *DTYPES)),
        queue_max=given.count("TEXTGEN_QUEUE_MAX", default.queue_max),
        queue_timeout_s=given.seconds("TEXTGEN_QUEUE_TIMEOUT_S", default.queue_timeout_s),
        request_timeout_s=given.seconds("TEXTGEN_REQUEST_TIMEOUT_S", default.request_timeout_s),
        drain_s=given.seconds("TEXTGEN_DRAIN_S", default.drain_s),
        hang_s=given.seconds("TEXTGEN_HANG_S", default.hang_s),
        body_max_bytes=given.count("TEXTGEN_BODY_MAX_BYTES", default.body_max_bytes),
        api_key=given.secret("TEXTGEN_API_KEY_FILE"),
        admin_key=given.secret("TEXTGEN_ADMIN_KEY_FILE"),
        allow_admin=given.choice("TEXTGEN_ALLOW_ADMIN", "false", ("false", "true")) == "true",
        unsupported=given.choice("TEXTGEN_UNSUPPORTED_PARAMS", default.unsupported, ("reject", "ignore")),
        log_format=given.choice("TEXTGEN_LOG_FORMAT", default.log_format, ("json", "text")),
    )


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name) or default

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise SettingsError(f"{name} is {value!r}: give one of {', '.join(filter(None, choices))}")
        return value

    def count(self, name: str, default: int) -> int:
        value = self.text(name, str(default))
        if not value.isdigit():
            raise SettingsError(f"{name} is {value!r}: give a whole number, 0 or more")
        return int(value)

    def seconds(self, name: str, default: float) -> float:
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1e9:
            raise SettingsError(f"{name} is {value!r}: give seconds, 0 or more")
        return number

    def secret(self, name: str) -> str:
        """The first line of the file that a variable names: a key on the command line is seen by every process."""
        path = self.text(name, "")
        if not path:
            return ""
        try:
            key = Path(path).read_text(encoding="utf-8").strip()
        except OSError as problem:
            raise SettingsError(f"{name} names {path}, which cannot be read: {problem.strerror}") from problem
        if not key:
            raise SettingsError(f"{name} names {path}, which is empty: put the key into it")
        return key
