# SPDX-License-Identifier: Apache-2.0
"""Rule groups of Prometheus with the numbers of an environment, and Alertmanager's routes and receivers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...module_utils.errors import LlmOnEksError

_NUMBER = re.compile(r"<([a-z_]+)>")
SEVERITIES = ("critical", "warning", "info")


class MonitoringError(LlmOnEksError):
    """A setting of the alerts that names nothing; the text says what there is."""


def with_numbers(
    groups: Sequence[Mapping[str, Any]], numbers: Mapping[str, Any], off: Collection[str] = (), runbooks: str = ""
) -> list[dict[str, Any]]:
    """The groups with `numbers` in the place of `<name>`, without the alerts in `off`, each alert with its `runbook_url`.

    Raises MonitoringError for a number or an alert that is not in the groups.
    """
    used = {name for group in groups for rule in group["rules"] for name in _NUMBER.findall(str(rule))}
    alerts = alerts_of(groups)
    _refuse_unknown("prometheus_thresholds", numbers, used)
    _refuse_unknown("prometheus_alerts_off", off, alerts)
    made = [{**group, "rules": [_rule(rule, numbers, runbooks) for rule in _kept(group, off)]} for group in groups]
    return [group for group in made if group["rules"]]


def alerts_of(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of all alerts."""
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def routes(receivers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A route of Alertmanager for each receiver; an alert goes to all whose severities it has."""
    return [
        {"receiver": one["name"], "matchers": [f'severity=~"{"|".join(_severities(one))}"'], "continue": True}
        for one in receivers
    ]


def receivers(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Receivers as Alertmanager has them."""
    return [{"name": one["name"], **one["config"]} for one in given]


def _severities(receiver: Mapping[str, Any]) -> Sequence[str]:
    found: Sequence[str] = receiver.get("severities") or ("critical", "warning")
    _refuse_unknown(f"prometheus_alert_receivers[{receiver['name']}].severities", found, SEVERITIES)
    return found


def _kept(group: Mapping[str, Any], off: Collection[str]) -> list[Mapping[str, Any]]:
    return [rule for rule in group["rules"] if rule.get("alert") not in off]


def _rule(rule: Mapping[str, Any], numbers: Mapping[str, Any], runbooks: str) -> dict[str, Any]:
    found = {key: _filled(value, numbers) for key, value in rule.items()}
    if "alert" in found:
        found["annotations"] = {**found["annotations"], "runbook_url": f"{runbooks}#{found['alert'].lower()}"}
    return found


def _filled(value: Any, numbers: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(one, numbers) for key, one in value.items()}
    return _NUMBER.sub(lambda found: f"{numbers[found[1]]}", value) if isinstance(value, str) else value


def _refuse_unknown(variable: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise MonitoringError(f"{variable} names {name!r}; there are {', '.join(sorted(known))}")
