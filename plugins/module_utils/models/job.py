# SPDX-License-Identifier: Apache-2.0
"""The program of the sync Job: fetch a model, publish one that comes on stdin, look at what is there, drop what is old.

Exit codes: 0 done or already there · 2 wrong arguments · 3 wrong or short content · 4 the volume cannot be written ·
5 another writer holds the model · 6 the source does not answer · 7 it refuses: token, name, revision. 2, 3, 4 and 7 stay so.
"""

from __future__ import annotations

# It runs in a pod, not as a module.
# pylint: disable=ansible-bad-function
import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, cast

from ..errors import LlmOnEksError
from . import collect
from .errors import AccessError, ContentError, MissingError, SpaceError, SyncError, UnknownSourceError
from .http import Client, Patience, token_from_environment
from .progress import reporter, size_text
from .select import Wanted
from .store import BusyError, Manifest, ModelStore, ModelStoreError, WrongContentError, manifest_of
from .sync import Access, Request, plan, sync
from .transfer import Bounds

_LONGEST_LINE_BYTES = 32 << 20
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (WrongContentError, 3),
    (ContentError, 3),
    (BusyError, 5),
    (SpaceError, 4),
    (ModelStoreError, 4),
    (AccessError, 7),
    (MissingError, 7),
    (UnknownSourceError, 2),
    (SyncError, 6),
)


def main(arguments: Sequence[str] | None = None, stdin: BinaryIO | None = None) -> int:
    """Run one command; a failure prints one sentence and returns its exit code."""
    chosen = _parser().parse_args(arguments)
    store = ModelStore(chosen.root)
    commands: dict[str, Callable[[], None]] = {
        "fetch": lambda: _fetch(store, chosen),
        "plan": lambda: _plan(store, chosen),
        "publish": lambda: _publish(store, chosen, stdin or sys.stdin.buffer),
        "verify": lambda: _verify(store, chosen),
        "remove": lambda: _remove(store, chosen),
        "collect": lambda: _collect(store, chosen),
        "list": lambda: _list(store),
    }
    try:
        commands[chosen.command]()
    except LlmOnEksError as failure:
        print(f"model-store: {failure}.", file=sys.stderr, flush=True)
        return next(code for kind, code in _EXIT_CODES if isinstance(failure, kind))
    return 0


def _fetch(store: ModelStore, chosen: argparse.Namespace) -> None:
    client = _client(chosen)
    # A Job that is deleted ends at once, and leaves its files for the next one.
    signal.signal(signal.SIGTERM, lambda *__: client.stopped.set())
    started = time.monotonic()
    bounds = Bounds(connections=chosen.connections)
    outcome = sync(
        store, _request(chosen), client, _access(chosen), bounds=bounds, progress=reporter(_say), wait_s=chosen.wait
    )
    if not outcome.changed:
        _say(f"{chosen.name} is already published")
        return
    resumed = f", {size_text(outcome.resumed_bytes)} of it from an earlier run" if outcome.resumed_bytes else ""
    files = len(outcome.manifest.files) if outcome.manifest else 0
    seconds = time.monotonic() - started
    _say(f"published {chosen.name}: {files} files, {size_text(outcome.total_bytes)}{resumed}, in {seconds:.1f} s")


def _plan(store: ModelStore, chosen: argparse.Namespace) -> None:
    outcome = plan(store, _request(chosen), _client(chosen), _access(chosen))
    if outcome.changed:
        _say(f"{chosen.name}: {size_text(outcome.moved_bytes)} would be fetched from {chosen.source}")
    else:
        _say(f"{chosen.name} is already published")


def _publish(store: ModelStore, chosen: argparse.Namespace, stdin: BinaryIO) -> None:
    manifest = _announced(stdin, chosen) if chosen.manifest else manifest_of(*_file(chosen))
    started = time.monotonic()
    new = store.publish(manifest, lambda _file: cast(BinaryIO, _Left(stdin)), reporter(_say), chosen.wait)
    if new:
        _say(f"published {chosen.name}/{manifest.revision} in {time.monotonic() - started:.1f} s")
    else:
        _say(f"{chosen.name}/{manifest.revision} is already published")


def _file(chosen: argparse.Namespace) -> tuple[str, str, str, int]:
    return chosen.name, chosen.source, chosen.sha256, chosen.size


def _announced(stdin: BinaryIO, chosen: argparse.Namespace) -> Manifest:
    """The manifest of several files, whose bytes follow one after the other. WrongContentError for another than was announced."""
    try:
        manifest = Manifest.from_json(stdin.readline(_LONGEST_LINE_BYTES).decode())
    except UnicodeDecodeError as problem:
        raise ModelStoreError("the stream does not begin with a manifest") from problem
    if (manifest.name, manifest.digest) != (chosen.name, chosen.sha256):
        raise WrongContentError(
            f"{chosen.name}: the stream's manifest has digest {manifest.digest}, not {chosen.sha256}"
        )
    return manifest


class _Left:
    """A stream that stays open when one of its files has been read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read1 = getattr(stream, "read1", stream.read)

    def __enter__(self) -> _Left:
        return self

    def __exit__(self, *__: object) -> None: ...


def _verify(store: ModelStore, chosen: argparse.Namespace) -> None:
    manifest = store.verify(chosen.name, chosen.revision)
    _say(f"{chosen.name}/{chosen.revision}: {len(manifest.files)} files are what they should be")


def _remove(store: ModelStore, chosen: argparse.Namespace) -> None:
    gone = store.remove(chosen.name, chosen.revision)
    _say(f"{chosen.name}/{chosen.revision}: {'removed' if gone else 'was not there'}")


def _collect(store: ModelStore, chosen: argparse.Namespace) -> None:
    wanted = {(name, revision) for name, __, revision in (one.partition("/") for one in chosen.wanted)}
    mounted = collect.mounted_by_pods(chosen.namespace, chosen.claim) if chosen.namespace else set()
    old = collect.judge(store, wanted, mounted, chosen.keep, drop_unnamed=chosen.drop_unnamed)
    for one in old:
        _say(f"{one.name}/{one.revision}  {size_text(one.size_bytes)}  {one.why_kept or 'goes'}")
    freed = 0 if chosen.check else collect.remove(store, old)
    _say(f"{size_text(freed)} freed")


def _list(store: ModelStore) -> None:
    for manifest in store.list():
        _say(f"{manifest.name}/{manifest.revision}  {size_text(manifest.size_bytes)}  {manifest.source}")


def _client(chosen: argparse.Namespace) -> Client:
    return Client(Patience(tries=chosen.tries, timeout_s=chosen.timeout), _say)


def _request(chosen: argparse.Namespace) -> Request:
    wanted = Wanted(tuple(chosen.include), tuple(chosen.exclude), chosen.quantization, chosen.allow_pickle)
    return Request(chosen.name, chosen.source, chosen.revision, wanted)


def _access(chosen: argparse.Namespace) -> Access:
    region = chosen.region or os.environ.get("AWS_REGION", "") or os.environ.get("AWS_DEFAULT_REGION", "")
    endpoint = chosen.hub_endpoint or os.environ.get("HF_ENDPOINT", "")
    # https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    s3 = chosen.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3", "") or os.environ.get("AWS_ENDPOINT_URL", "")
    return Access(endpoint, token_from_environment(), region, s3)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="model-store", description=__doc__)
    parser.add_argument("--root", default="/models", help="where the volume is mounted")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_sources(commands)
    publish = commands.add_parser("publish", help="publish what comes on stdin")
    publish.add_argument(
        "--manifest", action="store_true", help="several files: a line with their manifest comes first"
    )
    publish.add_argument("--size", type=int, required=True, help="bytes to read")
    publish.add_argument("--sha256", required=True, help="what they must hash to")
    publish.add_argument("--source", default="", help="where it is from, for the manifest")
    publish.add_argument("--wait", type=float, default=600.0, metavar="S", help="for another writer")
    verify = commands.add_parser("verify", help="read every byte again")
    remove = commands.add_parser("remove", help="take one revision away")
    for command in (publish, verify, remove):
        command.add_argument("--name", required=True)
    for command in (verify, remove):
        command.add_argument("--revision", required=True)
    old = commands.add_parser("collect", help="drop revisions that nobody wants or mounts")
    old.add_argument("--wanted", action="append", default=[], metavar="NAME/REVISION")
    old.add_argument("--keep", type=int, default=1, help="of each model, besides")
    old.add_argument("--drop-unnamed", action="store_true", help="keep nothing of models without a wanted revision")
    old.add_argument("--namespace", default="", help="ask which revisions the pods of this namespace mount")
    old.add_argument("--claim", default="models")
    old.add_argument("--check", action="store_true", help="remove nothing")
    commands.add_parser("list", help="what is published")
    return parser


def _add_sources(commands: Any) -> None:
    for name, about in (("fetch", "fetch and publish a model"), ("plan", "what fetch would do")):
        command = commands.add_parser(name, help=about)
        add = command.add_argument
        add("--name", required=True)
        add("--source", required=True, help="hf://, s3:// or https://")
        add("--revision", required=True, help="a commit, or sha256:DIGEST")
        add("--include", action="append", default=[], metavar="PATTERN")
        add("--exclude", action="append", default=[], metavar="PATTERN")
        add("--quantization", default="", help="of a GGUF repository")
        add("--allow-pickle", action="store_true")
        add("--hub-endpoint", default="", help="a mirror of the Hub; default: HF_ENDPOINT")
        add("--s3-endpoint", default="", help="a store that is not AWS's; default: AWS_ENDPOINT_URL_S3")
        add("--region", default="", help="the bucket's; default: AWS_REGION")
        add("--connections", type=int, default=8)
        add("--tries", type=int, default=8, help="without any progress between them")
        add("--timeout", type=float, default=60.0, metavar="S", help="without a byte")
        add("--wait", type=float, default=3600.0, metavar="S", help="for another writer")


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
