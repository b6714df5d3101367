# SPDX-License-Identifier: Apache-2.0
"""OpenCost's GET /allocation, as its program answers it, for nodes and pods that cost the same all the time.

Held against OpenCost 1.112 (files of its repository: pkg/costmodel/aggregation.go, core/pkg/opencost/window.go, allocation_json.go);
tests/e2e/test_cost_report.py asks the program itself. Needs nothing but Python, so that a pod can run it:
    python opencost.py PORT NAME=USD_AN_HOUR...
"""

from __future__ import annotations

import datetime
import http.server
import json
import math
import re
import sys
import urllib.parse
from collections.abc import Mapping

UTC = datetime.timezone.utc  # noqa: UP017 - the pod's Python may be an older one
DAY = datetime.timedelta(days=1)


def window_of(text: str, now: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    """What a window means. "30d" ends with the day that is running, in UTC; a pair of moments is what it says. Raises ValueError."""
    if found := re.fullmatch(r"(\d+)d", text):
        end = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        return end - int(found[1]) * DAY, end
    moments = text.split(",")
    if len(moments) != 2 or not all(re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", one) for one in moments):
        raise ValueError(f"illegal window: {text}")
    start, end = (datetime.datetime.strptime(one, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) for one in moments)
    return start, end


def allocation(
    query: Mapping[str, str], rates: Mapping[str, float], since: datetime.datetime, now: datetime.datetime
) -> tuple[int, bytes]:
    """Status and body. `rates`: USD an hour by name, as they aggregate by label; `since`: when everything began."""
    try:
        start, end = window_of(query.get("window", ""), now)
    except ValueError as error:
        # Both, one after the other.
        failed = {"code": 500, "status": "", "data": None, "message": "Error: illegal window: [nil, nil)"}
        return 400, f"Invalid 'window' parameter: {error}\n{json.dumps(failed, separators=(',', ':'))}".encode()
    start, until = max(start, since), min(end, now)
    hours = max((until - start).total_seconds() / 3600, 0)
    named = {name: rate for name, rate in rates.items() if name != "__idle__" or query.get("includeIdle") == "true"}
    found = {name: _one(name, rate * hours, start, until) for name, rate in named.items()} if hours else {}
    return 200, json.dumps({"code": 200, "status": "success", "data": [found]}).encode()


def _one(name: str, cost: float, start: datetime.datetime, end: datetime.datetime) -> dict[str, object]:
    """Five decimals, and null for what is no number."""
    return {
        "name": name,
        "properties": {"cluster": "demo"},
        "window": {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
        "start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "end": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "minutes": round((end - start).total_seconds() / 60, 5),
        "totalCost": None if math.isnan(cost) else round(cost, 5),
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    rates: Mapping[str, float] = {}

    def do_GET(self) -> None:
        place = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(place.query))
        now = datetime.datetime.now(UTC)
        status, body = (
            allocation(query, self.rates, now - 400 * DAY, now) if place.path == "/allocation" else (404, b"")
        )
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    _Handler.rates = {name: float(rate) for name, rate in (one.split("=") for one in sys.argv[2:])}
    http.server.HTTPServer(("", int(sys.argv[1])), _Handler).serve_forever()
