# SPDX-License-Identifier: Apache-2.0
"""vLLM itself on processors, with the arguments and the probes that role engine_vllm gives a pod."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.described import describe_roles
from tests.support.tiny_model import make_tiny_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gateway" / "tests"))

from gateway_support.process import free_port
from gateway_support.vllm import program

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

ENTRY = {
    "name": "tiny",
    "source": "hf://tiny/tiny",
    "revision": "0" * 40,
    "engine": "vllm",
    "context": 1024,
    "tool_parser": "hermes",
    "engine_args": ["--dtype=float32", "--max-num-seqs=1", "--max-num-queued-reqs=2"],
}
# A user that no /etc/passwd knows, as in a pod: https://github.com/vllm-project/vllm/issues/44548
UID = 54321
# It may read where this user's cache is, and nothing more.
AS_NOBODY_KNOWN = [
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
]


class Pod:
    """The container of the role's Deployment as a process."""

    def __init__(self, folder: Path) -> None:
        settings = {"platform_provider": "existing", "model_catalog": [ENTRY], "engine_vllm_cpu_image": "vllm:1"}
        settings["engine_vllm_safetensors_load_strategy"] = "prefetch"
        (made,) = describe_roles({"vllm": ("engine_vllm", settings)})["vllm"]
        self.container = made["manifests"][0]["spec"]["template"]["spec"]["containers"][0]
        self.port, self.folder = free_port(), folder
        made_folder = make_tiny_folder(folder / "model")
        for path in (folder, made_folder, *made_folder.iterdir()):
            path.chmod(0o777 if path.is_dir() else 0o644)
        replaced = {"/model": str(folder / "model"), "--port=8000": f"--port={self.port}"}
        arguments = [replaced.get(one, one) for one in self.container["args"]]
        environment = {one["name"]: self._here(one["value"]) for one in self.container["env"]}
        self.python = str(program().with_name("python3"))
        command = [*AS_NOBODY_KNOWN, str(program()), *self.container["command"][1:], *arguments, "--host=127.0.0.1"]
        self.environment = {"PATH": f"{program().parent}:/usr/bin:/bin", **environment}
        self.log = folder / "log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                command,
                env=self.environment,
                cwd=folder,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _here(self, text: str) -> str:
        """Where the pod has its /tmp."""
        return text.replace("/tmp", str(self.folder))

    def probe(self, name: str) -> int:
        """The exit code of a probe's program."""
        *__, said = self.container[name]["exec"]["command"]
        said = self._here(said).replace("'127.0.0.1', 8000", f"'127.0.0.1', {self.port}")
        return subprocess.run([self.python, "-c", said], capture_output=True, check=False).returncode

    def ask(self, path="/v1/completions", timeout_s=300, **body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        given = {"model": "tiny", "temperature": 0, **body}
        connection.request("POST", path, json.dumps(given), {"Content-Type": "application/json"})
        return connection.getresponse()

    def core(self) -> int:
        """The process that computes."""
        listed = subprocess.run(["ps", "-eo", "pid=,sid=,args="], capture_output=True, text=True, check=False).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        (found,) = [int(pid) for pid, sid, name in rows if int(sid) == self.process.pid and "EngineCore" in name]
        return found


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    made = Pod(folder)
    began = time.monotonic()
    try:
        while made.probe("startupProbe"):
            assert made.process.poll() is None, made.log.read_text()[-4000:]
            assert time.monotonic() - began < 900, made.log.read_text()[-4000:]
            time.sleep(1)
        print(f"\nfirst token after {time.monotonic() - began:.0f} s")
        yield made
    finally:
        if made.process.poll() is None:
            os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait()


def test_it_starts_as_a_user_that_nobody_knows_and_answers_its_own_first_token(pod):
    assert pod.probe("startupProbe") == 0
    assert pod.probe("livenessProbe") == 0


def test_what_is_more_than_its_queue_is_refused_and_not_kept_waiting(pod):
    statuses = []

    def ask():
        reply = pod.ask(prompt="This is a cake", max_tokens=200, ignore_eos=True)
        reply.read()
        statuses.append(reply.status)

    threads = [threading.Thread(target=ask) for __ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 503}, statuses


def test_a_request_with_tools_is_taken_with_a_parser(pod):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    messages = [{"role": "user", "content": "Weather?"}]
    reply = pod.ask("/v1/chat/completions", messages=messages, tools=[tool], max_tokens=4)
    assert reply.status == 200, reply.read()


def test_a_core_that_stands_still_is_seen_although_the_server_is_healthy(pod):
    core = pod.core()
    reader = threading.Thread(target=lambda: pod.ask(prompt="This is", max_tokens=600, ignore_eos=True).read())
    reader.start()
    deadline = time.monotonic() + 120
    while pod.probe("livenessProbe") == 0 and "True" not in (pod.folder / ".progress").read_text():
        assert time.monotonic() < deadline, "the request was never seen to run"
    os.kill(core, signal.SIGSTOP)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", pod.port, timeout=30)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        # The first may still see the last step's metrics come in.
        assert [pod.probe("livenessProbe") for __ in range(3)][1:] == [1, 1]
    finally:
        os.kill(core, signal.SIGCONT)
    reader.join()
    assert pod.probe("livenessProbe") == 0


def test_a_pod_that_is_stopped_finishes_the_answer_that_it_has_begun(pod):
    """Last: it ends the engine."""
    reply = pod.ask(prompt="This is", max_tokens=40, ignore_eos=True, stream=True)
    assert reply.readline().startswith(b"data:")
    pod.process.terminate()
    rest = [line for line in reply.read().splitlines() if line.startswith(b"data:")]
    assert rest[-1] == b"data: [DONE]"
    assert pod.process.wait(90) == 0
