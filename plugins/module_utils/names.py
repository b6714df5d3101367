# SPDX-License-Identifier: Apache-2.0
"""The names that are fixed once for the whole platform: labels, tags, namespaces, claims."""

from __future__ import annotations

FIELD_MANAGER = "llm.on_eks"

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "llm.on_eks"
LABEL_COMPONENT = "llm.on_eks/component"
LABEL_MODEL = "llm.on_eks/model"
LABEL_ENGINE = "llm.on_eks/engine"

TAG_CLUSTER = "llm.on_eks/cluster"
TAG_COMPONENT = "llm.on_eks/component"

NAMESPACE_GATEWAY = "llm-gateway"
NAMESPACE_ENGINES = "llm-engines"
NAMESPACE_MODELS = "llm-models"
CLAIM_MODELS = "models"
