# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' quantities as numbers. Pure."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_UNITS = {
    **{unit: Decimal(1000) ** power for power, unit in zip(range(-3, 7), ("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), strict=True)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}  # fmt: skip


def quantity(value: Any) -> Decimal | None:
    """`1.5Gi`, `500m`, 3 as a number; None for what is no quantity."""
    text = str(value)
    number = text.rstrip("numkKMGTPEi")
    factor = _UNITS.get(text[len(number) :])
    try:
        return Decimal(number) * factor if factor is not None else None
    except InvalidOperation:
        return None
