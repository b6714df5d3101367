# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at every input before anything is changed, and say all that is wrong at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.arguments import check_value, unknown_variables
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.catalog import check_catalog
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.findings import Finding, place_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.specs import load_specs, prefixes

ROLES = Path(__file__).resolve().parents[2] / "roles"
display = Display()


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        started = time.monotonic()
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        specs = load_specs(ROLES)
        findings = [*unknown_variables(variables, list(specs), prefixes(ROLES))]
        values = {}
        for name, spec in specs.items():
            if name in variables:
                try:
                    value = self._templar.template(variables[name])
                except AnsibleError as error:
                    findings.append(
                        Finding(
                            name,
                            f"cannot be worked out: {error}",
                            "define what it refers to",
                            place_of(variables[name]),
                        )
                    )
                    continue
                values[name] = value
                findings += check_value(name, value, spec, place_of(variables[name]))
            elif spec.get("required"):
                findings.append(Finding(name, "is not defined", f"set it in the inventory: {_first_line(spec)}"))
        findings += check_catalog(values.get("model_catalog") or [])
        for entry in values.get("model_catalog") or []:
            if isinstance(entry, dict) and entry.get("terms") and entry.get("state", "present") == "present":
                display.display(f"  model {entry.get('name')}: serving it means accepting its terms, {entry['terms']}")
        return {**result, **self._verdict(findings), "seconds": round(time.monotonic() - started, 2)}

    def _verdict(self, findings: list[Finding]) -> dict[str, Any]:
        errors = [str(finding) for finding in findings if finding.severity == "error"]
        warnings = [str(finding) for finding in findings if finding.severity == "warning"]
        for text in warnings:
            display.warning(text)
        verdict: dict[str, Any] = {"changed": False, "errors": errors}
        if errors:
            head = f"{len(errors)} input{'s' if len(errors) > 1 else ''} must be mended; nothing was changed."
            verdict.update(failed=True, msg="\n".join([head, *(f"  {text}" for text in errors)]))
        return verdict


def _first_line(spec: Any) -> str:
    description = spec.get("description", "")
    return str(description[0] if isinstance(description, list) else description)
