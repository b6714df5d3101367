# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of models as the controller has them, or sees them at their source, before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import source as sources
from .chat import has_chat_template
from .errors import AccessError, MissingError, ServerError
from .folder import describe_folder
from .http import Client, Patience
from .packages import Fetched, fetch, known_sha256, locate
from .select import Wanted
from .store import PUBLISHED_FILE
from .sync import Access, Request, require_access, wanted_files

NO_CHAT = (
    "Its engine will refuse every chat and answer completions only: take the publisher's Instruct model, "
    "or give a template in engine_args (--chat-template=…)."
)


@dataclass(frozen=True)
class Files:
    """Files of one model.

    `path`: the file on this machine, of file and pip sources; empty while it is still to be fetched. `file`: its name in the published folder;
    empty for a model of several files. `files`: what is streamed into the cluster, in this order; of a folder its manifest on one line, first.
    `source_files` and `source_bytes`: what the sync Job would fetch; 0 where nobody said. `sha256`: of a model that is one file, hex.
    `revision`: the second folder on the volume.
    """

    revision: str
    path: str = ""
    file: str = ""
    files: list[str] = field(default_factory=list)
    folder: bool = False
    in_cluster: bool = False
    size_bytes: int = 0
    source_files: int = 0
    source_bytes: int = 0
    sha256: str = ""


def access_of(options: Mapping[str, Any]) -> Access:
    """Addresses and tokens, from a module's options."""
    return Access(options["hub_endpoint"], options["token"] or "", options["region"], options["s3_endpoint"])


def request_of(options: Mapping[str, Any]) -> Request:
    """What is wanted of a source, from a module's options."""
    wanted = Wanted(
        tuple(options["include"]), tuple(options["exclude"]), options["quantization"], options["allow_pickle"]
    )
    return Request(options["name"], options["source"], options["revision"], wanted)


def default_cache() -> Path:
    """Where fetched files are kept."""
    return Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks") / "models"


def is_in_cluster(source: str) -> bool:
    """Whether the sync Job fetches from there, and not this machine."""
    return source.startswith(tuple(f"{scheme}://" for scheme in sources.IN_CLUSTER))


def have(request: Request, cache: Path, *, check: bool) -> tuple[Files, bool]:
    """(its files on this machine, whether any was fetched). With `check` nothing is fetched or written. Raises SyncError, SourceError."""
    source = sources.parse(request.source)
    if source.scheme == "file" and Path(source.place).is_dir():
        return _folder(request, source, cache, check=check), False
    found = locate(request.source, request.revision, cache)
    if found.path or check:
        return of_file(found), not found.path
    return of_file(fetch(request.source, request.revision, cache)), True


def of_file(found: Fetched) -> Files:
    """A model that is one file."""
    files = [found.path] if found.path else []
    return Files(found.revision, found.path, PUBLISHED_FILE, files, size_bytes=found.size_bytes, sha256=found.sha256)


def _folder(request: Request, source: sources.Source, cache: Path, *, check: bool) -> Files:
    """A folder that is streamed into the cluster. Nothing is copied here."""
    manifest = describe_folder(
        request.name, source, request.wanted, request.revision, lambda path: known_sha256(path, cache)
    )
    head = cache / "folders" / f"{request.name}-{manifest.revision}.json"
    if not check:
        head.parent.mkdir(parents=True, exist_ok=True)
        head.write_text(manifest.to_line(), encoding="utf-8")
    files = [str(head), *(str(Path(source.place) / file.path) for file in manifest.files)]
    return Files(manifest.revision, files=files, folder=True, size_bytes=manifest.size_bytes, sha256=manifest.digest)


def pinned(request: Request) -> Files:
    """One that the sync Job fetches. Raises SyncError for a revision that does not pin it."""
    sources.check_pin(sources.parse(request.source), request.revision)
    return Files(sources.folder_of(request.revision), in_cluster=True)


@dataclass(frozen=True)
class Look:
    """Asks the sources of models that the sync Job fetches. `token_elsewhere`: the Job has a token that this machine does not have."""

    access: Access
    token_elsewhere: bool = False

    def at(self, request: Request, *, chat: bool) -> tuple[int, int, str]:
        """(files that the Job would fetch, their bytes, a warning or nothing). `chat`: warn of a repository without a chat template.

        Raises SyncError for what the Job would fail with. A source that does not answer is a warning.
        """
        client = Client(Patience(tries=2, timeout_s=10))
        count, size, warning = 0, 0, ""
        try:
            files = wanted_files(client, request, self.access)
            count, size = len(files), sum(file.size_bytes for file in files)
            require_access(client, request, files, self.access)
            if chat and not has_chat_template(client, files):
                warning = f"{request.source} has no chat template. {NO_CHAT}"
        except ServerError as problem:
            warning = f"{problem}; the sync Job will ask again."
        except (AccessError, MissingError) as problem:
            if not self._is_elsewhere(problem, request):
                raise
        return count, size, warning

    def _is_elsewhere(self, problem: AccessError | MissingError, request: Request) -> bool:
        """Whether the sync Job, with rights of its own, may see what this machine does not."""
        if sources.parse(request.source).scheme == "s3":
            return isinstance(problem, AccessError)
        # The Hub answers 404 for a private repository, too.
        return self.token_elsewhere and not self.access.hub_token
