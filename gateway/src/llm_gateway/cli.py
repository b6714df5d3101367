# SPDX-License-Identifier: Apache-2.0
"""The command line: `llm-gateway serve`, `check`, `settings`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from llm_gateway import __version__, settings
from llm_gateway.errors import ConfigError
from llm_gateway.keys import read_keys


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
    commands.add_parser("settings", help="print the table of all settings")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "settings":
            sys.stdout.write(settings.documentation())
            return 0
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
    sys.stdout.write(f"{path}: good\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    document = settings.read_document(Path(options.config)) if options.config else None
    chosen = settings.load(options, os.environ, document, f"config {options.config}")
    if not (chosen.engine or chosen.kubernetes):
        raise ConfigError("no engines: give --engine URL at least once, or --kubernetes")
    if not (chosen.api_key_file or chosen.keys_dir or chosen.anonymous):
        raise ConfigError("no keys: give --api-key-file or --keys-dir, or say --anonymous to serve everybody")
    logging.basicConfig(
        level=chosen.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
        force=True,
    )
    from llm_gateway.worker import Worker, bind

    listener = bind(chosen, shared=chosen.workers > 1)
    return Worker(chosen, listener).run()
