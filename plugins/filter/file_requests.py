# SPDX-License-Identifier: GPL-3.0-or-later
"""What files the entries of the catalogue need."""

from __future__ import annotations

DOCUMENTATION = r"""
name: file_requests
short_description: The files that entries of the catalogue need, as M(llm.on_eks.model_files) takes them
description:
  - Entries of C(state=absent) need none.
options:
  _input:
    description: Entries of C(model_catalog), and adapters of them.
    type: list
    elements: dict
    required: true
"""
EXAMPLES = r"""
models: "{{ model_catalog | llm.on_eks.file_requests }}"
"""
RETURN = r"""
_value:
  description: Values of O(llm.on_eks.model_files#module:models).
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any

# These have no template of their own.
_CHAT_FROM_REPOSITORY = ("vllm", "sglang", "tgi")


def file_requests(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """See DOCUMENTATION."""
    return [
        {
            "name": entry["name"],
            "source": entry["source"],
            "revision": entry.get("revision") or "",
            "include": entry.get("include") or [],
            "exclude": entry.get("exclude") or [],
            # Others read whole repositories.
            "quantization": (entry.get("quantization") or "") if entry.get("engine") == "llamacpp" else "",
            "allow_pickle": entry.get("allow_pickle") or False,
            "chat": _reads_template(entry),
        }
        for entry in entries
        if entry.get("state", "present") == "present"
    ]


def _reads_template(entry: Mapping[str, Any]) -> bool:
    """Whether chats need a template of the repository. An adapter has no engine."""
    given = any(str(one).startswith("--chat-template") for one in entry.get("engine_args") or ())
    return (
        entry.get("engine") in _CHAT_FROM_REPOSITORY and (entry.get("task") or "generate") == "generate" and not given
    )


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"file_requests": file_requests}
