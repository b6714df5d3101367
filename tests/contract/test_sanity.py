# SPDX-License-Identifier: Apache-2.0
"""`ansible-test sanity` finds nothing, with the oldest and the newest ansible-core; what is ignored is the self-link alone."""

from __future__ import annotations

import pytest

from tests.support.pythons import NEWEST, OLDEST, PROMISED, REPO, environment, interpreter, run

LINK = "collections/ansible_collections/llm/on_eks/ symlinks"


def test_nothing_is_ignored_but_the_self_link():
    files = sorted(REPO.glob("tests/sanity/ignore-*.txt"))
    assert files
    assert {file.read_text().strip() for file in files} == {LINK}


@pytest.mark.full
@pytest.mark.timeout(5400)
@pytest.mark.parametrize(("version", "core"), [(PROMISED[0], OLDEST), (PROMISED[-1], NEWEST)])
@pytest.mark.parametrize("named", [(), ("pylint",)], ids=["all but pylint", "pylint"])
def test_ansible_test_finds_nothing(version, core, named):
    if not interpreter(version):
        pytest.skip(f"no Python {version} on this machine")
    run(environment(version, core) / "python", "-m", "tools.sanity", *named, timeout=5000)
