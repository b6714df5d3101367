# SPDX-License-Identifier: Apache-2.0
"""`llm-gateway explain`: asks a running gateway which engine a request would get, and why."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from llm_gateway.errors import ConfigError
from llm_gateway.http.outgoing import OutgoingError, request


def explain(options: argparse.Namespace) -> int:
    """Ask and print; returns the exit status. Raises ConfigError."""
    try:
        key = Path(options.admin_key_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"admin key file {options.admin_key_file}: cannot be read: {error}") from error
    query = {name: getattr(options, name) for name in ("model", "prompt", "session") if getattr(options, name)}
    url = f"{options.url.rstrip('/')}/admin/explain?{urlencode(query)}"
    try:
        status, body = asyncio.run(request("GET", url, headers={"authorization": f"Bearer {key}"}))
        found = msgspec.json.decode(body)
    except (OutgoingError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{options.url}: {error}") from error
    if status != 200:
        raise ConfigError(f"{options.url}: status {status}: {found.get('error', {}).get('message', '')}")
    sys.stdout.write(table(found))
    return 0


def table(found: dict[str, object]) -> str:
    """The explanation for people."""
    meant = "" if found["asked"] == found["model"] else f" (meant by {found['asked']})"
    lines = [
        f"model   {found['model']}{meant}, policy {found['policy']}, {found['waiting']} waiting",
        f"engine  {found['engine'] or '-'}: {found['reason']}",
        "",
        f"{'engine':<40} {'state':<10} {'in flight':>9} {'queue':>6} {'KV':>5} {'share':>6}  excluded because",
    ]
    engines = found["engines"]
    for one in engines if isinstance(engines, list) else []:
        lines.append(
            f"{one['name']:<40} {one['state']:<10} {one['in_flight']:>9} {one['queue_depth']:>6} "
            f"{one['kv_use']:>5.2f} {one['share']:>6.2f}  {one['excluded']}"
        )
    return "\n".join(line.rstrip() for line in lines) + "\n"
