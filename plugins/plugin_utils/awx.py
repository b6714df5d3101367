# SPDX-License-Identifier: Apache-2.0
"""The platform in AWX: pure functions from environments to the objects that role awx_config makes.

Nothing is asked at a launch but the questions of a survey (`ask_*` is off everywhere), so that no answer can become another
variable, a limit or an option of Ansible. The field names are those of AWX's API, version 24.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
# question → what of an environment is offered as its choices.
_CHOICES = {"components": "components", "component": "components", "model": "engines", "ask": "models"}
_APPROVAL_S = 86_400
RESULTS = ("started", "success", "error", "approval")
_HIDDEN = "$encrypted$"


def objects(inputs: Mapping[str, Any], choices: Mapping[str, Any], blueprint: Mapping[str, Any]) -> Object:
    """All objects. `inputs`: the role's inputs; `choices`: environment → what it has; `blueprint`: the role's own data."""
    made: Object = {"inventories": [], "job_templates": [], "workflows": [], "nodes": [], "schedules": [], "grants": []}
    for environment in inputs["environments"]:
        one = _Environment(environment, choices[environment["name"]], inputs, blueprint)
        made["inventories"].append(one.inventory())
        made["job_templates"] += one.job_templates()
        made["workflows"].append(one.workflow())
        made["nodes"] += one.nodes()
        made["schedules"] += one.schedules()
        made["grants"] += one.grants()
    made["names"] = _names(made, inputs, blueprint)
    made["results"] = {result: _hear_of(result, inputs["notifications"]) for result in RESULTS}
    return made


def outdated(wanted: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], renew: bool) -> list[Object]:
    """The notifications that AWX does not have as they are wanted. It shows secrets as $encrypted$: they count as equal unless `renew`."""
    known = {one["name"]: one for one in found}
    return [dict(one) for one in wanted if renew or not _same(one, known.get(one["name"]))]


def _same(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    if not found or found["notification_type"] != wanted["type"]:
        return False
    shown = found["notification_configuration"]
    return all(shown.get(key) in (value, _HIDDEN) for key, value in wanted["configuration"].items())


def _hear_of(result: str, notifications: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the notifications that are sent after this result."""
    return [one["name"] for one in notifications if result in (one.get("results") or ("error", "approval"))]


def _names(made: Object, inputs: Mapping[str, Any], blueprint: Mapping[str, Any]) -> dict[str, list[str]]:
    """Our names by kind, in the order of a removal."""
    kinds = {"schedules": "schedules", "workflow_job_templates": "workflows", "job_templates": "job_templates"}
    names = {kind: [one["name"] for one in made[key]] for kind, key in kinds.items()}
    return {
        **names,
        "inventories": [one["name"] for one in made["inventories"]],
        "projects": [inputs["organization"]],
        "teams": sorted(set(inputs["teams"].values())),
        "notification_templates": [one["name"] for one in inputs["notifications"]],
        "execution_environments": [inputs["organization"]],
        "credential_types": [one["name"] for one in blueprint["credential_types"]],
    }


class _Environment:
    """What one environment is in AWX."""

    def __init__(
        self,
        given: Mapping[str, Any],
        choices: Mapping[str, Any],
        inputs: Mapping[str, Any],
        blueprint: Mapping[str, Any],
    ) -> None:
        self.name = str(given["name"])
        self.path = str(given.get("inventory") or f"inventories/{self.name}")
        self.credentials = list(given.get("credentials") or [])
        self.choices, self.inputs, self.blueprint = choices, inputs, blueprint

    def title(self, what: str) -> str:
        return f"llm {self.name} {what}"

    def about(self, text: str) -> str:
        return f"{text} {self.blueprint['mark']}"

    @property
    def templates(self) -> list[Mapping[str, Any]]:
        """Without models there is none to choose."""
        return [one for one in self.blueprint["templates"] if one["name"] != "model" or self.choices["engines"]]

    def inventory(self) -> Object:
        return {
            "name": f"llm {self.name}",
            "description": self.about(f"The clusters of {self.path}."),
            "source_path": f"{self.path}/hosts.yml",
        }

    def job_templates(self) -> list[Object]:
        return [self._job_template(one) for one in self.templates]

    def _job_template(self, template: Mapping[str, Any]) -> Object:
        survey = self._survey(template.get("questions", []))
        return {
            "name": self.title(template["name"]),
            "description": self.about(template["about"]),
            "job_type": template.get("job_type", "run"),
            "inventory": f"llm {self.name}",
            "playbook": template["playbook"],
            "limit": template.get("limit", ""),
            "diff_mode": template["playbook"].endswith("plan.yml"),
            "credentials": self.credentials,
            # A job has the project in a folder of its own, and an inventory without a folder.
            "extra_vars": {
                "platform_lock_file": f"{self.path}/release.lock.yml",
                "registry_images_file": "",
                **template.get("extra_vars", {}),
            },
            "survey_spec": survey,
            "survey_enabled": bool(survey),
        }

    def _survey(self, questions: Sequence[str]) -> Object:
        """Empty where nothing is asked. AWX refuses a survey without questions, and a question without choices."""
        spec = []
        for name in questions:
            question = dict(self.blueprint["questions"][name])
            if name in _CHOICES:
                question["choices"] = list(self.choices[_CHOICES[name]])
            if question.get("choices", True):
                spec.append(question)
        return {"name": "", "description": "", "spec": spec} if spec else {}

    def workflow(self) -> Object:
        return {
            "name": self.title("change"),
            "description": self.about("Checks, plans, waits for an approval, and then does exactly what was planned."),
            "survey_spec": self._survey(["reason", "components"]),
        }

    def nodes(self) -> list[Object]:
        """The steps of the workflow, last first: each names the one after it, which must be there."""
        steps = self.blueprint["steps"]
        pairs = zip(steps, [*steps[1:], ""], strict=True)
        return [part for pair in reversed(list(pairs)) for part in self._node(*pair)]

    def _node(self, step: str, following: str) -> list[Object]:
        """An approval is made first and linked then: awx.awx would look for the link below the approval, not below its node."""
        node: Object = {"identifier": step, "workflow": self.title("change")}
        after = {"success_nodes": [following] if following else []}
        if step != "approval":
            return [{**node, **after, "unified_job_template": self.title(step)}]
        about = "Read the output of preflight (price) and of plan (what, and how it disturbs) first."
        approval = {"name": self.title(step), "description": about, "timeout": _APPROVAL_S}
        return [{**node, "approval_node": approval}, {**node, **after}]

    def schedules(self) -> list[Object]:
        rules = {"drift": self.inputs["drift_schedule"], "lock": self.inputs["lock_schedule"]}
        return [
            {
                "name": self.title(f"{name} schedule"),
                "description": self.about("Runs by itself."),
                "unified_job_template": self.title(name),
                "rrule": rule,
            }
            for name, rule in rules.items()
            if rule
        ]

    def grants(self) -> list[Object]:
        teams = self.inputs["teams"]
        may = {
            who: [self.title(one["name"]) for one in self.templates if who == "operate" or who in one.get("who", [])]
            for who in teams
        }
        jobs = [{"team": teams[who], "role": "execute", "job_templates": may[who], "workflows": []} for who in teams]
        change = [self.title("change")]
        return [
            *jobs,
            *(
                {"team": teams[who], "role": "execute", "job_templates": [], "workflows": change}
                for who in ("request", "operate")
            ),
            {"team": teams["approve"], "role": "approval", "job_templates": [], "workflows": change},
        ]
