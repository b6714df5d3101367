# SPDX-License-Identifier: Apache-2.0
"""Drift: where the cluster differs from the inventory, who changed it, and when. It reports the plan's comparison."""

from __future__ import annotations

import datetime
import fnmatch
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

import msgspec

from ..kinds.base import Action
from ..objects.compare import paths
from ..objects.identity import Identity
from ..objects.ownership import extra_fields, owner_of
from ..run.result import Result

State = Literal["none", "drift", "error"]
_WORDS = {
    "create": "missing",
    "run": "missing",
    "update": "changed",
    "recreate": "changed",
    "adopt": "foreign",
    "delete": "surplus",
}


class Field(msgspec.Struct, frozen=True):
    """One field: its desired and its live value, who holds it and since when (empty where the API does not say)."""

    path: str
    wanted: Any
    found: Any
    manager: str = ""
    since: str = ""


class Finding(msgspec.Struct, frozen=True):
    """One object that differs. `extra`: fields that somebody added by hand and that are not described; a run leaves them."""

    component: str
    object: str
    kind: Literal["missing", "changed", "foreign", "surplus", "extra"]
    fields: list[Field]


class Report(msgspec.Struct, frozen=True):
    """`state`: none, drift or error. With error, `errors` says what could not be compared."""

    cluster: str
    at: str
    state: State
    findings: list[Finding]
    ignored: int
    errors: list[str]
    compared: int


def report_of(result: Result, cluster: str, ignore: Sequence[Mapping[str, str]] = ()) -> Report:
    """From a run in check mode. `ignore`: rules with any of component, object and path; each may contain `*` and `?`."""
    findings = list(_findings(result))
    kept = [left for finding in findings if (left := _without_ignored(finding, ignore)) is not None]
    state: State = "error" if result.errors else ("drift" if kept else "none")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    compared = sum(len(result.context.desired.of(name)) for name in result.components)
    return Report(cluster, now, state, kept, len(findings) - len(kept), result.errors, compared)


def failed(cluster: str, error: str) -> Report:
    """The report of a comparison that could not start."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Report(cluster, now, "error", [], 0, [error], 0)


def _findings(result: Result) -> Iterator[Finding]:
    mask = result.masker.data
    for name, component in result.components.items():
        for action in component.actions:
            yield Finding(name, action.subject, _WORDS[action.verb], _fields(action, mask))  # type: ignore[arg-type]
    owners = _owners(result)
    for target, live in sorted(result.context.desired.seen().items()):
        if target not in owners:
            continue
        described = _described(result.context.desired.of(owners[target])[target])
        fields = [
            Field(path, None, mask(value), owner.manager, owner.time)
            for path, value, owner in extra_fields(live)
            if path not in described
        ]
        if fields:
            yield Finding(owners[target], str(target), "extra", fields)


def _described(document: Mapping[str, Any]) -> set[str]:
    """All described paths, each with its ancestors: a map that is owned as a whole counts as described."""
    if document["kind"] == "Secret":
        document = {**document, "data": {**(document.get("data") or {}), **(document.get("stringData") or {})}}
    found = set()
    for path in paths(document):
        found |= {path, *(path[: match.start()] for match in re.finditer(r"[.\[]", path))}
    return found


def _owners(result: Result) -> dict[Identity, str]:
    return {target: name for name in result.components for target in result.context.desired.of(name)}


def _fields(action: Action, mask: Any) -> list[Field]:
    found = []
    for change in action.changes:
        owner = owner_of(action.before, change.path) if action.before else None
        manager, since = (owner.manager, owner.time) if owner else ("", "")
        found.append(Field(change.path, mask(change.after), mask(change.before), manager, since))
    return found


def _without_ignored(finding: Finding, rules: Sequence[Mapping[str, str]]) -> Finding | None:
    """The finding without the fields that a rule covers; None when no field is left."""
    mine = [
        rule
        for rule in rules
        if fnmatch.fnmatchcase(finding.component, rule.get("component", "*"))
        and fnmatch.fnmatchcase(finding.object, rule.get("object", "*"))
    ]
    if any("path" not in rule for rule in mine):
        return None
    left = [
        one
        for one in finding.fields
        if not any(fnmatch.fnmatchcase(one.path, rule["path"].replace("[", "[[]")) for rule in mine)
    ]
    if finding.fields and not left:
        return None
    return msgspec.structs.replace(finding, fields=left)


# --- files


def write(report: Report, folder: Path) -> list[Path]:
    """drift.json, drift.xml (JUnit: one case a component) and drift.html in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "drift.json": msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n",
        "drift.xml": _junit(report),
        "drift.html": _page(report),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def lines(report: Report) -> str:
    """For people, in a log."""
    said = [
        f"  {finding.kind:<8} {finding.component}  {finding.object}"
        + "".join(f"\n             {_field_text(one)}" for one in finding.fields)
        for finding in report.findings
    ]
    tail = f", {report.ignored} ignored" if report.ignored else ""
    return "\n".join(
        [*said, f"  drift: {report.state}; {len(report.findings)} of {report.compared} objects differ{tail}"]
    )


def _field_text(one: Field) -> str:
    who = f"   ({one.manager}{f' at {one.since}' if one.since else ''})" if one.manager else ""
    return f"{one.path}: {_shown(one.wanted)} is {_shown(one.found)}{who}"


def _shown(value: Any) -> str:
    text = "(none)" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _junit(report: Report) -> str:
    by_component: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_component.setdefault(finding.component, []).append(finding)
    cases = []
    for component, findings in sorted(by_component.items()):
        text = "\n".join(f"{one.kind} {one.object}: " + "; ".join(map(_field_text, one.fields)) for one in findings)
        message = quoteattr(f"{len(findings)} objects differ")
        cases.append(
            f"<testcase classname={quoteattr(report.cluster)} name={quoteattr(component)}><failure message={message}>"
            f"{escape(text)}</failure></testcase>"
        )
    cases += [
        f'<testcase classname={quoteattr(report.cluster)} name="comparison"><error message={quoteattr(error)}/></testcase>'
        for error in report.errors
    ]
    if not cases:
        cases = [f'<testcase classname={quoteattr(report.cluster)} name="all components"/>']
    head = f'<testsuite name="drift" tests="{len(cases)}" failures="{len(by_component)}" errors="{len(report.errors)}"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head} timestamp="{report.at}">\n'
        + "\n".join(cases)
        + "\n</testsuite>\n"
    )


_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#68707a;--line:#d7dce1;--paper:#fff;--bad:#c62f3b;--good:#2c7a4b}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#98a2ad;--line:#363c44;--paper:#15181c;--bad:#ff7b83;--good:#63c48c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}p{color:var(--soft);margin:.2rem 0 1.5rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line)}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}del{color:var(--bad);text-decoration:none}ins{color:var(--good);text-decoration:none}
"""


def _page(report: Report) -> str:
    rows = []
    for finding in report.findings:
        fields = "".join(
            f"<div><code>{html.escape(one.path)}</code><br>wanted <ins><code>{html.escape(_shown(one.wanted))}</code></ins>, found "
            f"<del><code>{html.escape(_shown(one.found))}</code></del>"
            f"{f' by {html.escape(one.manager)} {html.escape(one.since)}' if one.manager else ''}</div>"
            for one in finding.fields
        )
        rows.append(
            f"<tr><td>{html.escape(finding.component)}<td>{finding.kind}<td><code>{html.escape(finding.object)}</code>{fields}"
        )
    errors = "".join(f"<p><del>{html.escape(error)}</del></p>" for error in report.errors)
    body = f"<table><tr><th>component<th>how<th>object{''.join(rows)}</table>" if rows else ""
    word = {
        "none": "No drift",
        "drift": f"{len(report.findings)} objects differ",
        "error": "Not all could be compared",
    }[report.state]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Drift of {html.escape(report.cluster)}</title><style>{_STYLE}'
        f"</style><h1>{html.escape(report.cluster)}: {word}</h1><p>{report.at}, {report.compared} objects compared, {report.ignored} "
        f"ignored</p>{errors}{body}</html>\n"
    )
