# SPDX-License-Identifier: Apache-2.0
"""python -m local.aws serve --listen 127.0.0.1:4566 --state FOLDER: the AWS API on this machine, until SIGTERM."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from .config import REALISTIC_S, EmulatorConfig, keys_from
from .errors import EmulatorError
from .listening import Address


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.aws", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="answer until SIGTERM; the first line on stdout is JSON with the addresses")
    serve.add_argument(
        "--listen",
        action="append",
        default=[],
        help="HOST:PORT, may be repeated; port 0 takes a free one; HOST:PORT@FILE is in the network namespace of that file",
    )
    serve.add_argument("--state", type=Path, default=None, help="folder of the journal; without it nothing is kept")
    serve.add_argument("--account", default="123456789012", help="account number, 12 digits")
    serve.add_argument("--access-key", default="local", help="access key of the caller")
    serve.add_argument("--secret-key", default="local", help="its secret; both are no secrets")
    serve.add_argument(
        "--credentials",
        type=Path,
        default=None,
        help="file of both, in AWS's form; then what gives rights on a cluster must be signed with them",
    )
    serve.add_argument("--caller", default="", help="ARN of the IAM user or role that the access key belongs to")
    serve.add_argument("--pace", type=float, default=0.0, help="0: everything at once; 1: as slow as AWS")
    kinds = ", ".join(REALISTIC_S)
    serve.add_argument("--delay", action="append", default=[], help=f"KIND=SECONDS, may be repeated; kinds: {kinds}")
    serve.add_argument(
        "--registry", default="", help="URL of a registry that holds the account's images, for ECR's logins"
    )
    serve.add_argument(
        "--deployer-names",
        default="",
        help="what names begin with of what a deployer may change, llm- for instance; default: any name",
    )
    webhook = verbs.add_parser("webhook-kubeconfig", help="print the file for an API server's token review webhook")
    webhook.add_argument("--url", required=True, help="the emulator's address as the API server reaches it")
    webhook.add_argument("--region", required=True)
    webhook.add_argument("--cluster", required=True)
    return parser.parse_args()


def configuration(arguments: argparse.Namespace) -> EmulatorConfig:
    """Raises EmulatorError."""
    delays = {}
    for text in arguments.delay:
        kind, __, seconds = text.partition("=")
        try:
            delays[kind] = float(seconds)
        except ValueError:
            raise EmulatorError(
                f"aws emulator: --delay {text!r} is not KIND=SECONDS, for instance cluster=20"
            ) from None
    keys = {"access_key": arguments.access_key, "secret_key": arguments.secret_key}
    if arguments.credentials:
        keys = keys_from(arguments.credentials)
    return EmulatorConfig(
        listen=tuple(Address.parse(text) for text in arguments.listen or ["127.0.0.1:0"]),
        state=arguments.state,
        account=arguments.account,
        private=arguments.credentials is not None,
        **keys,
        caller=arguments.caller,
        pace=arguments.pace,
        delays=delays,
        registry=arguments.registry,
        names=arguments.deployer_names,
    )


def forget_the_users_aws(config: EmulatorConfig) -> None:
    """Ignore the caller's own AWS settings: no keys and profiles are read, and no instance metadata is asked."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        AWS_ACCESS_KEY_ID=config.access_key,
        AWS_SECRET_ACCESS_KEY=config.secret_key,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )


def serve(config: EmulatorConfig) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    forget_the_users_aws(config)
    from .server import Emulator, listen

    emulator = Emulator(config)
    emulator.replay()
    try:
        servers = listen(emulator)
    except (OSError, SystemExit) as error:
        raise EmulatorError(f"aws emulator: cannot listen on {config.listen}: {error}") from None
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *__: done.set())
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    addresses = [f"http://{address.host}:{server.port}" for address, server in zip(config.listen, servers, strict=True)]
    print(json.dumps({"endpoints": addresses, "account": config.account}), flush=True)
    done.wait()


def main() -> None:
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    try:
        if arguments.verb == "webhook-kubeconfig":
            from .webhook import webhook_kubeconfig

            print(webhook_kubeconfig(arguments.url, arguments.region, arguments.cluster), end="")
        else:
            serve(configuration(arguments))
    except EmulatorError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
