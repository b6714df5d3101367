# SPDX-License-Identifier: Apache-2.0
"""The environment of programs that only talk to this machine."""

from __future__ import annotations

import os

_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def without_proxies() -> dict[str, str]:
    """Our environment without proxies: a cluster's programs have nothing to ask outside."""
    return {name: value for name, value in os.environ.items() if name.lower() not in _PROXIES}
