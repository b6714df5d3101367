# SPDX-License-Identifier: Apache-2.0
"""What a chart's files say about how it must be rendered."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .documents import parse
from .errors import ChartError
from .options import ChartOptions
from .source import ChartFile

# Part of the cached files' names: raise it when traits change.
_FORM = 3
_TEMPLATE = re.compile(r"(^|/)templates/.*\.(ya?ml|tpl|txt|json)$")
_STAGE = re.compile(rb"\bIs(Upgrade|Install)\b")
# What follows says which: `.Has "policy/v1"`. Anything else may ask for every one.
_SERVED = re.compile(rb"\bAPIVersions\b(?:\.Has\s+[\"`]([^\"`]+)[\"`])?")
_DEFINITION = re.compile(r"(^|/)crds/.*\.(ya?ml|json)$")


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """`lookup`, `api_versions`, `stage`: whether any template may look at the cluster, at what it serves, or whether it is an upgrade.

    `asked`: the API versions and kinds that templates ask for by name, None where they may ask for others; `kinds`:
    apiVersion/kind of its CRDs.
    """

    lookup: bool = False
    api_versions: bool = False
    stage: bool = False
    asked: list[str] | None = []
    kinds: list[str] = []

    @property
    def live(self) -> bool:
        return self.lookup or self.api_versions


def asks_for_stage(content: bytes) -> bool:
    """Whether a template in it may ask if this is an upgrade. A look-alike only costs a rendering."""
    return bool(_STAGE.search(content))


def traits(chart: ChartFile, options: ChartOptions) -> Traits:
    """Read once for each content. Subcharts count, whether they are enabled or not."""
    kept = options.renderings / f"traits-{_FORM}-{chart.digest}.json"
    try:
        return msgspec.json.decode(kept.read_bytes(), type=Traits)
    except (OSError, msgspec.MsgspecError):
        pass
    lookup = stage = False
    asked: set[bytes] = set()
    kinds: list[str] = []
    for name, content in _files(chart.path):
        stage = stage or asks_for_stage(content)
        if _TEMPLATE.search(name):
            lookup = lookup or bool(re.search(rb"\blookup\s", content))
            asked.update(_SERVED.findall(content))
        elif _DEFINITION.search(name):
            kinds += _kinds(content)
    names = None if b"" in asked else sorted(name.decode() for name in asked)
    found = Traits(lookup=lookup, api_versions=bool(asked), stage=stage, asked=names, kinds=kinds)
    options.renderings.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept.write_bytes(msgspec.json.encode(found))
    return found


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in path.rglob("*"):
            if file.suffix == ".tgz" and file.parent.name == "charts":
                yield from _archive(file.read_bytes())
            elif file.is_file():
                yield file.relative_to(path).as_posix(), file.read_bytes()
    else:
        yield from _archive(path.read_bytes())


def _archive(content: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is None:
                continue
            if re.search(r"/charts/[^/]+\.tgz$", member.name):
                yield from _archive(stream.read())
            else:
                yield member.name, stream.read()


def _kinds(content: bytes) -> list[str]:
    try:
        documents = parse(content.decode(errors="replace"))
    except ChartError:
        return []  # Helm reports this better when it renders
    return [
        f"{document['spec']['group']}/{version['name']}/{document['spec']['names']['kind']}"
        for document in documents
        if document["kind"] == "CustomResourceDefinition"
        for version in document["spec"].get("versions") or []
    ]
