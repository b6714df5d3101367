# SPDX-License-Identifier: Apache-2.0
"""The page about a run: what decided how long it took, and nothing that must not be read."""

from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.base import Action, Outcome, Run, context_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.run_report import critical_path, page
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.result import ComponentResult, Result
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.scheduler import Done


def node(index, started, seconds, after=(), state="ok"):
    return Done(f"c{index}", "objects", state, Outcome(), started, seconds, index=index, after=after)


def test_the_critical_path_goes_back_over_what_ended_last():
    nodes = [node(0, 0, 1), node(1, 0, 5), node(2, 5, 2, after=[0, 1]), node(3, 1, 3, after=[0])]
    assert critical_path(nodes) == [1, 2]


def test_what_was_cancelled_decides_nothing():
    assert critical_path([node(0, 0, 1, state="failed"), node(1, 1, 0, after=[0], state="cancelled")]) == [0]
    assert critical_path([]) == []


def test_the_page_masks_secrets_and_escapes_what_it_shows():
    context = context_of(Run(None, check=True))
    context.run.masker.learn("correct-horse")
    component = ComponentResult(
        "present", actions=[Action("create", "ConfigMap <n>/a")], notes=["it says correct-horse"]
    )
    text = page(Result({"web": component}, [node(0, 0, 1)], 1.0, context))
    assert "correct-horse" not in text
    assert "ConfigMap &lt;n&gt;/a" in text
    assert "1.0 s, 1 components, 1 nodes, 1 changes" in text
