# SPDX-License-Identifier: GPL-3.0-or-later
"""What scales the models of the catalogue."""

from __future__ import annotations

DOCUMENTATION = r"""
name: scalers
short_description: What scales the models of the catalogue
description: For each model with C(autoscaling), a ScaledObject of KEDA, or a HorizontalPodAutoscaler with the rule that records its metric.
options:
  _input:
    description: The catalogue.
    type: list
    elements: dict
    required: true
  by:
    description: V(keda), V(hpa), or V(seed), the walk-through's autoscaler for models of TGI.
    type: str
    choices: [keda, hpa, seed]
    required: true
  signals:
    description: Only models that are scaled by these. Those that go down to no pod are always KEDA's.
    type: list
    elements: str
    required: true
  prometheus:
    description: Address of Prometheus, for KEDA.
    type: str
"""
EXAMPLES = r"""
manifests: "{{ model_catalog | llm.on_eks.scalers('keda', ['queue'], prometheus_url) }}"
"""
RETURN = r"""
_value:
  description: Objects.
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.llm.on_eks.plugins.filter.engine_components import plain


def scalers(catalog: Any, by: str, signals: Any, prometheus: str = "") -> Any:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.engines import scaling

    models = scaling.scaled(plain(catalog), plain(signals), by_keda=by == "keda")
    if by == "keda":
        return scaling.scaled_objects(models, prometheus)
    return [scaling.recorded(models), *scaling.autoscalers(models, seed=by == "seed")] if models else []


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"scalers": scalers}
