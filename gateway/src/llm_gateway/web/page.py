# SPDX-License-Identifier: Apache-2.0
"""The page at `/ui`: three files. What they draw from is `/admin/status`, which wants an admin key; the files are for everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sanic import Sanic
from sanic.request import Request
from sanic.response import HTTPResponse, raw

FOLDER = Path(__file__).parent / "ui"
FILES = {
    "/ui": ("index.html", "text/html; charset=utf-8"),
    "/ui/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/ui/page.css": ("page.css", "text/css; charset=utf-8"),
}
# The page loads nothing but itself, runs nothing that stands in markup, and stands in nobody's frame.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def add_page(app: Sanic[Any, Any]) -> None:
    """The page's routes."""
    for path, (name, kind) in FILES.items():
        content = (FOLDER / name).read_bytes()

        async def serve(_request: Request, content: bytes = content, kind: str = kind) -> HTTPResponse:
            return raw(content, content_type=kind, headers=HEADERS)

        app.add_route(serve, path, methods=("GET", "HEAD"), name=name.replace(".", "_"))
