# SPDX-License-Identifier: Apache-2.0
"""What is said of a gateway setting elsewhere follows from the gateway's own settings."""

from __future__ import annotations

from tools.gateway_settings import files


def test_nothing_that_follows_from_the_settings_is_stale() -> None:
    assert [path.name for path, text in files().items() if path.read_text(encoding="utf-8") != text] == []
