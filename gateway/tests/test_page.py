# SPDX-License-Identifier: Apache-2.0
"""The page at /ui: what it is given, who gets it, and that a browser draws it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from gateway_support.browser import browser, chromium
from gateway_support.house import Front, House

pytestmark = pytest.mark.programs

ADMIN = "sk-admin"


def with_admin(house: House, *engines: Any, **options: Any) -> Front:
    file = house.folder / "admin.txt"
    file.write_text(ADMIN)
    return house.front(*engines, admin_key_file=str(file), **options)


def test_the_page_is_for_everybody_but_its_figures_are_for_admins(house: House) -> None:
    front = with_admin(house, house.engine())
    page = front.get("/ui", key=None)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert front.get("/ui/page.js", key=None).headers["content-type"].startswith("text/javascript")
    assert front.get("/ui/page.css", key=None).headers["content-type"].startswith("text/css")
    assert front.get("/admin/status", key=None).status == 401
    assert front.get("/admin/status").status == 403
    assert front.get("/admin/status", key=ADMIN).status == 200
    assert front.get("/ui/other", key=ADMIN).status == 404
    assert front.get("/ui/..%2fpage.py", key=ADMIN).status == 404


def test_without_an_admin_key_there_is_no_page(house: House) -> None:
    assert house.front(house.engine()).get("/ui", key=None).status == 404


def test_the_page_stands_on_its_own() -> None:
    """Nothing is loaded from elsewhere, and nothing runs that stands in the markup."""
    import llm_gateway

    folder = Path(llm_gateway.__file__).parent / "web" / "ui"
    for file in folder.iterdir():
        text = file.read_text()
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text
    markup = (folder / "index.html").read_text()
    assert " style=" not in markup
    assert "onclick" not in markup
    assert "innerHTML" not in (folder / "page.js").read_text()


@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_a_browser_draws_the_page(house: House, tmp_path: Path) -> None:
    engines = [house.engine(gap_s=0.01) for __ in range(3)]
    front = with_admin(house, *engines, house.engine(mode="status:500"), breaker_failures=1, breaker_cooldown=60)
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            front.open_stream(max_tokens=10).events()

    clients = [threading.Thread(target=ask) for __ in range(3)]
    for client in clients:
        client.start()
    try:
        with browser(tmp_path) as page:
            page.size(1440, 1000)
            page.go(front.url + "/ui")
            page.until("!document.getElementById('login').hidden")
            page.type("#key", "sk-wrong")
            page.press_enter()
            page.until("document.getElementById('refused').textContent !== ''")
            page.complaints.clear()  # the browser notes the 401
            page.type("#key", ADMIN)
            page.press_enter()
            page.until("document.querySelectorAll('#charts .chart').length === 4")
            page.until("document.querySelectorAll('#charts .curve').length >= 6", 30)
            assert page.value("document.querySelectorAll('#engines .engine').length") == 4
            page.until("document.querySelectorAll('#engines .ejected').length === 1")
            assert page.value("document.querySelector('#models td.name').textContent") == "tiny"
            assert page.value("document.querySelector('#keys .who').textContent") == "key-1"
            assert "NaN" not in page.value("document.body.innerHTML")
            assert page.complaints == []
            if os.environ.get("PICTURES"):
                page.picture(Path(os.environ["PICTURES"]) / "page.png")
    finally:
        stop.set()
        for client in clients:
            client.join()
