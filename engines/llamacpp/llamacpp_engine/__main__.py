# SPDX-License-Identifier: Apache-2.0
"""Load the model, serve, drain on SIGTERM.

llama.cpp listens only once the model is loaded, so a probe on /health is true readiness. It goes on accepting
connections until the process ends: whoever stops this pod takes it out of its EndpointSlice first.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import xllamacpp

from .drain import wait_until_idle
from .flags import Settings, UsageError, parse
from .weights import gguf_file


def _parameters(settings: Settings, file: Path) -> Any:
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(file)
    chosen.model_alias = {settings.alias or file.stem}
    chosen.hostnames, chosen.port = [settings.host or _every_address()], settings.port
    chosen.n_ctx, chosen.n_parallel = settings.context_tokens, settings.parallel
    chosen.cpuparams.n_threads, chosen.cpuparams_batch.n_threads = settings.threads, settings.threads_batch
    chosen.n_batch, chosen.n_ubatch = settings.batch_tokens, settings.ubatch_tokens
    chosen.n_predict = settings.predict_tokens
    chosen.cache_ram_mib = settings.cache_ram_mib
    chosen.n_threads_http = settings.http_threads
    chosen.timeout_read = chosen.timeout_write = settings.http_timeout_s
    chosen.api_keys = list(settings.api_keys)
    chosen.embedding = settings.embeddings
    if settings.embeddings:
        # A vector is pooled over the tokens of one computation. With a cache for each slot, texts of different lengths that are computed
        # together are split, and the longer one is pooled over its last part.
        chosen.kv_unified = True
    if settings.pooling:
        chosen.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{settings.pooling.upper()}")
    chosen.endpoint_metrics, chosen.endpoint_slots, chosen.ui = settings.metrics, False, False
    chosen.verbosity = settings.verbosity
    if settings.chat_template:
        chosen.chat_template = settings.chat_template
    return chosen


def _every_address() -> str:
    """A socket that listens on this hears both families, where the kernel has both."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - asked for by an empty --host


def _say(sentence: str) -> None:
    print(f"llamacpp-engine: {sentence}", flush=True)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the drain."""
    stop, hurry = threading.Event(), threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        (hurry if stop.is_set() else stop).set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    file = gguf_file(settings.model)
    _say(f"loading {file} ({file.stat().st_size / 1e6:.0f} MB)")
    server = xllamacpp.Server(_parameters(settings, file))
    _say(f"ready on {server.listening_address}")
    stop.wait()
    _say(f"draining, at most {settings.drain_timeout_s:g} s")

    def read_metrics() -> str:
        return "" if hurry.is_set() else str(server.handle_metrics())

    left = wait_until_idle(read_metrics, settings.drain_timeout_s, sleep=hurry.wait)
    _say(f"{left} requests cut off" if left else "drained")


def main() -> None:
    try:
        serve(parse(sys.argv[1:]))
    except UsageError as wrong:
        print(f"llamacpp-engine: {wrong}.", file=sys.stderr, flush=True)
        sys.exit(2)
    sys.stdout.flush()
    # The library's threads have nothing to save, and their destructors wait for open connections.
    os._exit(0)


if __name__ == "__main__":
    main()
