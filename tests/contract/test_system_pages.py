# SPDX-License-Identifier: Apache-2.0
"""Each of the platform's systems has a page in docs/systems, and its figures are those of the role."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import lines_of, parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.systems import WINDOWS

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import docs, docs_site  # noqa: E402

# What every cluster has: docs/aws.md, docs/engines.md, docs/catalogue.md and the gateway's README are about these.
ALWAYS = {"network", "cluster", "identity", "node_groups", "registry", "gateway", "models", "images", "platform"}
SYSTEMS = sorted(
    role
    for role in REPO.glob("roles/*")
    if docs.is_component(role) and role.name not in ALWAYS and not role.name.startswith("engine_")
)
PAGES = {page: page.read_text(encoding="utf-8") for page in sorted(REPO.glob("docs/systems/*.md"))}
SECTIONS = [
    "Switch it on",
    "Open it",
    "What it costs",
    "Settings to change first",
    "How you know that it works",
    "Upgrade",
    "Turn it off",
    "What was tried",
    "When it does not work",
]
each_system = pytest.mark.parametrize("role", SYSTEMS, ids=lambda role: role.name)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def rows(text):
    """The cells of all tables, row by row."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"^\|.*\|$", text, re.M)]


def page_of(role):
    """The page whose first table names the role."""
    found = [text for text in PAGES.values() if f"\n| `{role.name}` | `{role.name}_state`: " in text]
    assert len(found) == 1, f"one page in docs/systems must have a row for role {role.name} in its first table"
    return found[0]


def described(role, case="default"):
    snapshot = yaml.load((role / "tests" / f"{case}.yml").read_text(), yaml.CSafeLoader)
    return snapshot["descriptor"]


def requests(value, path=()):
    """(path, what is requested) for all resources of containers below a value."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return
    asked = value.get("requests")
    if isinstance(asked, dict) and "storage" not in asked:
        yield path, asked
    for key, inner in value.items():
        yield from requests(inner, (*path, str(key)))


def asked_for(role):
    """(chart or none, place in its values or name of the workload, CPU, memory), as the role's snapshot says."""
    # By default the catalogue names no device.
    for component in described(role, "trial" if role.name == "accelerators" else "default"):
        for release in component.get("releases", []):
            for path, asked in requests(release.get("values", {})):
                yield release["chart"]["name"], ".".join(path), asked["cpu"], asked["memory"]
        for manifest in component.get("manifests", []):
            for __, asked in requests(manifest):
                yield "none", manifest["metadata"]["name"], asked["cpu"], asked["memory"]


@each_system
def test_a_page_names_the_switch_and_the_variants_with_their_defaults(role):
    options = docs.own_options(role)
    name, switch, variants = next(row for row in rows(page_of(role)) if row[0] == f"`{role.name}`")
    assert switch == f"{name[:-1]}_state`: `{options[f'{role.name}_state']['default']}` by default"
    variant = options.get(f"{role.name}_variant")
    if variant is None:
        assert variants == "one"
        return
    said = [f"`{one}` (default)" if one == variant["default"] else f"`{one}`" for one in variant["choices"]]
    assert variants == f"`{role.name}_variant`: {', '.join(said)}"


@each_system
def test_what_a_page_says_that_pods_ask_for_is_what_the_role_describes(role):
    listed = {(row[4].strip("`"), row[5].strip("`"), row[2], row[3]) for row in rows(page_of(role)) if len(row) == 6}
    assert set(asked_for(role)) - listed == set()


@each_system
def test_a_page_names_the_size_of_each_volume(role):
    sizes = {str(one) for one in re.findall(r"(?:storage|size): ['\"]?(\d+Gi)", yaml.safe_dump(described(role)))}
    assert [size for size in sizes if size not in page_of(role)] == []


@each_page
def test_no_page_lists_requests_that_no_role_describes(page):
    """Of rows that name a place in a chart's values. What a chart asks for by itself is `the chart`."""
    known = {one for role in SYSTEMS for one in asked_for(role)}
    listed = {(row[4].strip("`"), row[5].strip("`"), row[2], row[3]) for row in rows(PAGES[page]) if len(row) == 6}
    mine = {one for one in listed if re.fullmatch(r"\d+m", one[2]) and one[1] not in ("", "the chart")}
    assert mine - known == set()


@each_system
def test_a_page_says_how_each_of_its_pages_is_opened_as_the_status_does(role):
    text = page_of(role)
    for component in parse(described(role)):
        for line in lines_of(component.pages):
            opened = re.search(r"(http://127\.0\.0\.1:\d+) after (kubectl .*)", line)
            if opened:
                assert opened[1] in text
                assert opened[2] in text
            for command in re.findall(r"sign in with: (kubectl -n \S+ \w+ \w+ [\w-]+)", line):
                assert command in text


@each_system
def test_the_charts_versions_are_the_roles_defaults(role):
    options = docs.own_options(role)
    table = {row[0].strip("`"): row for row in rows(page_of(role)) if len(row) == 3}
    charts = [release["chart"]["name"] for one in described(role) for release in one.get("releases", [])]
    for chart in charts:
        __, version, variable = table[chart]
        assert options[variable.strip("`")]["default"] == version


@pytest.mark.parametrize("role", [role for role in SYSTEMS if role.name in WINDOWS], ids=lambda role: role.name)
def test_a_page_names_the_kubernetes_versions_that_preflight_expects(role):
    least, most = WINDOWS[role.name]
    assert f"1.{least} to 1.{most}" in page_of(role)


@each_page
def test_a_page_has_all_sections_in_their_order(page):
    heads = re.findall(r"^## (.+)$", PAGES[page], re.M)
    assert [head for head in heads if head in SECTIONS] == SECTIONS


def test_every_page_of_a_system_is_in_the_navigation_and_in_the_overview():
    nav = docs_site.pages(yaml.safe_load((REPO / "mkdocs.yml").read_text())["nav"])
    overview = (REPO / "docs" / "platform.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"systems/{page.name}" in nav
        assert f"(systems/{page.name})" in overview


def mebibytes(text):
    """The amounts in a text, `1.2 GiB` or `512Mi`, in MiB."""
    return [float(number) * {"M": 1, "G": 1024}[unit] for number, unit in re.findall(r"([\d.]+) ?([MG])i", text)]


# Kinds of nodes have different pods; the drivers' pods are EKS's.
@pytest.mark.parametrize(
    "page",
    [one for one in PAGES if one.stem not in ("accelerators", "storage", "policies")],
    ids=lambda page: page.stem,
)
def test_the_overview_sums_up_what_the_pages_list(page):
    asked = [
        row for row in rows(PAGES[page]) if len(row) == 6 and mebibytes(row[3]) and not row[0].startswith("holders")
    ]
    fixed = sum(int(row[1]) * mebibytes(row[3])[0] for row in asked if row[1].isdigit())
    each_node = sum(mebibytes(row[3])[0] for row in asked if row[1] == "1 a node")
    table = [row for row in rows((REPO / "docs" / "platform.md").read_text()) if len(row) == 6]
    overview = [row[3] for row in table if f"(systems/{page.name})" in row[1]]
    parts = [part for text in overview for part in text.split(", ") if mebibytes(part)]
    assert sum(mebibytes(part)[0] for part in parts if "a node" not in part) == pytest.approx(fixed, rel=0.12)
    assert sum(mebibytes(part)[0] for part in parts if "a node" in part) == pytest.approx(each_node, rel=0.12)
