# SPDX-License-Identifier: Apache-2.0
"""FAKE of a backend's compiler program: same commands, writes made-up graphs, and notes every compilation in a file."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def versions():
    known = {"neuronx-cc": "2.20", "transformers": "4.48", "python": "3.10", "prefix": "/opt/venv"}
    print("a line that a library prints")
    print(json.dumps(known | json.loads(os.environ.get("FAKE_VERSIONS", "{}"))))


def compile_model(spec):
    count = Path(os.environ["FAKE_COUNT"])
    with count.open("a") as file:
        file.write("1\n")
    if fails := os.environ.get("FAKE_FAILS"):
        (Path(spec["out"]) / "half.neff").write_bytes(b"half")
        raise SystemExit(fails)
    seconds = float(os.environ.get("FAKE_SECONDS", "0"))
    if seconds > 10:
        child = subprocess.Popen(["sleep", "60"])
        count.with_suffix(".child").write_text(str(child.pid))
    for number in range(4):
        time.sleep(seconds / 4)
        (Path(spec["out"]) / f"graph-{number}.neff").write_bytes(os.urandom(20_000))
    (Path(spec["out"]) / "config.json").write_text("{}")
    print(json.dumps({"compiled": True}))


if sys.argv[1] == "versions":
    versions()
else:
    compile_model(json.loads(Path(sys.argv[2]).read_text()))
