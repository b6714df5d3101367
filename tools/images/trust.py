# SPDX-License-Identifier: Apache-2.0
"""What pip needs inside a build to work as it does outside: the index of this machine's pip, and whom to trust.

Both go in as build secrets, files that only the step that mounts them sees. Build arguments would stay in the history.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# Options that say where packages come from. Paths on this machine (cert, find-links) do not exist inside a build.
_OPTIONS = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries", "index", "no-index"}
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")


def pip_conf(listing: str) -> str:
    """A pip.conf with the options of `pip config list` (files and environment) that hold inside a build too."""
    kept: dict[str, str] = {}
    for line in listing.splitlines():
        key, __, value = line.partition("=")
        option = key.rpartition(".")[2]
        if option in _OPTIONS and value:
            kept[option] = str(ast.literal_eval(value)).replace("\n", "\n    ")
    return "[global]\n" + "".join(f"{option} = {value}\n" for option, value in sorted(kept.items()))


def read_pip_options() -> str:
    """`pip config list` of the Python that runs us; empty where it has no pip."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def ca_bundle(environment: Iterable[str] = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")) -> Path | None:
    """The certificate bundle that clients on this machine use."""
    named = [os.environ[name] for name in environment if os.environ.get(name)]
    return next((Path(file) for file in (*named, *_BUNDLES) if Path(file).is_file()), None)
