# SPDX-License-Identifier: Apache-2.0
"""The double of AWX's API refuses what AWX 24.6.1 refused, in the same words (awx_answers.json; docs/awx.md says how AWX was asked)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.awx_double import ADMIN, READER, AwxDouble
from tests.support.awx_objects import made

ANSWERS = json.loads((Path(__file__).resolve().parents[1] / "support" / "awx_answers.json").read_text())
TOKENS = {"admin": ADMIN, "reader": READER, "nobody": ""}


@pytest.fixture(scope="module")
def double():
    """(address, placeholder → identity) of an AWX with what the requests name."""
    objects = made("dev")
    site = next(one for one in objects["job_templates"] if one["name"] == "llm dev site")  # pylint: disable=stop-iteration-return
    (workflow,) = objects["workflows"]
    with AwxDouble() as running:
        awx, ids = running.awx, {}
        ids["org"] = awx.create("organizations", {"name": "llm.on_eks"})["id"]
        ids["project"] = awx.create("projects", {"name": "llm.on_eks", "organization": ids["org"]})["id"]
        ids["inv"] = awx.create("inventories", {"name": "llm dev", "organization": ids["org"]})["id"]
        job = {"name": site["name"], "project": ids["project"], "inventory": ids["inv"], "playbook": site["playbook"]}
        ids["jt"] = awx.create("job_templates", job)["id"]
        change = {"name": workflow["name"], "organization": ids["org"], "survey_enabled": True}
        ids["wf"] = awx.create("workflow_job_templates", change)["id"]
        awx.survey(ids["wf"], workflow["survey_spec"])
        awx.create("teams", {"name": "llm request", "organization": ids["org"]})
        awx.create("credential_types", {"name": "llm.on_eks AWS role", "kind": "cloud"})
        yield running.url, ids


def filled(value, ids):
    if isinstance(value, dict):
        return {key: filled(one, ids) for key, one in value.items()}
    return ids.get(value[1:-1], value) if isinstance(value, str) and value[:1] == "<" else value


@pytest.mark.parametrize("asked", ANSWERS, ids=range(len(ANSWERS)))
def test_the_double_answers_as_awx_did(double, asked):
    url, ids = double
    path = asked["path"]
    for name, identity in ids.items():
        path = path.replace(f"<{name}>", str(identity))
    data = json.dumps(filled(asked["data"], ids)).encode() if "data" in asked else None
    headers = {"Authorization": f"Bearer {TOKENS[asked['who']]}"} if TOKENS[asked["who"]] else {}
    request = urllib.request.Request(f"{url}/api/v2/{path}", method=asked["method"], data=data, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            status, body = answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        status, body = refused.code, refused.read()
        body = json.loads(body) if body[:1] == b"{" else None
    if "variables_needed_to_start" in (body or {}):
        # The choices are those of an inventory.
        body, asked = ({**one, "body": str(one["body"]).partition(" one of ")[0]} for one in ({"body": body}, asked))
        assert body["body"] == asked["body"]
    else:
        assert (status, body) == (asked["status"], asked["body"])
