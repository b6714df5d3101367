# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's settings of models that follow from the catalogue."""

from __future__ import annotations

DOCUMENTATION = r"""
name: catalog_routes
short_description: Further names and fallback models of the catalogue, as the gateway reads them
description: The entries' C(alias) and C(fallbacks), in the form of C(gateway_models).
options:
  _input:
    description: The model catalogue.
    type: list
    elements: dict
    required: true
"""
EXAMPLES = r"""
models: "{{ model_catalog | llm.on_eks.catalog_routes | combine(gateway_models, recursive=true) }}"
"""
RETURN = r"""
_value:
  description: Model, or further name of one, with its settings.
  type: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any


def catalog_routes(catalog: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """See DOCUMENTATION."""
    found: dict[str, dict[str, Any]] = {}
    for entry in catalog:
        if entry.get("state", "present") != "present":
            continue
        if entry.get("fallbacks"):
            found[str(entry["name"])] = {"fallbacks": [str(name) for name in entry["fallbacks"]]}
        for name in entry.get("alias") or ():
            found[str(name)] = {"alias": str(entry["name"])}
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"catalog_routes": catalog_routes}
