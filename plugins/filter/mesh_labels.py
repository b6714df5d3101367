# SPDX-License-Identifier: GPL-3.0-or-later
"""How a pod joins the mesh."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mesh_labels
short_description: Labels by which a pod joins the mesh of role C(istio)
description:
  - A pod joins, and leaves, because the template that it is made from changes. A label of its namespace would take in pods that serve, and cut
    the connections that they have (istio/istio#48876).
options:
  _input:
    description: C(istio_state).
    type: str
    required: true
  variant:
    description: C(istio_variant).
    type: str
    required: true
"""
EXAMPLES = r"""
labels: "{{ istio_state | default('skip') | llm.on_eks.mesh_labels(istio_variant | default('ambient')) }}"
"""
RETURN = r"""
_value:
  description: The labels; none where a pod is not to be in the mesh.
  type: dict
"""

from typing import Any


def mesh_labels(state: str, variant: str) -> dict[str, str]:
    """See DOCUMENTATION."""
    if variant == "seed":
        # With `skip`, somebody else's injector may be there.
        return {"sidecar.istio.io/inject": "true"} if state != "absent" else {}
    return {"istio.io/dataplane-mode": "ambient"} if state == "present" else {}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"mesh_labels": mesh_labels}
