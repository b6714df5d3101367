# SPDX-License-Identifier: Apache-2.0
"""Kubernetes versions of EKS and their support: for checks where the account cannot be asked, and for the default."""

from __future__ import annotations

from collections.abc import Mapping

AS_OF = "2026-11-22"
SOURCE = "https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html"

# Version → end of standard and of extended support.
SUPPORT: Mapping[str, tuple[str, str]] = {
    "1.31": ("2025-11-26", "2026-11-26"),
    "1.32": ("2026-03-23", "2027-03-23"),
    "1.33": ("2026-07-29", "2027-07-29"),
    "1.34": ("2026-12-02", "2027-12-02"),
    "1.35": ("2027-03-27", "2028-03-27"),
    "1.36": ("2027-08-17", "2028-08-17"),
}


def newest(day: str) -> str:
    """The newest version in standard support on a day (YYYY-MM-DD)."""
    return max((name for name, (ends, __) in SUPPORT.items() if ends > day), key=_minor)


def _minor(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
