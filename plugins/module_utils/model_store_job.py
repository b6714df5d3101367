# SPDX-License-Identifier: Apache-2.0
"""The program of the sync Job: publish one file that comes on stdin, or look at what is published.

Exit codes: 0 done or already there · 2 wrong arguments · 3 wrong or short content · 4 the volume cannot be written ·
5 another writer holds the model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from .model_store import BusyError, ModelStore, ModelStoreError, WrongContentError, manifest_of

_REPORT_EVERY_S = 2.0


def main(arguments: Sequence[str] | None = None, stdin: BinaryIO | None = None) -> int:
    """Run one command; a failure prints one sentence and returns its exit code."""
    chosen = _parser().parse_args(arguments)
    store = ModelStore(chosen.root)
    try:
        if chosen.command == "publish":
            _publish(store, chosen, stdin or sys.stdin.buffer)
        elif chosen.command == "verify":
            manifest = store.verify(chosen.name, chosen.revision)
            _say(f"{chosen.name}/{chosen.revision}: {len(manifest.files)} files are what they should be")
        elif chosen.command == "remove":
            gone = store.remove(chosen.name, chosen.revision)
            _say(f"{chosen.name}/{chosen.revision}: {'removed' if gone else 'was not there'}")
        else:
            for manifest in store.list():
                size = sum(file.size_bytes for file in manifest.files)
                _say(f"{manifest.name}/{manifest.revision}  {size / 1e6:.0f} MB  {manifest.source}")
    except WrongContentError as failure:
        return _fail(failure, 3)
    except BusyError as failure:
        return _fail(failure, 5)
    except ModelStoreError as failure:
        return _fail(failure, 4)
    return 0


def _publish(store: ModelStore, chosen: argparse.Namespace, stdin: BinaryIO) -> None:
    manifest = manifest_of(chosen.name, chosen.source, chosen.sha256, chosen.size)
    started = time.monotonic()
    new = store.publish(manifest, lambda _file: stdin, _reporter(), chosen.wait)
    if new:
        _say(f"published {chosen.name}/{manifest.revision} in {time.monotonic() - started:.1f} s")
    else:
        _say(f"{chosen.name}/{manifest.revision} is already published")


def _reporter() -> Callable[[int, int], None]:
    started = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S or done == total:
            last = now
            rate = done / 1e6 / max(now - started, 0.001)
            _say(f"{100 * done // max(total, 1)} %  {done / 1e6:.0f} of {total / 1e6:.0f} MB  {rate:.0f} MB/s")

    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="model-store", description=__doc__)
    parser.add_argument("--root", default="/models", help="where the volume is mounted")
    commands = parser.add_subparsers(dest="command", required=True)
    publish = commands.add_parser("publish", help="publish one file from stdin")
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
    commands.add_parser("list", help="what is published")
    return parser


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _fail(failure: Exception, code: int) -> int:
    print(f"model-store: {failure}.", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
