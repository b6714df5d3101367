# SPDX-License-Identifier: Apache-2.0
"""What mkdocs needs to know of this project: pages that `nav` does not list, and links to files beside docs/.

A page that is in no section of mkdocs.yml comes into the section "More", so that whoever writes one need not touch that file. Links
that lead out of docs/ become links to the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_OUTWARDS = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def on_config(config: Any) -> Any:
    folder = Path(config["docs_dir"])
    listed = set(pages(config["nav"]))
    more = [file for file in sorted(folder.rglob("*.md")) if str(file.relative_to(folder)) not in listed]
    if more:
        config["nav"].append({"More": [{title(file): str(file.relative_to(folder))} for file in more]})
    return config


def on_page_markdown(markdown: str, *, config: Any, **__: Any) -> str:
    return outwards(markdown, f"{config['repo_url']}/blob/main")


def pages(nav: Any) -> list[str]:
    """The files that a `nav` lists, at any depth."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [page for one in inner for page in pages(one)]


def title(file: Path) -> str:
    found = _TITLE.search(file.read_text(encoding="utf-8"))
    return found[1] if found else file.stem


def outwards(markdown: str, repository: str) -> str:
    """Links that leave docs/, to the repository's page of the file."""
    return _OUTWARDS.sub(lambda found: f"]({repository}/{found[1]}{found[2] or ''})", markdown)
