# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.models.claim import QuantityError, quantity_bytes, shortage

FILES = {"llama": {"source_bytes": 16_060_000_000, "size_bytes": 0}, "tiny": {"source_bytes": 0, "size_bytes": 2**20}}


def test_a_claim_with_room_lacks_nothing():
    assert shortage(FILES, "100Gi") == shortage({}, "1Mi") == ""


def test_a_claim_that_is_too_small_is_told_what_it_needs():
    said = shortage(FILES, "10Gi")
    assert said.startswith("models_size is 10Gi, and the models of the catalogue have 16.1 GB (llama 16.1 GB, tiny")
    assert "set it to 15Gi or more" in said


@pytest.mark.parametrize(
    ("text", "size"), [("100Gi", 100 * 2**30), ("1.5T", 1.5e12), ("3", 3), ("2k", 2000), ("1Ki", 1024)]
)
def test_quantities_are_those_of_kubernetes(text, size):
    assert quantity_bytes(text) == size


def test_what_is_no_size_is_refused():
    with pytest.raises(QuantityError, match=r"models_size is '100GB', which is not a size"):
        quantity_bytes("100GB")
