# SPDX-License-Identifier: Apache-2.0
"""Whether the shared claim has room for what the catalogue names, as far as its sources have said how large that is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...module_utils.errors import LlmOnEksError

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([kMGTP]|[KMGTP]i)?")
_GIB = 2**30


class QuantityError(LlmOnEksError):
    """A text that is no size."""


def shortage(files: Mapping[str, Mapping[str, Any]], size: str) -> str:
    """What is missing, in a sentence; empty where the models fit. `files`: what model_sync said of each. Raises QuantityError."""
    sizes = {name: int(one.get("source_bytes") or one.get("size_bytes") or 0) for name, one in files.items()}
    total, room = sum(sizes.values()), quantity_bytes(size)
    if total <= room:
        return ""
    largest = ", ".join(f"{name} {sizes[name] / 1e9:.1f} GB" for name in sorted(sizes, key=sizes.__getitem__)[:-4:-1])
    return (
        f"models_size is {size}, and the models of the catalogue have {total / 1e9:.1f} GB ({largest}): "
        f"set it to {-(-total // _GIB)}Gi or more, and leave room for the next revision of the largest"
    )


def quantity_bytes(text: str) -> int:
    """Bytes of a quantity of Kubernetes, as 100Gi. Raises QuantityError."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise QuantityError(f"models_size is {text!r}, which is not a size: write 100Gi, for instance")
    unit = found[2] or ""
    base = 1024 if unit.endswith("i") else 1000
    return int(float(found[1]) * base ** (" KMGTP".index(unit[0].upper()) if unit else 0))
