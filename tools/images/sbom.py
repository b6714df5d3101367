# SPDX-License-Identifier: Apache-2.0
"""What an image contains, as a CycloneDX document: its Debian and its Python packages, read from its file system.

https://cyclonedx.org/docs/1.6/json/. The same image gives the same document: it has no time in it.
"""

from __future__ import annotations

import email.parser
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

_STATUS = "var/lib/dpkg/status"
# Where Python packages are; not /proc and the like.
_PYTHON = ("usr", "opt")


@dataclass(frozen=True, order=True)
class Package:
    """`kind`: deb or pypi, as package URLs have it. https://github.com/package-url/purl-spec"""

    kind: str
    name: str
    version: str
    architecture: str = ""

    @property
    def purl(self) -> str:
        place = "deb/debian" if self.kind == "deb" else self.kind
        more = f"?arch={self.architecture}" if self.architecture else ""
        return f"pkg:{place}/{quote(self.name)}@{quote(self.version)}{more}"


def packages(root: Path) -> list[Package]:
    """Everything that is installed below `root`."""
    return sorted({*_debian(root / _STATUS), *_python(root)})


def document(name: str, reference: str, found: list[Package]) -> dict[str, Any]:
    """The CycloneDX document of an image."""
    components = [
        {"type": "library", "bom-ref": one.purl, "name": one.name, "version": one.version, "purl": one.purl}
        for one in found
    ]
    version = reference.rpartition(":")[2]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, reference)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": reference, "name": name, "version": version}},
        "components": components,
    }


def _debian(status: Path) -> Iterator[Package]:
    if not status.is_file():
        return
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = email.parser.HeaderParser().parsestr(paragraph)
        if fields["Package"] and (fields["Status"] or "").endswith(" installed"):
            yield Package("deb", fields["Package"], fields["Version"] or "", fields["Architecture"] or "")


def _python(root: Path) -> Iterator[Package]:
    for folder in _PYTHON:
        for file in (root / folder).rglob("*.dist-info/METADATA"):
            fields = email.parser.HeaderParser().parsestr(file.read_text(encoding="utf-8", errors="replace"))
            if fields["Name"] and fields["Version"]:
                # As the index writes it: https://peps.python.org/pep-0503/
                yield Package("pypi", fields["Name"].lower().replace("_", "-").replace(".", "-"), fields["Version"])
