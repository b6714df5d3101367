# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the AWS account for what ages, and write it into the environment."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import yaml
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.observed import observed
from ansible_collections.llm.on_eks.plugins.module_utils.files import write_whole
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.wanted import wanted
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action

display = Display()
_HEAD = "# What AWS publishes and changes, as the account said. Written by playbooks/lock.yml; never by hand.\n---\n"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "components": {"type": "list", "elements": "dict", "required": True},
    "models": {"type": "list", "elements": "dict", "default": []},
    "region": {"type": "str", "required": True},
    "profile": {"type": "str", "default": ""},
    "credentials_file": {"type": "str", "default": ""},
    "endpoint_url": {"type": "str", "default": ""},
    "file": {"type": "path", "required": True},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        asked = wanted(
            {"platform_aws_region": options["region"], "model_catalog": options["models"]}, options["components"]
        )
        way_in = {name: options[name] for name in ("profile", "credentials_file", "endpoint_url")}
        file = Path(options["file"])
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        connection = Connection.open(options["region"], **way_in)
        found, unseen = observed(connection, today, asked.instance_types, _addons(options["components"]))
        for sentence in unseen:
            display.warning(f"not asked: {sentence}")
        text = _HEAD + yaml.safe_dump({"platform_reference": found}, sort_keys=True)
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        changed = before != text
        if changed and not self._task.check_mode:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, text.encode())
        diff = {"before": before, "after": text, "before_header": str(file), "after_header": str(file)}
        return {"changed": changed, "file": str(file), "unseen": unseen, "diff": diff}


def _addons(components: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Kubernetes version → EKS add-ons that the components describe."""
    found: dict[str, list[str]] = {}
    for component in components:
        for entry in component.get("aws") or []:
            given = entry.get("properties") or {}
            version = str(given.get("kubernetes_version") or "")
            if entry["type"] == "eks_addon" and version and "${out:" not in version:
                found.setdefault(version, []).append(str(given["name"]))
    return found
