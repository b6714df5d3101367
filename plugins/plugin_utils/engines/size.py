# SPDX-License-Identifier: Apache-2.0
"""The size of a catalogue entry's model, as far as the entry or its name tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...module_utils.aws.estimate.model_size import Given, estimate
from ...module_utils.aws.estimate.sizing import Need


def given_of(entry: Mapping[str, Any], file_size_bytes: int = 0) -> Given:
    """What a catalogue entry says about its model's size. `file_size_bytes`: where its source is a file that can be looked at."""
    return Given(
        name=str(entry["name"]),
        source=str(entry.get("source") or ""),
        context=int(entry.get("context") or 4096),
        parameters=str(entry.get("parameters") or ""),
        weights_gib=float(entry["weights_gib"]) if entry.get("weights_gib") else None,
        quantization=str(entry.get("quantization") or ""),
        file_size_bytes=file_size_bytes,
    )


def need_of(entry: Mapping[str, Any]) -> Need | None:
    """The memory that the entry's model needs on an accelerator, in MiB; None where its size is not known."""
    try:
        return estimate(given_of(entry)).need
    except ValueError:
        return None


def transfer_seconds(entry: Mapping[str, Any], mb_per_s: float, size_bytes: int = 0) -> int:
    """Seconds to move the entry's weights at this rate. `size_bytes`: where it is known; 0 seconds where nothing is known."""
    need = None if size_bytes else need_of(entry)
    known = size_bytes or (need.weights_mib * 2**20 if need else 0)
    return round(known / (mb_per_s * 1e6))
