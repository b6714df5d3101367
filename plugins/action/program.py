# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one of our own programs: its progress is shown while it runs, its JSON answer becomes the result."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from ansible import constants as C
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action

display = Display()
# When a program fails, the message contains this many lines of its output.
LAST_LINES = 5
ARGUMENTS: dict[str, dict[str, Any]] = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "chdir": {"type": "path", "required": True},
}


class ActionModule(Action):
    # In check mode the caller passes the program's own check option.
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        try:
            process = subprocess.Popen(
                options["argv"],
                cwd=options["chdir"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(),
            )
        except OSError as error:
            return {"failed": True, "msg": f"{options['argv'][0]} cannot be run: {error}"}
        last: deque[str] = deque(maxlen=LAST_LINES)
        if not (process.stdout and process.stderr):
            raise AssertionError
        teller = threading.Thread(target=_tell, args=(process.stderr, last), daemon=True)
        teller.start()
        said = process.stdout.read()
        code = process.wait()
        teller.join()
        if code:
            # Our programs end with one sentence; the lines before it were progress, which has been shown.
            message = last[-1] if last else f"{options['argv'][0]} ended with {code} and said nothing"
            return {"failed": True, "rc": code, "msg": message}
        answer: dict[str, Any] = json.loads(said)
        return {"changed": bool(answer.get("changed")), "answer": answer}


def _environment() -> dict[str, str]:
    """Our programs import collections from where this Ansible has them: ours, and amazon.aws."""
    folders = [folder for folder in C.COLLECTIONS_PATHS if Path(folder, "ansible_collections").is_dir()]
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *([given] if given else [])])}


def _tell(stream: IO[str], last: deque[str]) -> None:
    for line in stream:
        last.append(line.rstrip())
        display.display(f"  {line.rstrip()}")
