# SPDX-License-Identifier: Apache-2.0
"""`llm-gateway simulate`: its arguments, and what it prints and writes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from llm_gateway.callers.limits import Rules
from llm_gateway.engines.routing import POLICIES
from llm_gateway.errors import ConfigError
from llm_gateway.simulation.engine import EngineModel
from llm_gateway.simulation.report import page, table
from llm_gateway.simulation.run import Installation, simulate
from llm_gateway.simulation.trace import WORKLOADS, read_trace, synthetic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    model = EngineModel()
    add = parser.add_argument
    add("trace", help=f"file of requests (access log, Mooncake, or own), or a made-up workload: {', '.join(WORKLOADS)}")
    add("--policies", default=",".join(POLICIES), help="policies to compare, by commas (default: all)")
    add("--engines", type=int, default=100, help="engines (default 100)")
    add("--gateways", type=int, default=1, help="gateways that share them, each with its own view (default 1)")
    add("--rate", type=float, default=50.0, help="made-up workloads: requests a second (default 50)")
    add("--duration", type=float, default=300.0, help="made-up workloads: seconds (default 300)")
    add("--seed", type=int, default=1, help="of everything that is left to chance (default 1)")
    add("--speed", type=float, default=1.0, help="play the trace so many times faster (default 1)")
    add("--slots", type=int, default=model.slots, help="requests an engine runs at once (default %(default)s)")
    add(
        "--prefill", type=float, default=model.prefill_tokens_per_s, help="prompt tokens a second (default %(default)s)"
    )
    add("--token-time", type=float, default=model.token_s, help="seconds a token, alone (default %(default)s)")
    add(
        "--cache", type=int, default=model.cache_tokens, help="tokens in an engine's prefix cache (default %(default)s)"
    )
    add("--limit-requests-per-minute", type=int, default=0, help="limit of every key (default: none)")
    add("--limit-tokens-per-minute", type=int, default=0, help="limit of every key (default: none)")
    add("--redis", action="store_true", help="gateways count limits together; else each allows its share")
    add("--out", type=Path, default=Path("simulation.html"), help="the report (default %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Simulate, print the table, write the report. Raises ConfigError."""
    policies = [name for name in options.policies.split(",") if name]
    for name in policies:
        if name not in POLICIES:
            raise ConfigError(f"--policies: expected some of {', '.join(POLICIES)} (got {name!r})")
    for name in ("engines", "gateways", "slots", "rate", "duration", "speed", "prefill", "token_time", "cache"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"--{name.replace('_', '-')}: more than 0, please (got {getattr(options, name)})")
    if options.trace in WORKLOADS:
        asked = synthetic(options.trace, options.rate, options.duration, options.seed)
        what = f"{options.trace} at {options.rate:g} requests a second"
    else:
        asked = read_trace(Path(options.trace))
        what = Path(options.trace).name
    if not asked:
        raise ConfigError("the workload has no request: raise --rate or --duration")
    if options.speed != 1.0:
        asked = [
            type(one)(one.at_s / options.speed, one.prompt_tokens, one.output_tokens, one.blocks, one.session, one.key)
            for one in asked
        ]
    installation = Installation(
        engines=options.engines,
        gateways=options.gateways,
        model=EngineModel(
            slots=options.slots,
            prefill_tokens_per_s=options.prefill,
            token_s=options.token_time,
            cache_tokens=options.cache,
        ),
        limit=Rules(requests=options.limit_requests_per_minute, tokens=options.limit_tokens_per_minute),
        shared_limits=options.redis,
        seed=options.seed,
    )
    results = [simulate(asked, name, installation) for name in policies]
    sys.stdout.write(table(results))
    try:
        options.out.write_text(page(results, installation, what), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {options.out}: cannot be written: {error.strerror}") from error
    sys.stdout.write(f"drawn in {options.out}\n")
    return 0
