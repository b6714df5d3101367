# SPDX-License-Identifier: Apache-2.0
"""The last lines that a run prints: what the user needs next. Pure text; it contains no secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...module_utils.names import NAMESPACE_GATEWAY

# The way to a gateway that has no address outside of the cluster.
BY_FORWARD = f"http://127.0.0.1:8080/v1 after kubectl -n {NAMESPACE_GATEWAY} port-forward service/llm-gateway 8080:8080"
FIRST_KEY = "llm-gateway-first-key"


@dataclass(frozen=True)
class Closing:
    """`stages`: seconds by stage; `changed`: component -> number of actions; `key_place`: the command that shows the key.

    `inside`: the gateway runs, and is reached from within the cluster only.
    """

    cluster: str
    url: str = ""
    models: list[str] = field(default_factory=list)
    answer: str = ""
    key_masked: str = ""
    key_place: str = ""
    kubeconfig: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    inside: bool = False


def render(closing: Closing) -> str:
    """Aligned lines, the `curl` line on its own so that it can be copied."""
    rows: list[tuple[str, str]] = [("cluster", closing.cluster)]
    if closing.url and closing.key_masked:
        rows += [
            ("url", f"{closing.url}/v1"),
            ("key", f"{closing.key_masked}   {closing.key_place}"),
            ("models", ", ".join(closing.models) or "none yet"),
        ]
    elif closing.inside:
        rows += [("gateway", BY_FORWARD), ("key", key_command())]
    if closing.kubeconfig:
        rows.append(("kubeconfig", closing.kubeconfig))
    if closing.answer:
        rows.append(("answer", closing.answer))
    rows.append(("changed", ", ".join(f"{name} ({count})" for name, count in closing.changed.items()) or "nothing"))
    rows.append(("seconds", ", ".join(f"{name} {seconds:.1f}" for name, seconds in closing.stages.items())))
    width = max(len(name) for name, __ in rows)
    lines = [f"  {name:<{width}}  {text}" for name, text in rows]
    if closing.url and closing.models:
        lines += ["", curl_line(closing.url, closing.models[0], closing.key_place)]
    return "\n".join(lines)


def curl_line(url: str, model: str, key_place: str) -> str:
    """A line to paste. It reads the key from where it is stored, so that the key is never printed."""
    body = f'{{"model": "{model}", "prompt": "The capital of France is", "max_tokens": 16}}'
    return f'curl -s {url}/v1/completions -H "Authorization: Bearer $({key_place})" -H "Content-Type: application/json" -d \'{body}\''


def key_command(where: str = "") -> str:
    """A command that prints the first key. `where`: options of kubectl that name the cluster."""
    return f"kubectl{where} -n {NAMESPACE_GATEWAY} get secret {FIRST_KEY} -o go-template='{{{{.data.api_key | base64decode}}}}'"


def masked(key: str) -> str:
    """Enough of a key to tell two apart, never enough to use it."""
    return f"{key[:5]}…{key[-2:]}" if len(key) >= 16 else "…"
