# SPDX-License-Identifier: Apache-2.0
"""The state on disk: every request that changed something, in order, with the time and the random seed of its answer.

Answers depend on requests, time and seed alone, so a replay restores the whole account: after a restart, and after kill
-9. A line that was cut short by a kill was never answered, and is dropped. Reads and refused requests are not written.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import EmulatorError


@dataclass(frozen=True)
class Entry:
    """One request. `at`: seconds since the epoch; `seed`: of all identifiers that it creates."""

    at: float
    seed: int
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes

    def to_json(self) -> str:
        return json.dumps(
            {
                "at": self.at,
                "seed": self.seed,
                "method": self.method,
                "url": self.url,
                "headers": self.headers,
                "body": base64.b64encode(self.body).decode(),
            }
        )

    @classmethod
    def from_json(cls, line: str) -> Entry:
        row = json.loads(line)
        headers = [(str(name), str(value)) for name, value in row["headers"]]
        return cls(row["at"], row["seed"], row["method"], row["url"], headers, base64.b64decode(row["body"]))


def new_seed() -> int:
    return secrets.randbits(64)


class Journal:
    """Append-only file `journal.jsonl` in `folder`; with no folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.file = folder / "journal.jsonl" if folder else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def entries(self) -> Iterator[Entry]:
        """The written entries; a truncated last line is removed from the file. Raises EmulatorError."""
        if self.file is None or not self.file.exists():
            return
        data = self.file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.file.open("r+b") as stream:
                stream.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                yield Entry.from_json(line.decode())
            except (ValueError, KeyError) as error:
                raise EmulatorError(
                    f"aws emulator: {self.file} line {number} cannot be read ({error}); remove the folder to begin anew"
                ) from error

    def append(self, entry: Entry) -> None:
        """Write before the request is answered: a client that saw an answer finds its result again."""
        if self.file is None:
            return
        with self.file.open("ab") as stream:
            stream.write(entry.to_json().encode() + b"\n")

    def rewrite(self, change: Callable[[Iterator[Entry]], list[Entry]]) -> None:
        """Replace all entries atomically."""
        if self.file is None:
            return
        staged = self.file.with_suffix(".new")
        with staged.open("wb") as stream:
            stream.writelines(entry.to_json().encode() + b"\n" for entry in change(self.entries()))
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(self.file)
