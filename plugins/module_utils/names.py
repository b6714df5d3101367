# SPDX-License-Identifier: Apache-2.0
"""The names that are fixed once for the whole platform: labels, tags, namespaces, claims."""

from __future__ import annotations

FIELD_MANAGER = "llm.on_eks"

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "llm.on_eks"
# A label's prefix is a DNS name and cannot contain an underscore: so only here a dash.
LABEL_COMPONENT = "llm.on-eks/component"
LABEL_MODEL = "llm.on-eks/model"
LABEL_ENGINE = "llm.on-eks/engine"

TAG_CLUSTER = "llm.on_eks/cluster"
TAG_COMPONENT = "llm.on_eks/component"
# Only on resources that have no unique name of their own. `Name` is for people, who may change it.
TAG_NAME = "llm.on_eks/name"

NAMESPACE_GATEWAY = "llm-gateway"
NAMESPACE_ENGINES = "llm-engines"
NAMESPACE_MODELS = "llm-models"
CLAIM_MODELS = "models"
# The namespace of converge's own records and Lease.
NAMESPACE_SYSTEM = "llm-system"
LABEL_RECORD = "llm.on-eks/record"
LEASE = "converge"
