# SPDX-License-Identifier: Apache-2.0
"""The decisions about charts that need no cluster: reading YAML, made-up fields, ignored fields, managed fields."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import ignore
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.documents import chunks, parse, split
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.errors import ChartError, redacted
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.generated import (
    GeneratedField,
    blanked,
    compare,
    feed_back,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.lookups import Owned, answer_digest
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.takeover import merged_fields

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:30:45", "12:30:45"),
        ("2026-01-02", "2026-01-02"),
        ("=", "="),
        ("0644", 420),
        ("0o644", 420),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("yes", True),
        ("~", None),
        ("1.2.3", "1.2.3"),
        ("v1", "v1"),
        ("-5", -5),
    ],
)
def test_yaml_is_read_as_kubernetes_reads_it(text, value):
    assert parse(f"{HEAD}x: {text}\n")[0]["x"] == value


def test_a_document_that_is_no_object_is_refused():
    with pytest.raises(ChartError, match="without apiVersion and kind"):
        parse("a: b\n")
    with pytest.raises(ChartError, match="not YAML"):
        parse("a: [\n")


def test_output_is_cut_at_its_documents():
    found = chunks("---\n# Source: a/x.yaml\na: |\n  ---\n---\n# Source: a/y.yaml\nb: 1\n")
    assert [chunk.source for chunk in found] == ["a/x.yaml", "a/y.yaml"]


def test_text_of_a_secret_is_encoded_as_the_api_does():
    made = parse("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {key: value}\n")[0]
    assert made["data"] == {"key": "dmFsdWU="}
    assert "stringData" not in made


def test_a_hook_without_a_policy_is_deleted_before_it_is_made_again():
    __, __, hooks = split(
        parse(f"{HEAD[:-1].replace('{name: a}', '{name: a, annotations: {helm.sh/hook: post-install}}')}\n")
    )
    assert hooks[0].policies == ["before-hook-creation"]


def deployment(checksum):
    template = {"metadata": {"annotations": {"checksum": checksum}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": template}}


def password(value):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"password": value}}


FIELDS, __ = compare([password("a"), deployment("a")], [password("b"), deployment("b")], "ns")


def fed(live, same):
    documents, fresh = feed_back([password("new"), deployment("new")], FIELDS, live, "ns", same_input=same)
    return (
        documents[0]["data"]["password"],
        documents[1]["spec"]["template"]["metadata"]["annotations"]["checksum"],
        fresh,
    )


LIVE = {"/Secret/ns/s": password("old"), "apps/Deployment/ns/d": deployment("old")}


def test_living_values_are_fed_back():
    assert fed(LIVE, True) == ("old", "old", [])


def test_a_checksum_is_new_when_something_else_is_asked_for():
    secret, checksum, fresh = fed(LIVE, False)
    assert (secret, checksum) == ("old", "new")
    assert [field.derived for field in fresh] == [True]


def test_a_checksum_is_new_when_what_it_covers_is():
    assert fed({**LIVE, "/Secret/ns/s": None}, True)[:2] == ("new", "new")


def test_a_chart_may_leave_out_what_it_finds():
    bare = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    assert blanked([bare], FIELDS, "ns") == [bare]
    assert feed_back([bare], FIELDS, LIVE, "ns", same_input=True)[0] == [bare]


def test_an_object_with_another_name_each_time_is_told_apart():
    one, other = password("a"), password("a")
    other["metadata"] = {"name": "t"}
    assert compare([one], [other], "ns") == ([], ["/Secret/ns/s"])


def test_a_generated_field_reads_as_a_path():
    assert str(GeneratedField("apps/Deployment/ns/d", ("spec", "x", 0, "y"))) == "Deployment ns/d: spec.x[0].y"


WEBHOOK = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingWebhookConfiguration",
    "metadata": {"name": "w", "annotations": {"a.b/c": "1"}},
    "webhooks": [
        {"name": "x", "clientConfig": {"caBundle": "new"}},
        {"name": "y", "clientConfig": {"caBundle": "new"}},
    ],
}
LIVING = {
    **WEBHOOK,
    "metadata": {"name": "w", "annotations": {"a.b/c": "2", "other": "3"}},
    "webhooks": [{"name": "y", "clientConfig": {"caBundle": "old-y"}}, {"name": "x", "clientConfig": {}}],
}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("MutatingWebhookConfiguration/* webhooks[*].clientConfig.caBundle", [{}, {"caBundle": "old-y"}]),
        ("*/w webhooks[y].clientConfig.caBundle", [{"caBundle": "new"}, {"caBundle": "old-y"}]),
        ("*/w webhooks[0].clientConfig", [{}, {"caBundle": "new"}]),
        ("Secret/w webhooks[0].clientConfig", [{"caBundle": "new"}, {"caBundle": "new"}]),
    ],
)
def test_ignored_fields_are_left_as_they_live(text, made):
    left = ignore.leave(WEBHOOK, LIVING, [ignore.pattern(text)])
    assert [webhook["clientConfig"] for webhook in left["webhooks"]] == made


def test_a_quoted_key_may_hold_dots():
    left = ignore.leave(WEBHOOK, LIVING, [ignore.pattern('*/* metadata.annotations["a.b/c"]')])
    assert left["metadata"]["annotations"] == {"a.b/c": "2"}


@pytest.mark.parametrize("text", ["webhooks", "Kind/name", "/name path", "Kind/name a..b["])
def test_an_entry_of_ignore_that_is_none_is_refused(text):
    with pytest.raises(ChartError, match="KIND/NAME PATH"):
        ignore.pattern(text)


def test_fields_of_helm_become_ours():
    entries = [
        {"manager": "helm", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:a": {}}}},
        {"manager": "helm", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:b": {}}}},
        {"manager": "helm", "operation": "Update", "subresource": "status", "fieldsV1": {}},
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {}},
    ]
    made = merged_fields(entries, "v1")
    assert made[0]["manager"] == "llm.on_eks"
    assert made[0]["fieldsV1"] == {"f:data": {"f:a": {}, "f:b": {}}}
    assert [entry["manager"] for entry in made[1:]] == ["helm", "kubectl-edit"]
    assert merged_fields(entries[3:], "v1") is None


def test_a_look_up_sees_helms_marks_on_the_releases_own():
    owned = Owned("rel", "ns", frozenset({("", "Secret", "ns", "s")}))
    mine = owned.marked({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns"}})
    assert mine["metadata"]["annotations"]["meta.helm.sh/release-name"] == "rel"
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t", "namespace": "ns"}}
    assert owned.marked(other) == other


def test_an_answer_that_only_counts_on_is_the_same_answer():
    assert answer_digest(b'{"metadata":{"name":"a","resourceVersion":"1"}}') == answer_digest(
        b'{"metadata":{"name":"a","resourceVersion":"2"}}'
    )


def test_an_address_is_shown_without_its_password():
    assert redacted("https://user:password@example.com/x") == "https://example.com/x"
