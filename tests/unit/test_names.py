# SPDX-License-Identifier: Apache-2.0
from ansible_collections.llm.on_eks.plugins.module_utils import names


def test_every_label_of_ours_lies_in_our_own_domain():
    ours = [names.LABEL_COMPONENT, names.LABEL_MODEL, names.LABEL_ENGINE, names.TAG_CLUSTER, names.TAG_COMPONENT]
    assert all(name.startswith("llm.on_eks/") for name in ours)
