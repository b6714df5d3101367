# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations


class LocalClusterError(Exception):
    """What failed on a local cluster, why, and what to do about it, in one sentence."""
