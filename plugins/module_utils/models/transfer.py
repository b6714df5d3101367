# SPDX-License-Identifier: Apache-2.0
"""Downloads files in parts, several in parallel; each byte is hashed as it arrives, and none is downloaded twice.

A part is written at its place in the file, and a note beside it says how far it got: after an interruption only the
rest is requested. sha256 needs the bytes in order, so bytes that arrive early wait in memory; no part starts further
ahead than that memory allows. Only what an earlier run has left is read again, from the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import queue
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ContentError, ServerError, SpaceError, SyncError
from .http import Client, CutError
from .listing import RemoteFile

PART_BYTES = 8 << 20
CHUNK_BYTES = 1 << 20
_NOTE = struct.Struct("<Q")

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Bounds:
    """`connections`: in parallel, over all files. At most `connections` parts wait in memory."""

    connections: int = 8
    part_bytes: int = PART_BYTES
    chunk_bytes: int = CHUNK_BYTES


@dataclass(frozen=True)
class Fetched:
    """A complete file; `resumed_bytes` existed before."""

    path: str
    size_bytes: int
    sha256: str
    git_sha1: str
    resumed_bytes: int


@dataclass
class _Part:
    """Bytes [begin, end) of the file; `at`: up to where they are written."""

    number: int
    begin: int
    end: int
    at: int

    @property
    def whole(self) -> bool:
        return self.at >= self.end


# Data that waits to be hashed: bytes, or a range that is on the disk.
_Piece = bytes | tuple[int, int]  # pylint: disable=unsupported-binary-operation


class Assembly:
    """One file during its download. Its digests are complete when every part is."""

    def __init__(self, remote: RemoteFile, target: Path, note: Path, bounds: Bounds) -> None:
        self.remote, self._target, self._bounds = remote, target, bounds
        target.parent.mkdir(parents=True, exist_ok=True)
        note.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
        self._note = os.open(note, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._file, remote.size_bytes)
        self.parts = self._read_parts()
        self.resumed_bytes = sum(part.at - part.begin for part in self.parts)
        self._sha256 = hashlib.sha256()
        self._git = (
            hashlib.sha1(f"blob {remote.size_bytes}\0".encode(), usedforsecurity=False) if remote.git_sha1 else None
        )
        self._turn = 0
        self._waiting: dict[int, deque[_Piece]] = {}
        self._moved = threading.Condition()
        for part in self.parts:
            if part.at > part.begin:
                self._waiting[part.number] = deque([(part.begin, part.at)])

    def _read_parts(self) -> list[_Part]:
        size, step = self.remote.size_bytes, self._bounds.part_bytes
        kept = os.pread(self._note, _NOTE.size * (size // step + 2), 0)
        # The first number is the length of a part: with other parts, the note is not valid.
        same = len(kept) >= _NOTE.size and _NOTE.unpack_from(kept)[0] == step
        if not same:
            os.ftruncate(self._note, 0)
            os.pwrite(self._note, _NOTE.pack(step), 0)
        parts = []
        for number, begin in enumerate(range(0, size, step)):
            end, where = min(begin + step, size), _NOTE.size * (number + 1)
            got = _NOTE.unpack_from(kept, where)[0] if same and len(kept) >= where + _NOTE.size else 0
            parts.append(_Part(number, begin, end, min(begin + got, end)))
        return parts

    def wait_for_turn(self, part: _Part, stopped: threading.Event) -> None:
        """Wait until the part is close enough to what is being hashed."""
        with self._moved:
            while part.number >= self._turn + self._bounds.connections and not stopped.is_set():
                self._moved.wait(0.2)

    def take(self, part: _Part, data: bytes) -> None:
        """Take the next bytes of a part: write them to the disk and into the note, and hash them in order."""
        try:
            os.pwrite(self._file, data, part.at)
            after = part.at + len(data)
            os.pwrite(self._note, _NOTE.pack(after - part.begin), _NOTE.size * (part.number + 1))
        except OSError as problem:  # otherwise it would be taken for an error of the connection
            raise _explained(problem, self.remote) from problem
        with self._moved:
            # Both under one lock: when a part looks complete, all its bytes wait to be hashed.
            self._waiting.setdefault(part.number, deque()).append(data)
            part.at = after
        self.hash_on()

    def hash_on(self) -> None:
        """Hash whatever is next in order. One thread at a time; another one continues with its own work."""
        with self._moved:
            while self._turn < len(self.parts):
                pieces = self._waiting.get(self._turn)
                while pieces:
                    self._update(pieces.popleft())
                if not self.parts[self._turn].whole:
                    return
                self._waiting.pop(self._turn, None)
                self._turn += 1
                self._moved.notify_all()

    def _update(self, piece: _Piece) -> None:
        if isinstance(piece, bytes | bytearray):
            chunks: Iterator[bytes] = iter((piece,))
        else:
            begin, end = piece
            step = self._bounds.chunk_bytes
            chunks = (os.pread(self._file, min(step, end - at), at) for at in range(begin, end, step))
        for chunk in chunks:
            self._sha256.update(chunk)
            if self._git:
                self._git.update(chunk)

    def forget(self) -> None:
        """Discard the file and download it from the beginning: its content cannot be trusted."""
        os.ftruncate(self._note, 0)

    def finish(self) -> Fetched:
        """Make the complete file durable. ContentError when it differs from what was announced."""
        self.hash_on()
        os.fsync(self._file)
        remote = self.remote
        found = Fetched(
            remote.path,
            remote.size_bytes,
            self._sha256.hexdigest(),
            self._git.hexdigest() if self._git else "",
            self.resumed_bytes,
        )
        for kind, said, got in (
            ("sha256", remote.sha256, found.sha256),
            ("git's sha1", remote.git_sha1, found.git_sha1),
        ):
            if said and said != got:
                raise ContentError(f"{remote.path}: {kind} is {got}, and its source says {said}")
        return found

    def close(self) -> None:
        os.close(self._file)
        os.close(self._note)


@dataclass
class _Run:
    client: Client
    bounds: Bounds
    advance: Advance
    stopped: threading.Event
    failures: list[BaseException] = field(default_factory=list)
    # Servers that ignore Range and send the whole file.
    whole_only: set[str] = field(default_factory=set)


def fetch_all(
    client: Client, files: Sequence[RemoteFile], folder: Path, notes: Path, bounds: Bounds, advance: Advance
) -> list[Fetched]:
    """Download every file into `folder`. `advance` gets the bytes as they are written; bytes that existed come first.

    Raises the first error once nothing is written any more; what was downloaded stays for the next run.
    """
    run = _Run(client, bounds, advance, client.stopped)
    done: dict[str, Fetched] = {}
    with contextlib.ExitStack() as opened, _Workers(run) as workers:
        for remote in files:
            note = notes / hashlib.sha256(remote.path.encode()).hexdigest()[:32]
            assembly = _open(remote, folder / remote.path, note, bounds)
            opened.callback(assembly.close)
            advance(assembly.resumed_bytes)
            workers.add(assembly, done)
        workers.wait()
    if run.failures:
        raise run.failures[0]
    return [done[remote.path] for remote in files]


class _Workers:
    """Threads over one queue of parts, in the order of the files."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._queue: queue.Queue[tuple[Assembly, _Part | None, dict[str, Fetched], list[int]] | None] = queue.Queue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for __ in range(run.bounds.connections)]

    def __enter__(self) -> _Workers:
        for thread in self._threads:
            thread.start()
        return self

    def add(self, assembly: Assembly, done: dict[str, Fetched]) -> None:
        missing = [part for part in assembly.parts if not part.whole]
        left = [len(missing)]
        jobs: list[_Part | None] = [*missing]
        for part in jobs or [None]:
            self._queue.put((assembly, part, done, left))

    def wait(self) -> None:
        for __ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            while thread.is_alive():
                thread.join(0.5)

    def __exit__(self, kind: object, *__: object) -> None:
        if kind is not None:
            self._run.stopped.set()
        self.wait()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._run.failures or self._run.stopped.is_set():
                continue
            assembly, part, done, left = job
            try:
                if part is not None:
                    fetch_part(self._run, assembly, part)
                    left[0] -= 1
                if left[0] <= 0 and all(one.whole for one in assembly.parts):
                    self._finish(assembly, done)
            except BaseException as problem:  # the rim of a thread; the run raises it
                self._run.failures.append(_explained(problem, assembly.remote))
                self._run.stopped.set()

    def _finish(self, assembly: Assembly, done: dict[str, Fetched]) -> None:
        """The last thread of the file calls this; a second call at the same time does no harm."""
        try:
            done[assembly.remote.path] = assembly.finish()
        except ContentError:
            assembly.forget()
            raise


def fetch_part(run: _Run, assembly: Assembly, part: _Part) -> None:
    """Download one part, from where it was left, for as long as there is progress."""
    assembly.wait_for_turn(part, run.stopped)
    what = f"{assembly.remote.path} at {part.begin}"
    run.client.again(lambda: _ask(run, assembly, part), what, progress=lambda: part.at)


def _ask(run: _Run, assembly: Assembly, part: _Part) -> None:
    if run.stopped.is_set():
        raise SyncError("stopped")
    url, headers = assembly.remote.address()
    asked = {**headers, "Range": f"bytes={part.at}-{part.end - 1}", "Accept-Encoding": "identity"}
    with run.client.open(url, asked) as response:
        _check_answer(response, assembly.remote, part)
        while not part.whole:
            data = _read(response, min(run.bounds.chunk_bytes, part.end - part.at))
            if data:
                assembly.take(part, data)
                run.advance(len(data))
            if len(data) == 0:
                raise CutError(f"the connection ended at byte {part.at} of {part.end}")
            if run.stopped.is_set():
                raise SyncError("stopped")


def _check_answer(response: http.client.HTTPResponse, remote: RemoteFile, part: _Part) -> None:
    """Check that the answer has the requested bytes, of a file of the announced length."""
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        if length and int(length) != remote.size_bytes:
            raise _other_length(response, remote, length)
        _skip(response, part.at)
        return
    range_, __, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    if total.isdigit() and int(total) != remote.size_bytes:
        raise _other_length(response, remote, total)
    if response.status != 206 or not range_.startswith(f"{part.at}-"):
        raise ServerError(
            f"{remote.path}: bytes from {part.at} were asked for, and the answer ({response.status}) is for {range_ or 'none'}"
        )


def _other_length(response: http.client.HTTPResponse, remote: RemoteFile, length: str) -> ContentError:
    encoding = response.headers.get("Content-Encoding", "identity")
    why = f": it sends it compressed ({encoding}), although it was asked not to" if encoding != "identity" else ""
    return ContentError(
        f"{remote.path} is {length} bytes long on its server, and {remote.size_bytes} were announced{why}"
    )


def _skip(response: http.client.HTTPResponse, count: int) -> None:
    """Skip to the part: a server without ranges sends everything from the beginning."""
    while count:
        data = _read(response, min(count, CHUNK_BYTES))
        if not data:
            raise CutError("the connection ended before the part began")
        count -= len(data)


def _read(response: http.client.HTTPResponse, size: int) -> bytes:
    """`size` bytes, or fewer at the end."""
    buffer = bytearray(size)
    view, got = memoryview(buffer), 0
    try:
        while got < size:
            count = response.readinto(view[got:])
            if not count:
                break
            got += count
    except (OSError, http.client.HTTPException):
        # The bytes before an interruption count; the next read raises the error.
        if not got:
            raise
    return buffer if got == size else bytes(view[:got])  # type: ignore[return-value]


def _open(remote: RemoteFile, target: Path, note: Path, bounds: Bounds) -> Assembly:
    try:
        return Assembly(remote, target, note, bounds)
    except OSError as problem:
        raise _explained(problem, remote) from problem


def _explained(problem: BaseException, remote: RemoteFile) -> BaseException:
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpaceError(f"{remote.path}: the volume is full; enlarge it or remove old revisions")
    if isinstance(problem, OSError):
        return SpaceError(f"{remote.path} cannot be written: {problem}")
    return problem
