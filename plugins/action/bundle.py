# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes everything that is downloaded for a platform into one folder, or checks such a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import bundle, lock_file
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.ecr import Ecr
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import (
    CHART_OPTIONS,
    charts_from,
    lock_file_from,
)

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "components": {"type": "list", "elements": "dict", "default": []},
    "out": {"type": "path", "default": ""},
    "verify": {"type": "path", "default": ""},
    "images": {"type": "bool", "default": False},
    "push": {"type": "str", "default": ""},
    "account": {"type": "str", "default": "account"},
    "keep_images": {"type": "int", "default": 0},
    **{name: {"type": "str", "default": ""} for name in ("region", "profile", "credentials_file", "endpoint_url")},
    **CHART_OPTIONS,
}


class ActionModule(Action):
    _supports_check_mode = False
    arguments = ARGUMENTS
    constraints: ClassVar = {"required_one_of": [["out", "verify"]], "mutually_exclusive": [["out", "verify"]]}

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        return _verified(options) if options["verify"] else _written(options)


def _verified(options: dict[str, Any]) -> dict[str, Any]:
    folder = Path(options["verify"])
    count = bundle.verify(folder)
    display.display(f"  {folder}: {count} files, all as they were written")
    if not options["push"]:
        return {"files": count}
    moved = bundle.push(folder, options["push"], _say, _ecr(options))
    display.display(f"  {options['push']}: {moved} images that it lacked")
    return {"changed": moved > 0, "files": count, "pushed": moved}


def _say(text: str) -> None:
    display.display(f"  {text}")


def _ecr(options: dict[str, Any]) -> Ecr | None:
    """The account's registry, where the images go there. Raises AwsError."""
    if options["push"].partition("/")[0] != "ecr":
        return None
    how = {name: options[name] for name in ("profile", "credentials_file", "endpoint_url")}
    return Ecr(Connection.open(options["region"], **how), options["account"], options["keep_images"], _say)


def _written(options: dict[str, Any]) -> dict[str, Any]:
    folder = Path(options["out"])
    file = lock_file_from(options)
    components = parse(options["components"])
    locked = {one.reference: one.digest for one in lock_file.read(file).images} if file else {}
    made = bundle.write(
        lock_file.locked(components, file) if file else components,
        charts_from(options),
        folder,
        locked if options["images"] else None,
        _say,
    )
    said = "are here by their digests" if options["images"] else "are named"
    display.display(f"  {folder}: {len(made.charts)} charts; {len(made.images)} images {said} in {bundle.IMAGES}")
    return {"changed": made.changed, "charts": list(made.charts), "images": list(made.images)}
