# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's settings of models that follow from the catalogue."""

from __future__ import annotations

DOCUMENTATION = r"""
name: catalog_routes
short_description: Further names and fallback models of the catalogue, as the gateway reads them
description:
  - The entries' C(alias) and C(fallbacks), in the form of C(gateway_models).
  - A model that is scaled down to no pod is named, so that it is known without one, with how long its first request waits.
options:
  _input:
    description: The model catalogue.
    type: list
    elements: dict
    required: true
  hold:
    description: Seconds that a request may wait for a model that is scaled down to no pod; 0, as long as for any other.
    type: float
    default: 0
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


def catalog_routes(catalog: Iterable[Mapping[str, Any]], hold: float = 0) -> dict[str, dict[str, Any]]:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.scaling import scaled

    found: dict[str, dict[str, Any]] = {}
    for entry in catalog:
        if entry.get("state", "present") != "present":
            continue
        goes_to_none = any(model.least == 0 for model in scaled([entry]))
        own: dict[str, Any] = {"fallbacks": [str(name) for name in entry.get("fallbacks") or ()]}
        # Refused requests are not counted, so nothing would bring the first pod.
        own["hold_timeout"] = hold if goes_to_none else 0
        if goes_to_none or own["fallbacks"]:
            found[str(entry["name"])] = {name: value for name, value in own.items() if value}
        for name in entry.get("alias") or ():
            found[str(name)] = {"alias": str(entry["name"])}
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"catalog_routes": catalog_routes}
