# SPDX-License-Identifier: Apache-2.0
"""The platform in AWX: what a person may answer stays an answer, and what the role makes is what AWX takes.

AWX itself is not here: tests/support/awx_double.py stands in for its API.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.awx import objects, outdated
from tests.support.awx_double import ADMIN, READER, Awx, AwxDouble, Refused, playbooks
from tests.support.awx_objects import BLUEPRINT, CHOICES, INPUTS, made
from tests.support.content_cache import cache_root

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import execution_environment  # noqa: E402

SECRET = "canary-of-a-token"
# Answers that try to be more than an answer.
EVIL = [
    "{{ lookup('pipe', 'id') }}",
    "llm-dev -e platform_protected=false",
    "llm-dev\nplatform_protected: false",
    "--limit=all",
    "${HOME}",
    "'; DROP TABLE jobs; --",
    "!vault x",
]


def by_name(rows):
    return {row["name"]: row for row in rows}


# -- what is made -------------------------------------------------------------------------------------------------------
def test_each_environment_has_every_template_and_one_workflow():
    found = made("dev", "prod")
    wanted = {one["name"] for one in BLUEPRINT["templates"]}
    assert {f"llm {env} {name}" for env in ("dev", "prod") for name in wanted} == set(by_name(found["job_templates"]))
    assert [one["name"] for one in found["workflows"]] == ["llm dev change", "llm prod change"]
    assert {"plan", "drift", "status", "rollback", "destroy", "account", "lock", "model", "images", "site"} <= wanted


def test_every_playbook_is_one_that_awx_lists():
    assert {one["playbook"] for one in made()["job_templates"]} <= set(playbooks())


def test_a_job_of_one_environment_has_its_inventory_and_its_credentials_and_no_others():
    for one in made("dev", "prod")["job_templates"]:
        environment = one["name"].split()[1]
        assert one["inventory"] == f"llm {environment}"
        assert one["credentials"] == [f"aws {environment}"]
        assert one["extra_vars"]["platform_lock_file"] == f"inventories/{environment}/release.lock.yml"


def test_a_change_is_planned_approved_applied_and_verified_in_this_order():
    nodes = made()["nodes"]
    links = {node["identifier"]: node["success_nodes"] for node in nodes if "success_nodes" in node}
    assert links == {
        "verify": [],
        "apply": ["verify"],
        "approval": ["apply"],
        "plan": ["approval"],
        "preflight": ["plan"],
    }
    # AWX refuses a step that comes after one which is not there yet; an approval is there before it has a link.
    assert [node["identifier"] for node in nodes] == ["verify", "apply", "approval", "approval", "plan", "preflight"]
    assert [sorted(node)[0] for node in nodes if node["identifier"] == "approval"] == ["approval_node", "identifier"]
    assert {node["workflow"] for node in nodes} == {"llm dev change"}
    templates = by_name(made()["job_templates"])
    assert templates["llm dev plan"]["extra_vars"]["plan_artifact"] is True
    assert templates["llm dev apply"]["extra_vars"]["plan_required"] is True


def test_who_asks_cannot_approve_and_who_approves_cannot_apply():
    may = {}
    for grant in made()["grants"]:
        for job in [*grant["job_templates"], *grant["workflows"]]:
            may.setdefault(grant["team"], set()).add((grant["role"], job))
    writes = {"apply", "site", "model", "rollback", "destroy", "account", "images"}
    for team in ("llm request", "llm approve"):
        assert not {("execute", f"llm dev {name}") for name in writes} & may[team]
    assert ("approval", "llm dev change") in may["llm approve"]
    assert ("approval", "llm dev change") not in may["llm request"] | may["llm operate"]
    assert ("execute", "llm dev change") in may["llm request"]


def test_who_approves_hears_of_a_change_that_waits():
    slack = {"name": "ops", "type": "slack", "configuration": {"token": "s3cret", "channels": ["ops"]}}
    quiet = {**slack, "name": "quiet", "results": ["success"]}
    results = objects({**INPUTS, "environments": [], "notifications": [slack, quiet]}, {}, BLUEPRINT)["results"]
    assert results == {"started": [], "success": ["quiet"], "error": ["ops"], "approval": ["ops"]}


def test_a_secret_that_awx_does_not_show_is_written_once():
    slack = {"name": "ops", "type": "slack", "configuration": {"token": "s3cret", "channels": ["ops"]}}
    configuration = {"token": "$encrypted$", "channels": ["ops"]}
    shown = {"name": "ops", "notification_type": "slack", "notification_configuration": configuration}
    other = {**shown, "notification_configuration": {**configuration, "channels": ["dev"]}}
    assert outdated([slack], [], False) == [slack]
    assert outdated([slack], [shown], False) == []
    assert outdated([slack], [other], False) == [slack]
    assert outdated([slack], [shown], True) == [slack]


# -- surveys ------------------------------------------------------------------------------------------------------------
def test_answers_are_operations_and_never_settings():
    specs = {file.stem for file in REPO.glob("playbooks/*.yml")}
    assert specs
    operations = {
        "platform_only",
        "platform_confirm",
        "rollback_component",
        "rollback_revision",
        "verify_model",
        "change_reason",
    }
    for one in [*made()["job_templates"], *made()["workflows"]]:
        assert {question["variable"] for question in one["survey_spec"].get("spec", [])} <= operations


def test_choices_come_from_the_catalogue_and_the_components():
    templates = by_name(made()["job_templates"])
    (question,) = templates["llm dev model"]["survey_spec"]["spec"]
    assert question["choices"] == ["engine-m-1"]
    (question,) = templates["llm dev site"]["survey_spec"]["spec"]
    assert question["choices"] == CHOICES["components"]


def test_without_models_there_is_none_to_choose():
    found = by_name(made("dev", models=[], engines=[])["job_templates"])
    assert "llm dev model" not in found
    assert found["llm dev verify"]["survey_spec"] == {}


@pytest.fixture
def launched():
    """Launches a template of ours in the double, with answers."""
    awx = Awx()
    known = by_name([*made()["job_templates"], *made()["workflows"]])

    def launch(name, answers):
        identity = len(awx.rows["job_templates"]) + 1
        awx.rows["job_templates"][identity] = {"id": identity, "survey_enabled": bool(known[name]["survey_spec"])}
        if known[name]["survey_spec"]:
            awx.survey(identity, known[name]["survey_spec"])
        return awx.launch(identity, answers)

    return launch


@pytest.mark.parametrize("evil", EVIL)
def test_a_choice_takes_nothing_but_its_choices(launched, evil):
    for name, answers in {
        "llm dev site": {"platform_only": [evil]},
        "llm dev model": {"platform_only": evil},
        "llm dev rollback": {"rollback_component": evil},
        "llm dev verify": {"verify_model": evil},
        "llm dev change": {"change_reason": "because", "platform_only": ["network", evil]},
    }.items():
        with pytest.raises(Refused) as refused:
            launched(name, answers)
        assert refused.value.status == 400


@pytest.mark.parametrize("template", [one["name"] for one in BLUEPRINT["templates"]])
def test_no_answer_becomes_another_variable(launched, template):
    needed = {
        "model": {"platform_only": "engine-m-1"},
        "rollback": {"rollback_component": "network"},
        "destroy": {"platform_confirm": "llm-dev"},
    }
    more = {"platform_protected": False, "ansible_python_interpreter": "/bin/sh", "plan_artifacts": {}}
    job = launched(f"llm dev {template}", {**needed.get(template, {}), **more})
    assert job["extra_vars"] == needed.get(template, {})
    assert set(job["ignored_fields"]["extra_vars"]) == set(more)


def test_a_workflow_refuses_other_variables():
    awx = Awx()
    (workflow,) = made()["workflows"]
    change = awx.create("workflow_job_templates", {"name": "change", "survey_enabled": True})
    awx.survey(change["id"], workflow["survey_spec"])
    with pytest.raises(Refused) as refused:
        awx.launch(change["id"], {"change_reason": "because", "plan_artifacts": {}})
    assert "Variables plan_artifacts are not allowed" in refused.value.body["extra_vars"][0]


def test_nothing_is_asked_at_a_launch_but_the_survey():
    for one in [*made()["job_templates"], *made()["workflows"]]:
        assert not [key for key in one if key.startswith("ask_")]


# -- the role, with the modules of awx.awx ------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def awx_collection():
    """A collections folder with awx.awx 24.6.1."""
    return execution_environment.collections(cache_root())["awx.awx"].parents[2]


@pytest.fixture
def configure(awx_collection):
    """Runs playbooks/awx.yml against a double."""
    with AwxDouble() as double:

        def run(*arguments, token=ADMIN):
            environment = {
                **os.environ,
                "CONTROLLER_HOST": double.url,
                "CONTROLLER_OAUTH_TOKEN": token,
                "ANSIBLE_COLLECTIONS_PATH": f"{REPO / 'collections'}:{awx_collection}",
                "ANSIBLE_NOCOLOR": "1",
            }
            slack = {"name": "ops", "type": "slack", "configuration": {"token": SECRET, "channels": ["ops"]}}
            given = {
                "awx_config_environments": [{"name": "dev"}],
                "awx_config_image": "registry.example.com/ee:1",
                "awx_config_notifications": [slack],
            }
            command = [
                Path(sys.executable).parent / "ansible-playbook",
                "playbooks/awx.yml",
                "-e",
                json.dumps(given),
                *arguments,
            ]
            return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)

        run.awx = double.awx
        yield run


def names(awx, kind):
    return sorted(row["name"] for row in awx.rows[kind].values())


@pytest.mark.programs
def test_a_token_without_rights_is_refused_in_a_sentence(configure):
    done = configure(token=READER)
    assert done.returncode != 0
    assert "You don't have permission to POST to /api/v2/organizations/ (HTTP 403)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.programs
def test_an_object_of_somebody_else_with_one_of_our_names_stops_the_run_before_anything_is_made(configure):
    theirs = configure.awx.create("organizations", {"name": "Theirs"})
    configure.awx.create("teams", {"name": "llm request", "organization": theirs["id"]})
    done = configure()
    assert done.returncode != 0
    assert "AWX has llm request already, without our mark" in done.stdout
    assert names(configure.awx, "organizations") == ["Theirs"]


@pytest.mark.full
def test_a_second_run_changes_nothing_and_absent_takes_away_ours_only(configure):
    awx = configure.awx
    # More than a page of somebody else's: ours are found behind them.
    theirs = awx.create("organizations", {"name": "Theirs"})
    for number in range(30):
        awx.create("teams", {"name": f"team {number}", "organization": theirs["id"]})
    first = configure()
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr
    assert len(names(awx, "job_templates")) == len(BLUEPRINT["templates"])
    assert len(awx.rows["workflow_job_template_nodes"]) == len(BLUEPRINT["steps"])
    before = json.dumps([awx.rows, awx.surveys], sort_keys=True)
    assert SECRET not in first.stdout + first.stderr
    second = configure()
    assert "changed=0" in second.stdout, second.stdout[-3000:]
    assert json.dumps([awx.rows, awx.surveys], sort_keys=True) == before
    ours = next(row["id"] for row in awx.rows["organizations"].values() if row["name"] == "llm.on_eks")
    awx.create("projects", {"name": "somebody's", "organization": ours})
    gone = configure("-e", "awx_config_state=absent")
    assert gone.returncode == 0, gone.stdout[-3000:]
    # Somebody's project keeps the organization.
    assert names(awx, "organizations") == ["Theirs", "llm.on_eks"]
    assert names(awx, "projects") == ["somebody's"]
    assert len(names(awx, "teams")) == 30
    for kind in (
        "job_templates",
        "workflow_job_templates",
        "inventories",
        "inventory_sources",
        "schedules",
        "credential_types",
    ):
        assert names(awx, kind) == [], kind
    # AWX removes inventories in the background: one may still be shown.
    mark = {"organization": ours, "description": BLUEPRINT["mark"], "pending_deletion": True}
    awx.create("inventories", {"name": "llm dev", **mark})
    assert "changed=0" in configure("-e", "awx_config_state=absent").stdout
