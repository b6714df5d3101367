# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: neuron_artifacts
short_description: Have a model's Neuron artifacts, compiled once for exactly these inputs
description:
  - Makes sure that compiled artifacts for an exact set of inputs are on a volume. Their key is a hash over everything that the
    compiler or the runtime sees; nothing of the machine that runs this module is part of it.
  - A set appears whole or not at all, and two builders of the same compile once.
  - The compiler's libraries are imported in a child process of O(python_executable) only. The Job in the cluster runs the same code.
options:
  state:
    description:
      - V(present) compiles what is not there.
      - V(verified) compiles nothing, and fails with what differs.
      - V(absent) removes the artifacts of these inputs.
    type: str
    choices: [present, absent, verified]
    default: present
  model:
    description: The model's name, a folder of the artifacts.
    type: str
    required: true
  model_path:
    description: Its folder, flat, as the model store has published it.
    type: path
    required: true
  artifact_root:
    description: Folder of all models' artifacts.
    type: path
    required: true
  backend:
    description: Which library compiles and serves it.
    type: str
    choices: [tnx, optimum, vllm]
    required: true
  target:
    description: What it will run on. C(inf2) and C(trn1) share their artifacts.
    type: str
    choices: [inf2, trn1, trn1n, trn2, trn2u, trn3]
    required: true
  tp_degree:
    description: Over how many NeuronCores it is spread.
    type: int
    default: 2
  batch_size:
    description: Requests that are computed at once.
    type: int
    default: 1
  n_positions:
    description: Tokens of prompt and answer together.
    type: int
    default: 2048
  dtype:
    description: What it computes in.
    type: str
    choices: [bf16, fp16, fp32]
    default: bf16
  quantization:
    description: How its weights are stored on the device; empty for O(dtype).
    type: str
    default: ""
  buckets:
    description: Lengths of prompts that have graphs of their own.
    type: list
    elements: int
    default: []
  neuron_config:
    description: The library's own settings. Write fractions as text.
    type: dict
    default: {}
  compiler_flags:
    description: Flags of C(neuronx-cc); their order does not matter.
    type: list
    elements: str
    default: []
  logical_nc:
    description: Physical cores that make a logical one, on Trainium2 and later.
    type: int
    default: 1
  image_digest:
    description: Digest of the image that this runs in, if it runs in one.
    type: str
    default: ""
  include_weights:
    description: The artifacts hold the weights, so that they fit these alone.
    type: bool
    default: false
  python_executable:
    description: The Python that has the backend's libraries. Default is this module's own.
    type: path
  environment:
    description: Environment of its processes, over this one's.
    type: dict
    default: {}
  timeout:
    description: Seconds for a compilation.
    type: int
    default: 21600
  lock_timeout:
    description: Seconds to wait for another builder of the same.
    type: int
    default: 21600
  verify:
    description: V(full) reads every byte of what is there.
    type: str
    choices: [size, full]
    default: size
  force:
    description: Compile again what is there.
    type: bool
    default: false
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Compiles nothing, and says what would be.
    support: full
  diff_mode:
    description: Shows the inputs of the nearest artifacts that are there, and those that are wanted.
    support: full
"""

EXAMPLES = r"""
- name: Have an 8B model's artifacts for two cores
  llm.on_eks.neuron_artifacts:
    model: llama-3.1-8b
    model_path: /mnt/models/llama-3.1-8b/0e9e39f249a1
    artifact_root: /mnt/neuron
    backend: optimum
    target: inf2
    tp_degree: 2
    n_positions: 4096
    python_executable: /opt/optimum/bin/python
"""

RETURN = r"""
key:
  description: The artifacts' key, 16 hex digits.
  returned: always
  type: str
key_inputs:
  description: Everything that it is made of.
  returned: always
  type: dict
status:
  description: V(present), V(compiled), or V(absent).
  returned: always
  type: str
path:
  description: The folder; empty where there is none.
  returned: always
  type: str
mismatch:
  description: In what the nearest artifacts that are there differ.
  returned: always
  type: list
  elements: str
duration_s:
  description: Seconds of the compilation.
  returned: always
  type: float
files:
  description: Names of the files.
  returned: always
  type: list
  elements: str
stderr_tail:
  description: The compiler's last lines.
  returned: when it failed
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.compiler import BACKENDS, Runner
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.ensure import (
    Outcome,
    Shapes,
    ensure,
    inputs_of,
    look,
    verify,
)
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.errors import CompileError
from ansible_collections.llm.on_eks.plugins.module_utils.neuron.store import ArtifactStore

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent", "verified"], "default": "present"},
    "model": {"type": "str", "required": True},
    "model_path": {"type": "path", "required": True},
    "artifact_root": {"type": "path", "required": True},
    "backend": {"type": "str", "choices": ["tnx", "optimum", "vllm"], "required": True},
    "target": {"type": "str", "choices": ["inf2", "trn1", "trn1n", "trn2", "trn2u", "trn3"], "required": True},
    "tp_degree": {"type": "int", "default": 2},
    "batch_size": {"type": "int", "default": 1},
    "n_positions": {"type": "int", "default": 2048},
    "dtype": {"type": "str", "choices": ["bf16", "fp16", "fp32"], "default": "bf16"},
    "quantization": {"type": "str", "default": ""},
    "buckets": {"type": "list", "elements": "int", "default": []},
    "neuron_config": {"type": "dict", "default": {}},
    "compiler_flags": {"type": "list", "elements": "str", "default": []},
    "logical_nc": {"type": "int", "default": 1},
    "image_digest": {"type": "str", "default": ""},
    "include_weights": {"type": "bool", "default": False},
    "python_executable": {"type": "path"},
    "environment": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 21600},
    "lock_timeout": {"type": "int", "default": 21600},
    "verify": {"type": "str", "choices": ["size", "full"], "default": "size"},
    "force": {"type": "bool", "default": False},
}
SHAPES = ("target", "tp_degree", "batch_size", "n_positions", "dtype", "quantization", "logical_nc", "image_digest")


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = _run(module.params, module.check_mode)
    except CompileError as failure:
        module.fail_json(msg=f"{failure}.", stderr_tail=failure.tail, kind=failure.kind)
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{failure}.")
    module.exit_json(**result)


def _run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    store, backend = ArtifactStore(params["artifact_root"]), BACKENDS[params["backend"]]
    given = {"environment": {name: str(value) for name, value in params["environment"].items()}}
    if params["python_executable"]:
        given["python"] = params["python_executable"]
    runner = Runner(timeout_s=params["timeout"], **given)
    model, path, full = params["model"], Path(params["model_path"]), params["verify"] == "full"
    inputs = inputs_of(backend, path, _shapes(params), runner)
    there = look(store, model, inputs, full=full)
    if params["state"] == "verified":
        verify(store, model, inputs, full=full)
        return _result(there, there, changed=False)
    if params["state"] == "absent":
        if there.artifact and not check_mode:
            store.remove(there.artifact)
        gone = Outcome("absent", inputs, None)
        return _result(there, gone, changed=there.artifact is not None)
    changed = there.artifact is None or params["force"]
    if not changed or check_mode:
        return _result(there, there, changed=changed)
    options = {"force": params["force"], "wait_s": params["lock_timeout"]}
    made = ensure(store, model, path, inputs, backend, runner, **options)
    return _result(there, made, changed=made.status == "compiled")


def _shapes(params: dict[str, Any]) -> Shapes:
    return Shapes(
        **{name: params[name] for name in SHAPES},
        buckets=tuple(params["buckets"]),
        neuron_config=params["neuron_config"],
        compiler_flags=tuple(params["compiler_flags"]),
        include_weights=params["include_weights"],
    )


def _result(before: Outcome, after: Outcome, *, changed: bool) -> dict[str, Any]:
    found = after.artifact
    was = before.artifact.inputs if before.artifact else {one.part: one.found for one in before.mismatch}
    return {
        "changed": changed,
        "key": after.inputs.key,
        "key_inputs": after.inputs.parts(),
        "status": after.status,
        "path": str(found.path) if found else "",
        "files": sorted(found.files) if found else [],
        "mismatch": [str(one) for one in before.mismatch],
        "duration_s": round(after.seconds, 1),
        "diff": {"before": was, "after": after.inputs.parts() if changed else was},
    }


if __name__ == "__main__":
    main()
