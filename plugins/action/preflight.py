# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks every input, and the AWS account, before anything is changed, and reports all problems at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.lock_file import LockFileError
from ansible_collections.llm.on_eks.plugins.plugin_utils.models.pins import pinned
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.arguments import check_value, unknown_variables
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.wanted import wanted
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.catalog import check_catalog, check_shares
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.engine_settings import check_engine_settings
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.engines import check_engines, check_pins
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.findings import Finding, place_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.specs import load_defaults, load_specs, prefixes
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.systems import check_systems

COLLECTION = Path(__file__).resolve().parents[2]
ROLES = COLLECTION / "roles"
POLICY = COLLECTION / "docs" / "aws_permissions.json"
display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "account_only": {"type": "bool", "default": False},
    "components": {"type": "list", "elements": "dict", "default": []},
    "lock_file": {"type": "path", "default": ""},
    "locking": {"type": "bool", "default": False},
}


def _why(error: AnsibleError) -> tuple[str, str]:
    """(problem, mend) of an input that cannot be rendered. `undef(hint=…)` in an inventory says itself what to write."""
    text = str(error).rstrip(".")
    if isinstance(error, AnsibleUndefinedVariable) and "is undefined" not in text and "has no attribute" not in text:
        return "is not set", text
    return f"cannot be worked out: {text}", "define what it refers to"


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        started = time.monotonic()
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        __, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        specs = load_specs(ROLES)
        values, findings = self._values(specs, variables)
        if not options["account_only"]:
            findings += self._check_inputs(specs, values, variables)
            findings += check_systems(values)
            findings += self._check_models(values, options)
        seen: dict[str, Any] = {}
        found: list[Finding] = []
        if (
            not any(finding.severity == "error" for finding in findings)
            and values.get("platform_provider") == "eks"
            and boolean(values.get("platform_preflight_aws", True), strict=False)
        ):
            # With wrong inputs the account would be asked the wrong questions.
            seen, found = self._ask_aws(self._with_defaults(values, list(specs)), options["components"], variables)
        # Findings about the account are on its page already.
        for finding in findings if seen else [*findings, *found]:
            if finding.severity == "warning":
                display.warning(str(finding))
        findings += found
        strict = boolean(values.get("platform_preflight_strict", False), strict=False)
        return {**result, **self._verdict(findings, strict), **seen, "seconds": round(time.monotonic() - started, 2)}

    def _values(self, specs: dict[str, Any], variables: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """(inputs that are defined, rendered; inputs that cannot be rendered)."""
        values, findings = {}, []
        for name in specs:
            if name not in variables:
                continue
            try:
                values[name] = self._templar.template(variables[name])
            except AnsibleError as error:
                findings.append(Finding(name, *_why(error), place_of(variables[name])))
        return values, findings

    def _check_inputs(self, specs: dict[str, Any], values: dict[str, Any], variables: dict[str, Any]) -> list[Finding]:
        findings = [
            finding
            for finding in unknown_variables(variables, list(specs), prefixes(ROLES))
            # Facts that our own tasks set before are no inputs.
            if finding.place is None or not Path(finding.place.path).resolve().is_relative_to(ROLES)
        ]
        for name, spec in specs.items():
            if name in values:
                findings += check_value(name, values[name], spec, place_of(variables[name]))
            elif spec.get("required") and name not in variables:
                findings.append(Finding(name, "is not defined", f"set it in the inventory: {_first_line(spec)}"))
        findings += check_catalog(values.get("model_catalog") or [])
        findings += check_shares(values.get("gateway_models"), values.get("model_catalog") or [])
        for entry in values.get("model_catalog") or []:
            if isinstance(entry, dict) and entry.get("terms") and entry.get("state", "present") == "present":
                display.display(f"  model {entry.get('name')}: serving it means accepting its terms, {entry['terms']}")
        return findings

    def _check_models(self, values: dict[str, Any], options: dict[str, Any]) -> list[Finding]:
        """What the engines cannot serve, and revisions that neither pin nor are locked."""
        entries = [entry for entry in values.get("model_catalog") or [] if isinstance(entry, dict)]
        try:
            entries = pinned(entries, Path(options["lock_file"]))
        except LockFileError as error:
            return [Finding("platform_lock_file", f"cannot be read: {error}", "write a new one", None)]
        found = [*check_engines(entries), *check_engine_settings(entries, values)]
        return found if options["locking"] else [*found, *check_pins(entries)]

    def _with_defaults(self, values: dict[str, Any], known: list[str]) -> dict[str, Any]:
        """The values, with the roles' defaults for unset variables: the roles themselves run later."""
        defaults = load_defaults(ROLES, lambda path: self._loader.load_from_file(path, trusted_as_template=True))
        templar = self._templar.copy_with_new_env(available_variables={**defaults, **self._templar.available_variables})
        found = dict(values)
        for name in set(defaults) & set(known) - set(values):
            try:
                found[name] = templar.template(defaults[name])
            except AnsibleError:
                # The default depends on a fact that an earlier step sets; no check here needs it.
                continue
        return found

    def _ask_aws(
        self, values: dict[str, Any], components: list[dict[str, Any]], variables: dict[str, Any]
    ) -> tuple[dict[str, Any], list[Finding]]:
        from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.gather import gather
        from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.review import review

        places = {name: place for name in values if name in variables and (place := place_of(variables[name]))}
        asked = wanted(values, components, places)
        if not asked.region:
            missing = Finding("platform_aws_region", "is empty", "set the region that everything is made in")
            return {}, [missing]
        try:
            connection = Connection.open(
                asked.region,
                profile=str(values.get("platform_aws_profile") or ""),
                credentials_file=str(values.get("platform_aws_credentials_file") or ""),
                endpoint_url=str(values.get("platform_aws_endpoint_url") or ""),
            )
            found = review(gather(connection, asked, POLICY), asked)
        except AwsError as error:
            mend = "mend that first: nothing of the account was looked at"
            return {}, [Finding("AWS credentials", f"were not accepted: {error}", mend)]
        for line in found.lines():
            display.display(line)
        return {"aws": found.document()}, found.all

    def _verdict(self, findings: list[Finding], strict: bool) -> dict[str, Any]:
        errors = [str(finding) for finding in findings if finding.severity == "error"]
        warnings = [str(finding) for finding in findings if finding.severity == "warning"]
        verdict: dict[str, Any] = {"changed": False, "errors": errors, "warned": warnings}
        stops = errors + (warnings if strict else [])
        if stops:
            head = f"{len(stops)} finding{'s' if len(stops) > 1 else ''} must be mended; nothing was changed."
            verdict.update(failed=True, msg="\n".join([head, *(f"  {text}" for text in stops)]))
        return verdict


def _first_line(spec: Any) -> str:
    description = spec.get("description", "")
    return str(description[0] if isinstance(description, list) else description)
