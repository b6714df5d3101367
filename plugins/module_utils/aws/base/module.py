# SPDX-License-Identifier: Apache-2.0
"""A resource class as an Ansible module: a thin wrapper, the same for all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import LlmOnEksError
from .arguments import COMMON, flag, text
from .connection import Connection
from .plan import Plan
from .resource import AwsResource, Owner

_OWNER = {"cluster": text(required=True), "component": text(required=True)}
MODULE: dict[str, Any] = {
    "state": text(default="present", choices=["present", "absent"]),
    "wait": flag(True),
    "owner": {"type": "dict", "options": _OWNER},
}


def connection_of(module: Any) -> Connection:
    """The connection that amazon.aws's options describe."""
    if not module.region:
        module.fail_json(msg="the region is not set; give region, or set AWS_REGION")
    return Connection(module.client, module.region, say=module.debug)


def start(arguments: dict[str, Any], **more: Any) -> Any:
    """An AnsibleAWSModule with these arguments."""
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

    return AnsibleAWSModule(argument_spec=without_secrets(arguments), supports_check_mode=True, **more)


def without_secrets(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same, saying that nothing in it is a secret: Ansible suspects every option with `key` in its name."""
    return {
        name: {
            "no_log": False,
            **spec,
            **({"options": without_secrets(spec["options"])} if "options" in spec else {}),
        }
        for name, spec in arguments.items()
    }


def run(kind: type[AwsResource]) -> None:
    """The complete run of a module for one resource."""
    module = start({**kind.arguments, **COMMON, **MODULE})
    try:
        owner = Owner(**module.params["owner"]) if module.params["owner"] else None
        given = {key: module.params[key] for key in {**kind.arguments, **COMMON}}
        resource = kind(connection_of(module), given, owner)
        result = carry_out(module, [resource])
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{failure}.")
    module.exit_json(**result, **shown(resource))


def carry_out(module: Any, resources: Sequence[AwsResource]) -> dict[str, Any]:
    """Apply the module's state to the resources in order (for absent in reverse order). Raises LlmOnEksError."""
    plans = []
    absent = module.params["state"] == "absent"
    for resource in reversed(resources) if absent else resources:
        if module.check_mode:
            plans.append(resource.plan_delete() if absent else resource.plan())
        elif absent:
            plans.append(resource.delete(wait=module.params["wait"]))
        else:
            plans.append(resource.apply())
            if module.params["wait"]:
                resource.wait()
        if plans[-1].why:
            module.warn(f"{plans[-1].subject} {plans[-1].why}")
    return summary(plans)


def summary(plans: Sequence[Plan]) -> dict[str, Any]:
    """`changed`, `changes` and `diff` of what was or would be done."""
    done = [plan for plan in plans if plan.changes_anything]
    return {
        "changed": bool(done),
        "changes": [f"{plan.verb} {plan.subject}: {change}".rstrip(": ") for plan in done for change in plan.changes],
        "diff": [plan.diff() for plan in done],
    }


def shown(resource: AwsResource) -> dict[str, Any]:
    """The outputs; an unknown one as a text that says so."""
    return {name: str(value) if isinstance(value, str) else value for name, value in resource.outputs().items()}
