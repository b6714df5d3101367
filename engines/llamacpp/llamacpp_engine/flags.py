# SPDX-License-Identifier: Apache-2.0
"""The command line: llama-server's names, and the two things that a pod needs besides."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn


class UsageError(Exception):
    """The command line says something that this engine does not know or cannot do."""


@dataclass(frozen=True)
class Settings:
    """`context_tokens` is shared by `parallel` slots: each request can use context_tokens / parallel of it."""

    model: str
    alias: str
    host: str
    port: int
    context_tokens: int
    parallel: int
    threads: int
    threads_batch: int
    batch_tokens: int
    ubatch_tokens: int
    predict_tokens: int
    cache_ram_mib: int
    http_threads: int
    http_timeout_s: int
    api_keys: tuple[str, ...]
    chat_template: str
    embeddings: bool
    pooling: str
    metrics: bool
    verbosity: int
    drain_timeout_s: float


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from a command line. UsageError names every flag that is unknown and shows where the known ones are."""
    chosen, unknown = _parser().parse_known_args(arguments)
    if unknown:
        raise UsageError(
            f"unknown: {' '.join(unknown)}. This engine takes a part of llama-server's flags; --help lists them. "
            "Remove the flag from engine_llamacpp_extra_args"
        )
    if not chosen.model:
        raise UsageError("--model is missing: give a GGUF file, or a folder that the model store has published")
    for flag, value in (
        ("--ctx-size", chosen.ctx_size),
        ("--parallel", chosen.parallel),
        ("--threads", chosen.threads),
    ):
        if value < 1:
            raise UsageError(f"{flag} is {value}: give 1 or more")
    return Settings(
        model=chosen.model,
        alias=chosen.alias,
        host=chosen.host,
        port=chosen.port,
        context_tokens=chosen.ctx_size,
        parallel=chosen.parallel,
        threads=chosen.threads,
        threads_batch=chosen.threads_batch or chosen.threads,
        batch_tokens=chosen.batch_size,
        ubatch_tokens=chosen.ubatch_size,
        predict_tokens=chosen.n_predict,
        cache_ram_mib=chosen.cache_ram,
        http_threads=chosen.threads_http,
        http_timeout_s=chosen.timeout,
        api_keys=tuple(chosen.api_key),
        chat_template=chosen.chat_template,
        embeddings=chosen.embeddings,
        pooling=chosen.pooling,
        metrics=chosen.metrics,
        verbosity=chosen.verbosity,
        drain_timeout_s=chosen.drain_timeout,
    )


def _parser() -> _Parser:
    parser = _Parser(prog="llamacpp-engine", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("-m", "--model", default="", help="GGUF file, or a folder published by the model store")
    add("-a", "--alias", default="", help="what /v1/models calls it; default: the file's name")
    add("--host", default="127.0.0.1", help="empty: every address, of IPv4 and IPv6")
    add("--port", type=int, default=8080)
    add("-c", "--ctx-size", type=int, default=4096, help="tokens of context, shared by all slots")
    add("-np", "--parallel", type=int, default=4, help="slots: requests that are computed at once")
    # Threads spin while they wait. More of them than free cores cost more than they give.
    add("-t", "--threads", type=int, default=1)
    add("-tb", "--threads-batch", type=int, default=0, help="threads for prompts; 0: as --threads")
    add("-b", "--batch-size", type=int, default=2048)
    add("-ub", "--ubatch-size", type=int, default=512)
    add("-n", "--n-predict", type=int, default=-1, help="most tokens of one answer; -1: up to the context")
    # llama.cpp's own default is 8192, which a pod with a memory limit does not survive.
    add("-cram", "--cache-ram", type=int, default=0, metavar="MIB", help="memory for prompts seen before; 0: none")
    add("--threads-http", type=int, default=-1, help="-1: llama.cpp decides")
    add("-to", "--timeout", type=int, default=3600, metavar="S", help="longest silence on a connection")
    add("--api-key", action="append", default=[], help="may be repeated; none: everybody may ask")
    add("--chat-template", default="", help="default: the one in the GGUF")
    add("--embeddings", action="store_true")
    poolings = ["none", "mean", "cls", "last", "rank"]
    add("--pooling", choices=poolings, default="", help="how embeddings are made of tokens; default: as the GGUF says")
    add("--metrics", action="store_true", help="serve Prometheus metrics at /metrics")
    add("-lv", "--verbosity", type=int, default=1)
    add("--drain-timeout", type=float, default=60.0, metavar="S", help="after SIGTERM, time for answers under way")
    return parser
