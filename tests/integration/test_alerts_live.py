# SPDX-License-Identifier: Apache-2.0
"""The alerts against a real Prometheus, the real gateway and an engine that is killed and comes back.

Windows and waits of the rules are shortened, so that minutes become seconds; series, labels and expressions are those of
the platform.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import rules
from tests.support.described import REPO
from tools.debian import find

FILES = REPO / "roles" / "prometheus" / "files"
PROMETHEUS = find("prometheus")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not PROMETHEUS, reason="prometheus is missing; Debian's package of that name has it"),
]
ANSWER = {
    "id": "x",
    "object": "text_completion",
    "model": "m",
    "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.reply(ANSWER)

    def reply(self, said):
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@contextmanager
def an_engine(port):
    server = ThreadingHTTPServer(("127.0.0.1", port), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shortened():
    """The rules, with seconds for minutes."""
    numbers = yaml.safe_load((FILES / "thresholds.yml").read_text())
    groups = rules.with_numbers(yaml.safe_load((FILES / "rules.yml").read_text()), numbers)
    for group in groups:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = rule["expr"].replace("[5m]", "[10s]").replace("[15m]", "[20s]")
            if "for" in rule:
                rule["for"] = "2s"
    return groups


@contextmanager
def running(command, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


class Scene:
    """A Prometheus that scrapes a gateway, which has one engine and gets a request twice a second."""

    def __init__(self, folder):
        self.folder, self.engine, self.gateway, self.prometheus = folder, free_port(), free_port(), free_port()
        target = {"targets": [f"127.0.0.1:{self.gateway}"], "labels": {"namespace": "llm-gateway", "pod": "gateway-0"}}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "gateway", "static_configs": [target]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": shortened()}))

    def start_gateway(self):
        engine = ["--engine", f"http://127.0.0.1:{self.engine}", "--anonymous", "--access-log", ""]
        command = [sys.executable, "-m", "llm_gateway", "serve", "--listen", f"127.0.0.1:{self.gateway}", *engine]
        return running(command, env={**os.environ, "PYTHONPATH": str(REPO / "gateway" / "src")})

    def start_prometheus(self):
        listen = f"--web.listen-address=127.0.0.1:{self.prometheus}"
        return running(
            [PROMETHEUS, "--config.file=prometheus.yml", "--storage.tsdb.path=data", listen], cwd=self.folder
        )

    def ask(self):
        body = json.dumps({"model": "m", "prompt": "hi"}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gateway}/v1/completions", body, {"content-type": "application/json"}
        )
        with suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(request, timeout=5).read()

    def query(self, text):
        asked = urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{asked}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def firing(self):
        return {one["metric"]["alertname"] for one in self.query('ALERTS{alertstate="firing"}')}

    def until(self, what, seconds=90):
        """Go on asking until something is so; says what was firing where it does not become so."""
        end = time.monotonic() + seconds
        seen = set()
        while time.monotonic() < end:
            self.ask()
            with suppress(urllib.error.URLError, OSError):
                seen = self.firing()
                if what(seen):
                    return
            time.sleep(0.5)
        pytest.fail(f"firing after {seconds} s: {sorted(seen)}")


def test_alerts_fire_when_an_engine_and_the_gateway_die_and_clear_when_the_engine_is_back(tmp_path):
    scene = Scene(tmp_path)
    broken = {"LlmErrorsMany", "LlmModelHasNoEngine", "LlmNoEngine"}
    with scene.start_prometheus():
        with scene.start_gateway():
            with an_engine(scene.engine):
                scene.until(lambda firing: not firing and scene.query("model:llm_requests:rate5m > 0"))
                assert scene.query("model:llm_first_token_seconds:p95_5m")
                assert scene.query("model_direction:llm_tokens:rate5m")
            scene.until(lambda firing: broken <= firing)
            with an_engine(scene.engine):
                scene.until(lambda firing: not broken & firing)
        scene.until(lambda firing: "LlmGatewayDown" in firing)
