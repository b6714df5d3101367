# SPDX-License-Identifier: Apache-2.0
"""What tests keep between sessions is found again for the same content, and for no other."""

import os
import time

import pytest

from tests.support import content_cache
from tests.support.content_cache import ContentCache, key_of


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(content_cache, "REPO", tmp_path)
    monkeypatch.setenv("LLM_ON_EKS_CACHE", str(tmp_path / "cache"))
    content_cache.digest_of.cache_clear()
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "main.yml").write_text("a: 1\n")
    yield tmp_path
    content_cache.digest_of.cache_clear()


def key(*parts):
    content_cache.digest_of.cache_clear()  # as in another session
    return key_of(*parts, sources=["roles"])


def test_the_key_is_of_the_variables_and_of_every_name_and_byte_of_the_sources(checkout):
    first = key({"zones": 2})
    assert key({"zones": 2}) == first
    assert key({"zones": 3}) != first
    (checkout / "roles" / "main.yml").write_text("a: 2\n")
    assert key({"zones": 2}) != first
    (checkout / "roles" / "main.yml").write_text("a: 1\n")
    assert key({"zones": 2}) == first
    (checkout / "roles" / "main.yml").rename(checkout / "roles" / "other.yml")
    assert key({"zones": 2}) != first


def test_a_value_is_found_until_nobody_has_used_it_for_long(checkout):
    kept = ContentCache("things")
    kept.put("old", [1])
    kept.put("used", [2])
    long_ago = time.time() - 365 * 24 * 3600
    for name in ("old", "used"):
        os.utime(checkout / "cache" / "tests" / "things" / f"{name}.json", (long_ago, long_ago))
    assert kept.get("used") == [2]
    kept.put("new", [3])
    assert (kept.get("old"), kept.get("used"), kept.get("new")) == (None, [2], [3])
