# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target, or replay inputs: `python gateway/tests/fuzz/run.py TARGET [libFuzzer's options] [files and folders]`.

It begins with the target's own seeds and the inputs in the folders; new ones that take other branches are kept in the first folder.
libFuzzer writes an input that fails to `crash-…` in the working directory (`-artifact_prefix=` says where else); naming that file replays
it. `-help=1` lists the options.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
SOURCE = os.environ.get("LLM_GATEWAY_SOURCE")
if SOURCE is None:
    os.environ["LLM_GATEWAY_PURE"] = "1"  # compiled code tells nothing of its branches
sys.path[:1] = [str(TESTS), SOURCE or str(TESTS.parent / "src")]


def dictionary_line(word: bytes) -> str:
    """One word as libFuzzer reads it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def main(arguments: Sequence[str]) -> None:
    from fuzz.targets import TARGETS, find

    if not arguments or arguments[0] not in TARGETS:
        raise SystemExit(f"say which target: {', '.join(TARGETS)}")
    import atheris

    # What is imported in here tells the fuzzer which of its branches were taken.
    with atheris.instrument_imports(include=["llm_gateway", "fuzz.planted"]):
        target = find(arguments[0])
    logging.disable(logging.CRITICAL)
    check = target.make()

    def one_input(data: bytes) -> None:
        try:
            check(data)
        except BaseException:
            print(f"{arguments[0]}: this input fails: {data!r}", file=sys.stderr, flush=True)
            raise

    given = list(arguments[1:])
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        options = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"]
        if target.words:
            words = Path(folder, "words")
            words.write_text("".join(map(dictionary_line, target.words)))
            options.append(f"-dict={words}")
        if not any(Path(argument).is_file() for argument in given):
            seeds = Path(folder, "seeds")
            seeds.mkdir()
            for number, seed in enumerate(target.seeds):
                (seeds / f"{number:03}").write_bytes(seed)
            given.append(str(seeds))
        atheris.Setup([sys.argv[0], *options, *given], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
