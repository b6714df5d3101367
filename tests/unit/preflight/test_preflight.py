# SPDX-License-Identifier: Apache-2.0
"""Every wrong input is found, named and given a mend; nothing right is complained about."""

import copy
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.arguments import check_value, unknown_variables
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.catalog import check_catalog, check_shares
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.specs import load_specs, prefixes

ROLES = Path(__file__).resolve().parents[3] / "roles"
GOOD = {
    "name": "llama-3.1-8b",
    "source": "hf://meta-llama/Llama-3.1-8B-Instruct",
    "revision": "0e9e39f249a16976918f6564b8830bc894c89659",
    "engine": "vllm",
    "accelerators": ["inf2.xlarge", "g6.xlarge"],
    "replicas": {"min": 1, "max": 4},
    "context": 8192,
    "autoscaling": {"signal": "queue", "target": 8},
    "state": "present",
}


def entry(**changes):
    return {**copy.deepcopy(GOOD), **changes}


def all_findings(catalog):
    spec = load_specs(ROLES)["model_catalog"]
    return [str(finding) for finding in [*check_value("model_catalog", catalog, spec), *check_catalog(catalog)]]


def test_the_example_of_the_documentation_is_accepted():
    assert all_findings([entry()]) == []


@pytest.mark.parametrize(
    ("catalog", "expected"),
    [
        ([entry(engin="vllm")], "model_catalog[llama-3.1-8b].engin is not a known key; did you mean engine."),
        (
            [entry(engine="vlm")],
            "model_catalog[llama-3.1-8b].engine is 'vlm'; choose one of vllm, tgi, tgw, llamacpp, sglang.",
        ),
        ([entry(replicas={"min": -1})], "model_catalog[llama-3.1-8b].replicas.min is -1; give 0 or more."),
        ([entry(replicas={"min": 5, "max": 4})], "has min 5 above max 4"),
        (
            [entry(replicas={"min": "two"})],
            "model_catalog[llama-3.1-8b].replicas.min is 'two', which is not a whole number",
        ),
        ([entry(), entry()], "two models of one name"),
        ([entry(), entry(name="llama-3-1-8b")], "the same Kubernetes name as 'llama-3.1-8b'"),
        ([entry(name="Llama_3")], "use at most 48 lower-case letters"),
        ([entry(source="meta-llama/Llama")], "begin it with one of hf://"),
        ([entry(rollout={"canary": [25, 5]})], "give rising percentages that end with 100"),
        ([entry(context=0)], "give a number of tokens, 1 or more"),
        ([{"name": "x"}], "model_catalog[x].source is missing; add it."),
        (["x"], "model_catalog[0] is 'x', which is not a mapping"),
    ],
)
def test_a_wrong_entry_is_named_with_its_mend(catalog, expected):
    assert any(expected in finding for finding in all_findings(catalog)), all_findings(catalog)


def test_steps_of_a_canary_are_named_as_not_followed():
    [finding] = check_catalog([entry(rollout={"canary": [5, 25, 100]})])
    assert finding.severity == "warning"
    assert "is not followed yet: a change reaches all clients at once; leave it out" in str(finding)


def test_a_share_of_a_model_that_nobody_serves_is_named():
    catalog = [entry(alias=["gpt"], lora=[{"name": "sql"}]), entry(name="gone", state="absent")]
    good = {"llama-3.1-8b": {"split": {"llama-3.1-8b": 9, "gpt": 1, "sql": 1, "own": 1}}, "own": {}, "x": None}
    assert list(check_shares(good, catalog)) == []
    wrong = check_shares({"a": {"split": {"gone": 1, "gpt": 1}}, "b": {"alias": "lama"}}, catalog)
    assert [(str(finding), finding.severity) for finding in wrong] == [
        (
            f"gateway_models[{name} holds '{target}', which the catalogue does not serve; name a model of the catalogue.",
            "warning",
        )
        for name, target in (("a].split", "gone"), ("b].alias", "lama"))
    ]


def test_all_findings_come_at_once():
    findings = all_findings([entry(engine="x", context=0, replicas={"min": -1}), entry(name="second", sourc="y")])
    assert len(findings) == 4


def test_an_absent_model_needs_no_valid_source():
    assert all_findings([entry(source="gone", state="absent")]) == []


def test_a_mistyped_variable_is_found_by_its_prefix():
    known = ["platform_local", "gateway_replicas"]
    names = {"platform_lokal": 1, "gateway_replicas": 2, "inventory_hostname": "x"}
    assert [str(f) for f in unknown_variables(names, known, ["platform_", "gateway_"])] == [
        "platform_lokal is not a variable of this collection; did you mean platform_local."
    ]


def test_text_that_means_a_boolean_is_one_because_surveys_send_text():
    assert list(check_value("x", "false", {"type": "bool"})) == []
    assert [f.mend for f in check_value("x", "maybe", {"type": "bool"})] == ["give a boolean (true or false)"]


def test_every_role_gives_its_name_as_a_prefix():
    assert {"gateway_", "platform_"} <= set(prefixes(ROLES))


def test_choices_of_a_list_are_those_of_its_items():
    spec = {"type": "list", "elements": "str", "choices": ["api", "audit"]}
    assert list(check_value("x", ["audit"], spec)) == list(check_value("x", [], spec)) == []
    assert [str(f) for f in check_value("x", ["api", "adit"], spec)] == ["x[1] is 'adit'; choose one of api, audit."]
