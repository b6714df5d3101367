# SPDX-License-Identifier: Apache-2.0
"""The command line: `llm-gateway serve`, `simulate`, `check`, `explain`, `schema`, `settings`."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llm_gateway import __version__
from llm_gateway.callers.keys import read_keys
from llm_gateway.config import settings
from llm_gateway.discovery.static import static_endpoints
from llm_gateway.errors import ConfigError
from llm_gateway.simulation.command import add_arguments as add_simulate_arguments
from llm_gateway.simulation.command import run as run_simulation


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="llm-gateway", description="A gateway in front of LLM engines.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve clients", allow_abbrev=False)
    serve.add_argument("--config", default=os.environ.get("LLM_GATEWAY_CONFIG"), help="config document (YAML)")
    settings.add_flags(serve)
    check = commands.add_parser("check", help="check a config document and say what is wrong with it")
    check.add_argument("config", help="config document (YAML)")
    why = commands.add_parser("explain", help="ask a running gateway which engine a request would get, and why")
    why.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway")
    why.add_argument("--admin-key-file", required=True, help="file with the admin key")
    why.add_argument("--model", default="", help="model to ask for; none: the only one there is")
    why.add_argument("--prompt", default="", help="beginning of the prompt, for prefix affinity")
    why.add_argument("--session", default="", help="session name, for session affinity")
    simulated = commands.add_parser(
        "simulate", help="replay a trace over the policies in virtual time, and draw what comes of it"
    )
    add_simulate_arguments(simulated)
    commands.add_parser("schema", help="print the JSON schema of the config document")
    commands.add_parser("settings", help="print the table of all settings")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "settings":
            sys.stdout.write(settings.documentation())
            return 0
        if options.command == "schema":
            sys.stdout.write(settings.schema())
            return 0
        if options.command == "explain":
            from llm_gateway.web.explain import explain

            return explain(options)
        if options.command == "simulate":
            return run_simulation(options)
        if options.command == "check":
            return _check(Path(options.config))
        return _serve(options)
    except ConfigError as error:
        sys.stderr.write(f"llm-gateway: {error}\n")
        return 2


def _check(path: Path) -> int:
    chosen = settings.load(None, {}, settings.read_document(path), f"config {path}")
    if chosen.keys_dir or chosen.api_key_file:
        read_keys(chosen.keys_dir, chosen.api_key_file)
    static_endpoints(chosen)
    sys.stdout.write(f"{path}: good\n")
    return 0


def _load(options: argparse.Namespace) -> settings.Settings:
    """The settings of `serve`. Raises ConfigError."""
    document = settings.read_document(Path(options.config)) if options.config else None
    chosen = settings.load(options, os.environ, document, f"config {options.config}", options.config or "")
    if not (chosen.engine or chosen.kubernetes):
        raise ConfigError("no engines: give --engine URL at least once, or --kubernetes")
    if not (chosen.api_key_file or chosen.keys_dir or chosen.anonymous or chosen.jwks or chosen.jwt_issuer):
        raise ConfigError("no keys: give --api-key-file or --keys-dir, or say --anonymous to serve everybody")
    return chosen


def _raise_file_limit() -> None:
    """Every client and every engine connection is an open file; the usual soft limit of 1024 is no limit of ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(options: argparse.Namespace) -> int:
    chosen = _load(options)
    _raise_file_limit()
    logging.basicConfig(
        level=chosen.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
        force=True,
    )
    if chosen.workers > 1:
        from llm_gateway.process.supervisor import Supervisor

        return Supervisor(chosen, lambda: _load(options)).run()
    from llm_gateway.process.worker import Worker, bind

    return Worker(chosen, bind(chosen, shared=False), load=lambda: _load(options)).run()
