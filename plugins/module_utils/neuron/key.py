# SPDX-License-Identifier: Apache-2.0
"""When compiled graphs fit: one hash over every input that the compiler or the runtime sees.

The inputs are listed in docs/engines.md. None of them comes from the controller, so another Python there does not cause
a compilation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..aws.reference.accelerators import FAMILIES as ACCELERATORS
from .errors import InputError

SCHEMA = 1
BACKENDS = ("tnx", "optimum", "vllm")
# The compiler makes the same code for several: https://awsdocs-neuron.readthedocs-hosted.com/en/latest/compiler/
FAMILIES = {name: family.compiles_as for name, family in ACCELERATORS.items() if family.kind == "neuron"}
# Cores that a group may have: https://awsdocs-neuron.readthedocs-hosted.com/en/latest/ (collectives).
ALLOWED_TP = {name: family.parallel for name, family in ACCELERATORS.items() if family.parallel}
# In a config.json, and without any effect on the graphs.
_VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache")


@dataclass(frozen=True)
class Inputs:
    """All inputs of the key. `versions`: package -> version in the image that compiles, including the compiler's.

    `image_digest`: of that image; TNx hashes its graphs with the interpreter's path in them. `weights`: digest of the
    weights where the artifacts contain them, otherwise empty: graphs alone fit every fine-tune of an architecture.
    """

    backend: str
    target: str
    tp_degree: int
    batch_size: int
    n_positions: int
    dtype: str
    config_sha256: str
    versions: Mapping[str, str]
    quantization: str = ""
    buckets: tuple[int, ...] = ()
    neuron_config: Mapping[str, Any] = field(default_factory=dict)
    compiler_flags: tuple[str, ...] = ()
    logical_nc: int = 1
    image_digest: str = ""
    weights: str = ""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InputError(f"backend is {self.backend!r}: take one of {', '.join(BACKENDS)}")
        if self.target not in FAMILIES:
            raise InputError(f"target is {self.target!r}: take one of {', '.join(FAMILIES)}")
        allowed = ALLOWED_TP.get(self.target)
        if allowed and self.tp_degree not in allowed:
            raise InputError(
                f"tp_degree is {self.tp_degree}, which {self.target} cannot connect: take one of {', '.join(map(str, allowed))}"
            )
        for name in ("tp_degree", "batch_size", "n_positions", "logical_nc"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: give 1 or more")

    def parts(self) -> dict[str, Any]:
        """The hashed values in clear text. Orders without meaning are removed; inf2 and trn1 are one family."""
        found = asdict(self)
        found["target"] = FAMILIES[self.target]
        found["compiler_flags"] = sorted(self.compiler_flags)
        found["buckets"] = sorted(self.buckets)
        found["versions"] = dict(sorted(self.versions.items()))
        return found

    @property
    def key(self) -> str:
        """16 hex digits."""
        return hashlib.sha256(canonical(self.parts()).encode()).hexdigest()[:16]


def canonical(value: Any) -> str:
    """A canonical text. InputError for a float: its digits differ between languages."""
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def config_sha256(config: Mapping[str, Any]) -> str:
    """sha256 of the parts of a config.json that describe the architecture."""
    kept = {name: value for name, value in config.items() if name not in _VOLATILE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Difference:
    """A part of the key that differs."""

    part: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.part} is {_shown(self.found)}, not {_shown(self.wanted)}"


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """Every part that differs, member by member."""
    result: list[Difference] = []
    for part in sorted({*wanted, *found}):
        one, other = wanted.get(part), found.get(part)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            result += differences(one, other, f"{prefix}{part}.")
        elif _plain(one) != _plain(other):
            result.append(Difference(f"{prefix}{part}", one, other))
    return result


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return "not there" if value is None else json.dumps(value, sort_keys=True)


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise InputError(f"{value} is a fraction, which the key of artifacts does not take: write it in quotes")
    if isinstance(value, Mapping):
        for one in value.values():
            _refuse_floats(one)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            _refuse_floats(one)
