# SPDX-License-Identifier: Apache-2.0
"""Artifacts as a program: `compile` is the Job in the cluster, `verify` what an engine's pod runs before it loads.

Exit codes: 0 done or already there · 2 wrong arguments or inputs · 3 the artifacts are for something else · 4 the volume cannot be
written · 5 another builder has it · 7 the compilation failed. The last line of stdout is one JSON object.
"""

from __future__ import annotations

# It runs in a pod, not as a module.
# pylint: disable=ansible-bad-function
import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import LlmOnEksError
from ..models import collect
from ..models.store import BusyError, ModelStoreError
from . import metrics
from .compiler import BACKENDS, Runner
from .ensure import Shapes, ensure, inputs_of, look, verify
from .errors import CompileError, InputError, MismatchError
from .key import BACKENDS as NAMES
from .key import FAMILIES
from .store import Artifact, ArtifactStore

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (InputError, 2),
    (MismatchError, 3),
    (BusyError, 5),
    (ModelStoreError, 4),
    (CompileError, 7),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a failure prints one sentence and returns its exit code."""
    chosen = _parser().parse_args(arguments)
    if chosen.command == "metrics" and chosen.serve:
        metrics.serve(Path(chosen.root), chosen.serve)
        return 0
    if chosen.command == "metrics":
        print(metrics.text(Path(chosen.root)), end="", flush=True)
        return 0
    try:
        said = _collect(chosen) if chosen.command == "collect" else _run(chosen)
    except LlmOnEksError as failure:
        if isinstance(failure, CompileError) and failure.tail:
            print(failure.tail, file=sys.stderr)
        print(f"neuron-artifacts: {failure}.", file=sys.stderr, flush=True)
        return next((code for kind, code in _EXIT_CODES if isinstance(failure, kind)), 1)
    print(json.dumps(said, sort_keys=True), flush=True)
    return 0


def _run(chosen: argparse.Namespace) -> dict[str, Any]:
    store, backend, runner = ArtifactStore(chosen.root), BACKENDS[chosen.backend], Runner(timeout_s=chosen.timeout)
    inputs = inputs_of(backend, chosen.model_path, _shapes(chosen), runner)
    if chosen.command == "key":
        return {"key": inputs.key, "inputs": inputs.parts()}
    if chosen.command == "verify":
        artifact = verify(store, chosen.model, inputs, full=chosen.full)
        _link(chosen.link, artifact)
        return {"status": "present", "key": artifact.key, "path": str(artifact.path)}
    if chosen.command == "look":
        found = look(store, chosen.model, inputs)
        return {"status": found.status, "key": inputs.key, "mismatch": list(map(str, found.mismatch))}
    try:
        made = ensure(store, chosen.model, chosen.model_path, inputs, backend, runner, wait_s=chosen.wait, say=_say)
    except CompileError:
        metrics.count(store.root, chosen.model, chosen.backend, failed=True)
        raise
    metrics.count(store.root, chosen.model, chosen.backend, hit=made.status == "present", seconds=made.seconds)
    if made.artifact is None:
        raise AssertionError
    return {
        "status": made.status,
        "key": inputs.key,
        "path": str(made.artifact.path),
        "compile_seconds": round(made.seconds, 1),
        "mismatch": list(map(str, made.mismatch)),
    }


def _collect(chosen: argparse.Namespace) -> dict[str, Any]:
    """Remove artifacts of models that are no longer wanted, and old keys of those that are."""
    mounted = collect.mounted_by_pods(chosen.namespace, chosen.claim) if chosen.namespace else set()
    store = ArtifactStore(chosen.root)
    old = store.old(
        set(chosen.wanted), {folder for parent, folder in mounted if parent == store.root.name}, chosen.keep
    )
    for artifact in [] if chosen.check else old:
        store.remove(artifact)
    return {"removed": [f"{one.path.parent.name}/{one.key}" for one in old]}


def _link(link: str, artifact: Artifact) -> None:
    """The engine is told one path; which key is behind it, this program alone knows."""
    if link:
        Path(link).unlink(missing_ok=True)
        Path(link).symlink_to(artifact.path)


def shown(artifact: Artifact) -> dict[str, Any]:
    """An artifact's manifest for a module's answer."""
    return {
        "path": str(artifact.path),
        "key": artifact.key,
        "files": sorted(artifact.files),
        "compiler": artifact.compiler,
    }


def _shapes(chosen: argparse.Namespace) -> Shapes:
    return Shapes(
        target=chosen.target,
        tp_degree=chosen.tp_degree,
        batch_size=chosen.batch_size,
        n_positions=chosen.n_positions,
        dtype=chosen.dtype,
        quantization=chosen.quantization,
        buckets=tuple(chosen.bucket),
        neuron_config=json.loads(chosen.neuron_config),
        compiler_flags=tuple(chosen.compiler_flag),
        logical_nc=chosen.logical_nc,
        image_digest=chosen.image_digest,
        include_weights=chosen.include_weights,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neuron-artifacts", description=__doc__)
    parser.add_argument("--root", default="/neuron", help="where the volume's artifacts are")
    commands = parser.add_subparsers(dest="command", required=True)
    about = {
        "compile": "compile unless it is there",
        "verify": "fail unless it is there",
        "look": "what is there",
        "key": "the key",
    }
    for name, text in about.items():
        command = commands.add_parser(name, help=text)
        _add_inputs(command)
        if name == "verify":
            command.add_argument("--link", default="", metavar="PATH", help="make a symbolic link to them here")
    old = commands.add_parser("collect", help="remove artifacts that are no longer wanted")
    add = old.add_argument
    add("--wanted", action="append", default=[], metavar="MODEL", help="its newest artifacts stay")
    add("--keep", type=int, default=1, help="of each wanted model and backend, besides")
    add("--namespace", default="", help="ask which artifacts the pods of this namespace mount: those stay")
    add("--claim", default="models")
    add("--check", action="store_true", help="remove nothing")
    said = commands.add_parser("metrics", help="print hits, misses and seconds for Prometheus")
    said.add_argument("--serve", type=int, default=0, metavar="PORT", help="answer /metrics instead")
    return parser


def _add_inputs(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--model", required=True, help="its name, the folder")
    add("--model-path", type=Path, required=True)
    add("--backend", choices=NAMES, required=True)
    add("--target", choices=sorted(FAMILIES), required=True)
    add("--tp-degree", type=int, default=2)
    add("--batch-size", type=int, default=1)
    add("--n-positions", type=int, default=2048)
    add("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16")
    add("--quantization", default="")
    add("--bucket", type=int, action="append", default=[])
    add("--neuron-config", default="{}", metavar="JSON")
    add("--compiler-flag", action="append", default=[])
    add("--logical-nc", type=int, default=1)
    add("--image-digest", default="")
    add("--include-weights", action="store_true")
    add("--timeout", type=float, default=6 * 3600.0, metavar="S")
    add("--wait", type=float, default=6 * 3600.0, metavar="S", help="for another builder")
    add("--full", action="store_true", help="read every byte")


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
