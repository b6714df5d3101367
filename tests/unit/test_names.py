# SPDX-License-Identifier: Apache-2.0
import re

from ansible_collections.llm.on_eks.plugins.module_utils import names

LABELS = [names.LABEL_COMPONENT, names.LABEL_MODEL, names.LABEL_ENGINE]


def test_every_label_of_ours_has_a_prefix_that_the_api_server_takes():
    # RFC 1123 subdomain, as in k8s.io/apimachinery's IsDNS1123Subdomain
    assert all(re.fullmatch(r"[a-z0-9.-]+/[a-z]+", label) for label in LABELS)


def test_every_name_of_ours_lies_in_our_own_domain():
    assert all(label.startswith("llm.on-eks/") for label in LABELS)
    assert all(tag.startswith("llm.on_eks/") for tag in [names.TAG_CLUSTER, names.TAG_COMPONENT, names.TAG_NAME])
