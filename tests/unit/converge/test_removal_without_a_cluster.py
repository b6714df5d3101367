# SPDX-License-Identifier: Apache-2.0
"""A removal of a component whose cluster is gone, or never was, has nothing to do in Kubernetes."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds import remove
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.base import Run, context_of


@pytest.mark.parametrize("node", [remove.PermissionNode, remove.RemoveNode, remove.CrdsRemovalNode, remove.PruneNode])
@pytest.mark.parametrize("check", [True, False])
def test_nothing_is_asked_of_a_cluster_that_is_not_there(node, check):
    (component,) = parse([{"name": "a", "state": "absent"}])
    assert not node(component).run(context_of(Run(None, check=check))).actions
