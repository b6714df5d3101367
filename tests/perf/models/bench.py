# SPDX-License-Identifier: Apache-2.0
"""How fast a model comes onto a volume, beside boto3's transfer, s3fs and huggingface_hub: `make bench-models`.

One server for all, in a process of its own: it answers as the Hub and as S3 do, and sends files by sendfile. Ours hashes every
byte (sha256) and makes the files durable; the others only write them. Rounds take turns, so that a slow moment hits everybody.
What is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = Path(__file__).resolve().parents[3]


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of /bucket/NAME and /ORG/NAME/resolve/COMMIT/NAME with ranges, and the Hub's listing."""

    protocol_version = "HTTP/1.1"
    folder: Path
    digests: dict[str, str]

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if path.startswith("/api/models/ORG/NAME/tree/"):
            self._json([self._entry(file) for file in sorted(self.folder.iterdir())])
        elif path.startswith("/api/models/ORG/NAME"):
            siblings = [{"rfilename": file.name} for file in sorted(self.folder.iterdir())]
            self._json(
                {"_id": "1", "id": "ORG/NAME", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            )
        else:
            self._file(self.folder / path.rpartition("/")[2])

    do_HEAD = do_GET

    def _entry(self, file):
        size, digest = file.stat().st_size, self.digests[file.name]
        return {
            "type": "file",
            "path": file.name,
            "size": size,
            "oid": "0" * 40,
            "lfs": {"oid": digest, "size": size, "pointerSize": 1},
        }

    def _json(self, content):
        body = json.dumps(content).encode()
        self._head(200, len(body), {"Content-Type": "application/json"})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, path):
        size = path.stat().st_size
        begin, end, status = 0, size, 200
        headers = {"ETag": f'"{self.digests[path.name]}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if given := self.headers.get("Range"):
            first, ___, last = given.removeprefix("bytes=").partition("-")
            begin, end, status = int(first), min(int(last) + 1 if last else size, size), 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        self._head(status, end - begin, headers)
        if self.command != "HEAD":
            with path.open("rb") as file:
                self.wfile.flush()
                self.connection.sendfile(file, begin, end - begin)

    def _head(self, status, length, headers):
        self.send_response(status)
        for name, value in {
            **headers,
            "Content-Length": str(length),
            "Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT",
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *___):
        pass


def serve(folder: Path) -> None:
    Handler.folder, Handler.digests = folder, {file.name: digest(file) for file in folder.iterdir()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.handle_error = lambda *__: None  # a client that hangs up is no news
    server.serve_forever()


def digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- who takes part: each is a process of its own, `bench.py --run NAME URL TARGET`


def ours(url: str, target: Path) -> None:
    from ansible_collections.llm.on_eks.plugins.module_utils.models.http import Client
    from ansible_collections.llm.on_eks.plugins.module_utils.models.store import ModelStore
    from ansible_collections.llm.on_eks.plugins.module_utils.models.sync import Access, Request, sync

    sync(ModelStore(target), Request("m", "hf://ORG/NAME", COMMIT), Client(), Access(hub_endpoint=url))


def with_boto3(url: str, target: Path) -> None:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=Config(signature_version=UNSIGNED))
    for name in names(url):
        s3.download_file("bucket", name, str(target / name))


def with_s3fs(url: str, target: Path) -> None:
    import s3fs

    files = s3fs.S3FileSystem(anon=True, endpoint_url=url)
    for name in names(url):
        files.get_file(f"bucket/{name}", str(target / name))


def with_hub(url: str, target: Path) -> None:
    import huggingface_hub

    huggingface_hub.snapshot_download("ORG/NAME", revision=COMMIT, local_dir=target, endpoint=url, token=False)


PEERS: dict[str, Callable[[str, Path], None]] = {
    "ours": ours,
    "boto3": with_boto3,
    "s3fs": with_s3fs,
    "huggingface_hub": with_hub,
}


def names(url: str) -> list[str]:
    import urllib.request

    with urllib.request.urlopen(f"{url}/api/models/ORG/NAME/tree/{COMMIT}") as answer:
        return [entry["path"] for entry in json.load(answer)]


def measure(name: str, url: str, scratch: Path) -> tuple[float, float] | str:
    """(seconds, CPU seconds) of one run, or why there was none."""
    target = scratch / name
    target.mkdir()
    environment = {
        **os.environ,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(REPO / "collections"), str(REPO)])
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, __file__, "--run", name, url, str(target)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(target)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=256, help="of each file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve)
    elif chosen.run:
        name, url, target = chosen.run
        PEERS[name](url, Path(target))
    else:
        compare(chosen.files, chosen.megabytes, chosen.rounds)


def compare(files: int, megabytes: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-models-") as folder:
        scratch = Path(folder)
        source = scratch / "source"
        source.mkdir()
        for number in range(files):
            write_safetensors(source / f"model-{number + 1:05}-of-{files:05}.safetensors", megabytes << 20)
        server = subprocess.Popen([sys.executable, __file__, "--serve", str(source)], stdout=subprocess.PIPE, text=True)
        try:
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            found = run_rounds(url, scratch, rounds)
        finally:
            server.kill()
            server.wait()
    show(found, files * megabytes)


def run_rounds(url: str, scratch: Path, rounds: int) -> dict[str, list[tuple[float, float]] | str]:
    found: dict[str, list[tuple[float, float]] | str] = {name: [] for name in PEERS}
    for number in range(rounds):
        for name in [*PEERS][number % len(PEERS) :] + [*PEERS][: number % len(PEERS)]:
            kept = found[name]
            if isinstance(kept, str):
                continue
            one = measure(name, url, scratch)
            if isinstance(one, str):
                found[name] = one
            else:
                kept.append(one)
    return found


def show(found: dict[str, list[tuple[float, float]] | str], megabytes: int) -> None:
    medians = {
        name: statistics.median(one[0] for one in runs) for name, runs in found.items() if not isinstance(runs, str)
    }
    best = min(seconds for name, seconds in medians.items() if name != "ours")
    print(f"{megabytes} MB, process start included; medians of {len(found['ours'])} rounds")
    print(f"{'':16} {'s':>6} {'MB/s':>6} {'CPU-s':>6}  digests")
    for name, runs in found.items():
        if isinstance(runs, str):
            print(f"{name:16} not measured: {runs}")
            continue
        cpu = statistics.median(one[1] for one in runs)
        print(
            f"{name:16} {medians[name]:6.2f} {megabytes / medians[name]:6.0f} {cpu:6.2f}  {'sha256' if name == 'ours' else 'none'}"
        )
    print(f"ours is {best / medians['ours']:.2f} times as fast as the fastest of the others")


def write_safetensors(path: Path, size: int) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        block = os.urandom(1 << 20)
        for ___ in range(size >> 20):
            file.write(block)


if __name__ == "__main__":
    main()
