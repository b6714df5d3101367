# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the environment's release set, and show what moved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.models.http import Client, Patience, token_from_environment
from ansible_collections.llm.on_eks.plugins.module_utils.models.sync import Access
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import lock_file
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.download import registry_credentials
from ansible_collections.llm.on_eks.plugins.plugin_utils.images import reference
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.registry import Registry
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.wanted import upstream
from ansible_collections.llm.on_eks.plugins.plugin_utils.models import pins
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import CHART_OPTIONS, charts_from

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "components": {"type": "list", "elements": "dict", "required": True},
    "models": {"type": "list", "elements": "dict", "default": []},
    "images": {"type": "list", "elements": "str", "default": []},
    "hub_endpoint": {"type": "str", "default": ""},
    "region": {"type": "str", "default": ""},
    **CHART_OPTIONS,
    "lock_file": {"type": "path", "required": True},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        file = Path(options["lock_file"])
        before = lock_file.read(file)
        components = parse(options["components"])
        charts = lock_file.resolve(components, charts_from(options)).charts
        after = lock_file.LockFile(charts, _models(options), _images([*options["images"], *upstream(components)]))
        moved = lock_file.moves(before, after)
        display.display("\n".join(f"  {line}" for line in moved) or f"  {file.name}: nothing moved")
        changed = before != after
        if changed and not self._task.check_mode:
            lock_file.write(after, file)
        return {"changed": changed, "moved": moved, "file": str(file)}


def _models(options: dict[str, Any]) -> list[lock_file.LockedModel]:
    """What the models' branches and tags stand for. A token for gated ones comes from HF_TOKEN, as huggingface_hub has it."""
    endpoint = options["hub_endpoint"] or os.environ.get("HF_ENDPOINT", "")
    access = Access(endpoint, token_from_environment(), options["region"])
    client = Client(Patience(tries=3, timeout_s=20), display.display)
    return pins.resolve(pins.with_adapters(options["models"]), access, client)


def _images(references: list[str]) -> list[lock_file.LockedImage]:
    """The digests that tags of images have now, asked of their registries, with the credentials that container tools use."""
    found = []
    for text in sorted(set(references)):
        image = reference.parse(text)
        registry = Registry(image.registry, registry_credentials(image.registry))
        found.append(lock_file.LockedImage(text, registry.digest(image.repository, image.asked)))
    return found
