# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks each served model a question through the front door."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.module_utils.files import write_whole
from ansible_collections.llm.on_eks.plugins.module_utils.names import NAMESPACE_GATEWAY
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.conformance import examine, table
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.target import Target
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.closing import FIRST_KEY, key_command, masked
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import (
    AWS_OPTIONS,
    CHART_OPTIONS,
    CONNECTION_OPTIONS,
    aws_from,
    charts_from,
    client_from,
    lock_file_from,
    plain,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.verify import Answer, ask, first_key, listed_with

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "front_door": {"type": "str", "required": True},
    "catalog": {"type": "list", "elements": "dict", "default": []},
    "gateway_models": {"type": "dict", "default": {}},
    "endpoint_file": {"type": "path", "default": ""},
    "timeout": {"type": "int", "default": 120},
    "conformance": {"type": "str", "default": ""},
    "components": {"type": "list", "elements": "dict", "default": []},
    "changed": {"type": "list", "elements": "str", "default": []},
    **CHART_OPTIONS,
    **CONNECTION_OPTIONS,
    **AWS_OPTIONS,
}


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        started = time.monotonic()
        result: dict[str, Any] = super().run(tmp, task_vars)
        __, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        options = plain(given)
        said: dict[str, Any] = {"changed": False, "url": options["front_door"], "models": [], "answer": ""}
        if not self._task.check_mode:
            try:
                said.update(self._verify(options))
            except LlmOnEksError as error:
                said.update(failed=True, msg=str(error))
        return {**result, **said, "seconds": round(time.monotonic() - started, 2)}

    def _verify(self, options: dict[str, Any]) -> dict[str, Any]:
        front_door, kubeconfig = options["front_door"], options["kubeconfig"]
        client = client_from(options, aws_from(options))
        failed = engine.run_release_tests(
            options["components"],
            options["changed"],
            client,
            charts=charts_from(options),
            lock_file=lock_file_from(options),
        )
        if failed:
            raise LlmOnEksError("verify: " + "\n".join(failed))
        key = first_key(client, NAMESPACE_GATEWAY, FIRST_KEY)
        served = [entry["name"] for entry in options["catalog"] if _is_served(entry)]
        listed = listed_with(served, front_door, key)
        missing = [name for name in served if name not in listed]
        if missing:
            raise LlmOnEksError(
                f"verify: {front_door}/v1/models lists {', '.join(listed) or 'nothing'}, but not {missing[0]}; "
                "see `kubectl -n llm-engines get pods`"
            )
        if options["conformance"]:
            return _examined(options, key)
        answers = [
            ask(
                front_door,
                key,
                entry["name"],
                entry.get("task") or "generate",
                timeout_s=options["timeout"],
                shared_with=(options["gateway_models"].get(entry["name"]) or {}).get("split") or (),
            )
            for entry in options["catalog"]
            if _is_served(entry)
        ]
        changed = False
        if options["endpoint_file"]:
            endpoint = {
                "url": front_door,
                "api_key": key,
                "model": served[0] if served else "",
                "kubeconfig": kubeconfig,
                "cluster": options["cluster"],
                "aws_endpoint_url": options["aws"].get("endpoint_url") or "",
                "aws_region": options["aws"].get("region") or "",
            }
            changed = write_private(Path(options["endpoint_file"]), endpoint)
        return {
            "changed": changed,
            "models": served,
            "answer": _shown(answers[0]) if answers else "",
            "kubeconfig": kubeconfig,
            "key_masked": masked(key),
            "key_place": _key_command(kubeconfig, options["context"], options["endpoint_file"]),
        }


def _examined(options: dict[str, Any], key: str) -> dict[str, Any]:
    """Ask one model every question of the conformance suite. Raises LlmOnEksError with those that failed."""
    name = options["conformance"]
    entry = next((one for one in options["catalog"] if one["name"] == name and _is_served(one)), None)
    if entry is None:
        raise LlmOnEksError(f"verify: verify_model is {name!r}, which model_catalog does not serve")
    how: dict[str, Any] = {"gateway": True, "timeout_s": options["timeout"], "task": entry.get("task") or "generate"}
    results = examine(Target(options["front_door"], name, entry["engine"], key, **how))
    display.display(f"\n  {name} ({entry['engine']}) through {options['front_door']}\n{table(results)}\n")
    broken = [f"{one.question}: {one.sentence}" for one in results if one.outcome == "broken"]
    if broken:
        raise LlmOnEksError(f"verify: {name} fails {len(broken)} of {len(results)} questions: " + "; ".join(broken))
    return {
        "changed": False,
        "models": [name],
        "held": [one.question for one in results if one.outcome == "held"],
        "not_asked": {one.question: one.sentence for one in results if one.outcome == "known"},
    }


def _is_served(entry: dict[str, Any]) -> bool:
    if entry.get("state", "present") != "present":
        return False
    return int((entry.get("replicas") or {}).get("min", 1)) > 0


def _shown(answer: Answer) -> str:
    return f"{answer.prompt} → {' '.join(answer.text.split())}"


def _key_command(kubeconfig: str, context: str, endpoint_file: str) -> str:
    """A command that prints the key. For the endpoint file it only needs the Python that runs us."""
    if endpoint_file:
        file = os.path.relpath(endpoint_file)
        return f"""python3 -c 'import json; print(json.load(open("{file}"))["api_key"])'"""
    where = f" --kubeconfig {kubeconfig}" if kubeconfig else ""
    where += f" --context {context}" if context else ""
    return key_command(where)


def write_private(file: Path, content: dict[str, str]) -> bool:
    """Write JSON atomically, readable by its owner only; False when it is unchanged."""
    text = json.dumps(content, indent=2) + "\n"
    if file.exists() and file.read_text() == text and file.stat().st_mode & 0o777 == 0o600:
        return False
    write_whole(file, text, private=True)
    return True
