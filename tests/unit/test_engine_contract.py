# SPDX-License-Identifier: Apache-2.0
"""The programs that ask an engine in its own pod: for its first token, and whether it gets on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.contract import components, first_token, still_working

ENTRY = {"name": "tiny", "source": "hf://a/b", "engine": "vllm"}
RUNNING, STEPS = "vllm:num_requests_running", "vllm:iteration_tokens_total_count"


@pytest.fixture
def engine():
    """A server that answers with what the test put into `says`, and keeps what it was asked."""
    says = {"status": 200, "metrics": "", "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def answer(self, text):
            self.send_response(says["status"])
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self):
            self.answer(says["metrics"] if self.path == "/metrics" else "")

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            says["asked"].append((self.path, body))
            self.answer("{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, says
    server.shutdown()
    server.server_close()


def code(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True).returncode


@pytest.mark.parametrize(
    ("task", "path", "key"),
    [
        ("generate", "/v1/completions", "prompt"),
        ("embed", "/v1/embeddings", "input"),
        ("rerank", "/v1/rerank", "query"),
    ],
)
def test_a_pod_is_asked_for_what_its_model_does(engine, task, path, key):
    port, says = engine
    assert code(first_token("tiny", port, task)) == 0
    ((asked, body),) = says["asked"]
    assert asked == path and body["model"] == "tiny" and key in body
    says["status"] = 503
    done = subprocess.run([sys.executable, "-c", first_token("tiny", port, task)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "no token yet, but 503: {}\n")


def test_a_pod_that_does_not_listen_yet_says_so_in_one_line():
    done = subprocess.run([sys.executable, "-c", first_token("tiny", 9, "generate")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "no token yet: [Errno 111] Connection refused\n")


def lines(running, steps):
    return f'{RUNNING}{{engine="0"}} {running}\n{STEPS}{{engine="0"}} {steps}\n'


def test_an_engine_that_computes_or_has_nothing_to_do_is_alive_and_one_that_stands_still_is_not(engine, tmp_path):
    port, says = engine
    program = still_working(port, "/health", RUNNING, STEPS, str(tmp_path / "progress"))

    def alive(text):
        says["metrics"] = text
        return code(program) == 0

    assert alive(lines(0, 7)) and alive(lines(0, 7)), "nothing to do"
    assert alive(lines(2, 7)) and alive(lines(2, 8)), "it gets on"
    assert not alive(lines(2, 8)) and not alive(lines(2, 8)), "it stands still"
    assert alive(lines(2, 9)), "it got on again"
    assert alive(f"{RUNNING} 2\n") and alive(f"{RUNNING} 2\n"), "an engine without that metric is not judged by it"
    says["status"] = 503
    assert code(program) == 1, "it says itself that it is ill"


def test_only_an_engine_with_such_metrics_is_asked_for_its_progress():
    def probe(**more):
        (made,) = components(ENTRY, {"name": "vllm", "image": "i", "python": "python3", **more}, {"revision": "r"})
        return made["manifests"][0]["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]

    assert "httpGet" in probe()
    asked = probe(progress=[RUNNING, STEPS])
    assert asked["exec"]["command"][:2] == ["python3", "-c"]
    assert asked["periodSeconds"] * asked["failureThreshold"] >= 180, "a long prompt is no hang"
