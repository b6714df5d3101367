# SPDX-License-Identifier: Apache-2.0
"""Renders charts by `helm template`; results are cached by the digest of all inputs."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ...module_utils.files import write_whole
from ..kubernetes.client import Client
from . import binary, lookups
from .contents import Traits, asks_for_stage, traits
from .documents import Chunk, Document, chunks, parse
from .errors import ChartError
from .generated import GeneratedField, blanked, compare
from .options import ChartOptions
from .source import ChartFile

# Part of every cache key: raise it when the form of the cached files changes.
_FORM = 2
_FLAG_BYTES = 30_000


@dataclass(frozen=True)
class Request:
    """Everything that a rendering depends on, except the cluster. `upgrade`: whether templates see .Release.IsUpgrade."""

    chart: ChartFile
    release: str
    namespace: str
    values: dict[str, Any] = field(default_factory=dict)
    upgrade: bool = False

    @property
    def inputs(self) -> str:
        """sha256 of chart, values and names: unchanged as long as the request is unchanged."""
        said = [self.chart.digest, self.release, self.namespace, self.values]
        return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


@dataclass(frozen=True)
class Cluster:
    """What a rendering may know of the cluster. `client` None: an empty cluster.

    `planned`: apiVersion/kind of the CRDs that this run applies; `owned`: the release's objects in the cluster.
    """

    client: Client | None = None
    planned: Sequence[str] = ()
    owned: lookups.Owned = lookups.NOBODYS

    def version(self) -> str:
        if self.client is None:
            return ""
        return str(msgspec.json.decode(self.client.request("GET", "/version", what="version"))["gitVersion"])

    def kinds(self) -> list[str]:
        served = self.client.resources() if self.client else {}
        return sorted({*(f"{api_version}/{kind}" for api_version, kind in served), *self.planned})


class Rendering(msgspec.Struct, frozen=True, kw_only=True):
    """A release's documents. `generated`, `renamed`: fields, and keys of objects, that differ at each rendering.

    `seen`: look-ups that templates made in the cluster; `blank`: whether generated values were removed.
    """

    documents: list[Document]
    generated: list[GeneratedField] = []
    renamed: list[str] = []
    seen: dict[str, str] = {}
    blank: bool = False


def render(request: Request, options: ChartOptions, cluster: Cluster, *, fresh: bool = False) -> Rendering:
    """The documents of a release, from the cache where possible. `fresh`: with newly generated values.

    Raises ChartError.
    """
    found = traits(request.chart, options)
    live = cluster.client is not None and found.live
    cluster = replace(cluster, planned=sorted({*cluster.planned, *found.kinds}))
    file = options.renderings / f"{_key(request, options, cluster, found, live)}.json"
    kept = _kept(file)
    run = _Run(request, options, cluster, found)
    if kept and (cluster.client is None or lookups.still_true(cluster.client, kept.seen, cluster.owned)):
        return run.fresh(kept, live=live) if fresh and kept.blank else kept
    made = run.again(kept, live=live) if kept else run.twice(live=live)
    _keep(file, made, request)
    return made


def notes(request: Request, options: ChartOptions, cluster: Cluster) -> str:
    """The chart's NOTES for its users. `helm template` does not print them; a dry run of `helm install` does. Raises ChartError."""
    if cluster.client is None:
        return ""
    found = traits(request.chart, options)
    cluster = replace(cluster, planned=sorted({*cluster.planned, *found.kinds}))
    arguments = ["install", request.release, str(request.chart.path), "--namespace", request.namespace, "--values", "-"]
    arguments += ["--dry-run=server", "--disable-openapi-validation", "--output", "json"]
    with _view(cluster, blank=True) as view:
        text = binary.run(
            options,
            arguments,
            stdin=msgspec.json.encode(request.values),
            what=_what(request),
            environment={"KUBECONFIG": str(view.kubeconfig)},
        )
    document = msgspec.json.decode(text)
    return str((document.get("info") or {}).get("notes") or "")


def _what(request: Request) -> str:
    return f"release {request.release} (chart {request.chart.text})"


@dataclass
class _Run:
    request: Request
    options: ChartOptions
    cluster: Cluster
    traits: Traits
    _read: dict[str, list[Document]] = field(default_factory=dict)

    def fresh(self, kept: Rendering, *, live: bool) -> Rendering:
        """As `kept`, with newly generated values."""
        text, __ = self.output(live=live)
        return msgspec.structs.replace(kept, documents=self.parsed(chunks(text)), blank=False)

    def again(self, kept: Rendering, *, live: bool) -> Rendering:
        """As look-ups are answered now. The first run after an installation asks for it: templates find what they made.

        One rendering, where it differs from `kept` only in what the chart generates; else a second one is compared.
        """
        text, seen = self.output(live=live)
        documents = self.parsed(chunks(text))
        before, now = (blanked(one, kept.generated, self.request.namespace) for one in (kept.documents, documents))
        more, names = ([], []) if before == now else self._compared(chunks(text), chunks(self.output(live=live)[0]))
        return Rendering(
            documents=documents,
            generated=[*kept.generated, *(item for item in more if item not in kept.generated)],
            renamed=[*kept.renamed, *(name for name in names if name not in kept.renamed)],
            seen=seen,
        )

    def twice(self, *, live: bool) -> Rendering:
        """Render twice in parallel; and twice more without look-ups when these found something."""
        first, second, seen = self._pair(live=live)
        documents = self.parsed(first)
        generated, renamed = self._compared(first, second)
        if any(digest != _MISSING for digest in seen.values()):
            with contextlib.suppress(ChartError):  # some charts fail without what they look up
                one, other, __ = self._pair(live=True, blank=True)
                more, names = self._compared(one, other)
                generated += [item for item in more if item not in generated]
                renamed += [name for name in names if name not in renamed]
        return Rendering(documents=documents, generated=generated, renamed=renamed, seen=seen)

    def _pair(self, *, live: bool, blank: bool = False) -> tuple[list[Chunk], list[Chunk], dict[str, str]]:
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(self.output, live=live, blank=blank) for __ in range(2)]
            (first, seen), (second, __) = (run.result() for run in runs)
        return chunks(first), chunks(second), seen

    def _compared(self, first: Sequence[Chunk], second: Sequence[Chunk]) -> tuple[list[GeneratedField], list[str]]:
        if first == second:
            return [], []
        same = {chunk.text for chunk in first} & {chunk.text for chunk in second}
        left = self.parsed([chunk for chunk in first if chunk.text not in same])
        right = self.parsed([chunk for chunk in second if chunk.text not in same])
        return compare(left, right, self.request.namespace)

    def parsed(self, found: Sequence[Chunk]) -> list[Document]:
        """Parsed YAML. Parsing is the slow part, so the same text is parsed once."""
        documents: list[Document] = []
        for chunk in found:
            if chunk.text not in self._read:
                try:
                    self._read[chunk.text] = parse(chunk.text)
                except ChartError as error:
                    what = _what(self.request)
                    raise ChartError(f"{what}: {chunk.source}: {error}; mend the chart or the values") from None
            documents += self._read[chunk.text]
        return documents

    def output(self, *, live: bool, blank: bool = False) -> tuple[str, dict[str, str]]:
        """(Helm's output, what it looked up)."""
        arguments = ["template", self.request.release, str(self.request.chart.path), "--include-crds"]
        arguments += ["--namespace", self.request.namespace, "--values", "-"]
        if self.request.upgrade:
            arguments.append("--is-upgrade")
        values = msgspec.json.encode(self.request.values)
        if live:
            with _view(self.cluster, blank=blank) as view:
                text = binary.run(
                    self.options,
                    [*arguments, "--dry-run=server", "--disable-openapi-validation"],
                    stdin=values,
                    what=_what(self.request),
                    environment={"KUBECONFIG": str(view.kubeconfig)},
                )
            return text, view.seen
        version = self.cluster.version()
        if version:
            arguments += ["--kube-version", version]
        if self.traits.api_versions:
            arguments += _api_versions(self.cluster.kinds())
        return binary.run(self.options, arguments, stdin=values, what=_what(self.request)), {}


_MISSING = lookups.answer_digest(lookups.not_found())


@contextlib.contextmanager
def _view(cluster: Cluster, *, blank: bool) -> Any:
    if cluster.client is None:
        raise AssertionError("a view needs a cluster")
    with (
        tempfile.TemporaryDirectory(prefix="llm-lookups-") as folder,
        lookups.serve(cluster.client, cluster.planned, Path(folder), owned=cluster.owned, blank=blank) as view,
    ):
        yield view


def _api_versions(kinds: Sequence[str]) -> list[str]:
    """As command-line flags. A single argument of a program cannot be longer than 128 KiB."""
    words = sorted({*(kind.rpartition("/")[0] for kind in kinds), *kinds})
    flags: list[str] = []
    line = ""
    for word in words:
        if line and len(line) + len(word) > _FLAG_BYTES:
            flags += ["--api-versions", line]
            line = ""
        line = f"{line},{word}" if line else word
    return [*flags, "--api-versions", line] if line else flags


def _key(request: Request, options: ChartOptions, cluster: Cluster, found: Traits, live: bool) -> str:
    values = msgspec.json.encode(request.values)
    everything = {
        "form": _FORM,
        "helm": binary.find(options),
        "inputs": request.inputs,
        "upgrade": request.upgrade and (found.stage or asks_for_stage(values)),
        "version": cluster.version(),
        "kinds": _served(cluster, found) if found.api_versions else [],
        "live": live,
    }
    return hashlib.sha256(msgspec.json.encode(everything, order="sorted")).hexdigest()


def _served(cluster: Cluster, found: Traits) -> list[str]:
    """What a chart's templates may know of what the cluster serves."""
    kinds = cluster.kinds()
    if found.asked is None:
        return kinds
    return sorted({*(kind.rpartition("/")[0] for kind in kinds), *kinds} & {*found.asked})


def _kept(file: Path) -> Rendering | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Rendering)
    except (OSError, msgspec.MsgspecError):
        return None


def _keep(file: Path, made: Rendering, request: Request) -> None:
    """Written for this user alone: documents may hold secrets from the values. Generated values are removed."""
    if made.generated:
        documents = blanked(made.documents, made.generated, request.namespace)
        made = msgspec.structs.replace(made, documents=documents, blank=True)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(file, msgspec.json.encode(made), private=True)
