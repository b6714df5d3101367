# SPDX-License-Identifier: Apache-2.0
"""What a user does with the slice, as a user does it."""

import concurrent.futures
import http.client
import json
import os
import signal
import threading
import time
import urllib.parse
from pathlib import Path

import openai
import pytest

from .conftest import recap

pytestmark = pytest.mark.cluster


@pytest.fixture
def client(platform_slice):
    endpoint = platform_slice.endpoint
    return openai.OpenAI(base_url=f"{endpoint['url']}/v1", api_key=endpoint["api_key"], max_retries=0, timeout=60)


def test_the_endpoint_file_says_where_and_how_and_is_private(platform_slice):
    assert set(platform_slice.endpoint) >= {"url", "api_key", "model", "kubeconfig", "cluster"}
    assert platform_slice.endpoint_file.stat().st_mode & 0o777 == 0o600


def test_the_openai_client_lists_completes_and_streams(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    whole = client.completions.create(model="tiny", prompt="This is a cake", max_tokens=8, temperature=0)
    assert whole.choices[0].text
    assert whole.usage.completion_tokens >= 1
    chunks = list(
        client.completions.create(model="tiny", prompt="This is a cake", max_tokens=8, temperature=0, stream=True)
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    chat = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=8)
    assert chat.choices[0].message.role == "assistant"


def test_errors_are_typed_as_openai_types_them(platform_slice, client):
    url = f"{platform_slice.endpoint['url']}/v1"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="sk-wrong", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="nobody", prompt="x")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.post("/completions", body=["not", "an", "object"], cast_to=object)
    with pytest.raises(openai.APIStatusError) as large:
        client.completions.create(model="tiny", prompt="x" * 100_000_000)
    assert large.value.status_code == 413


def test_a_second_run_changes_nothing_and_the_plan_is_empty(platform_slice):
    assert recap(platform_slice.playbook("site.yml").stdout)["changed"] == 0
    plan = platform_slice.playbook("site.yml", "--check", "--diff")
    assert recap(plan.stdout)["changed"] == 0
    assert "+++ after" not in plan.stdout


def test_a_deployment_deleted_by_hand_is_named_by_the_plan_and_healed(platform_slice):
    platform_slice.kubectl("-n", "llm-engines", "delete", "deploy", "engine-tiny", "--wait=true")
    plan = platform_slice.playbook("site.yml", "--check", "--diff").stdout
    assert "Deployment llm-engines/engine-tiny" in plan
    assert recap(plan)["changed"] == 1
    platform_slice.playbook("site.yml")
    assert "engine-tiny" in platform_slice.kubectl("-n", "llm-engines", "get", "deploy", "-o", "name")


def test_no_client_sees_an_error_when_one_of_two_replicas_is_killed(platform_slice):
    """20 requests a second for 10 s; one engine process dies by SIGKILL after 3 s."""
    endpoint = platform_slice.endpoint
    address = urllib.parse.urlsplit(endpoint["url"])
    body = json.dumps({"model": "tiny", "prompt": "This is a cake", "max_tokens": 4})
    headers = {"Authorization": f"Bearer {endpoint['api_key']}", "Content-Type": "application/json"}

    def ask() -> int:
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        connection.request("POST", "/v1/completions", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    killer = threading.Timer(3, lambda: kill_one_engine(platform_slice))
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        killer.start()
        asked = []
        for _ in range(200):
            asked.append(pool.submit(ask))
            time.sleep(0.05)
        statuses = [request.result() for request in asked]
    killer.join()
    assert statuses.count(200) == len(statuses), {status: statuses.count(status) for status in set(statuses)}


def kill_one_engine(platform_slice) -> None:
    """SIGKILL to one engine's main process, from the host, as an OOM kill would be."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if b"/tiny/" in command and b"--alias" in command:
            os.kill(int(process.name), signal.SIGKILL)
            return
    raise AssertionError("no engine process was found to kill")


def test_bad_inputs_fail_before_anything_is_touched(platform_slice, tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text(
        "model_catalog:\n"
        "  - {name: a, source: 'file:///x', engine: vlm}\n"
        "  - {name: a, source: 'file:///x', engine: llamacpp, replicas: {min: -1}}\n"
        "  - {name: b, sorce: 'file:///x', engine: llamacpp}\n"
    )
    done = platform_slice.playbook("site.yml", "-e", f"@{bad}", check=False)
    assert done.returncode != 0
    for said in (
        "bad.yml:2: model_catalog[a].engine",
        "replicas.min is -1",
        "two models of one name",
        "bad.yml:4: model_catalog[b].sorce",
    ):
        assert said in done.stdout + done.stderr


def test_another_kubeconfig_is_the_other_way_in(platform_slice, tmp_path):
    """The same slice seen as somebody else's cluster: nothing local, only a kubeconfig."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(Path(platform_slice.endpoint["kubeconfig"]).read_text())
    images = platform_slice.kubectl(
        "get",
        "deploy",
        "-A",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.spec.template.spec.containers[0].image} {end}",
    )
    refs = dict(pair.split("=", 1) for pair in images.split() if "llm.on_eks" in pair)
    job = platform_slice.kubectl(
        "get", "jobs", "-A", "-o", "jsonpath={.items[0].spec.template.spec.containers[0].image}"
    )
    variables = {
        "platform_local": False,
        # What `platform_local` had decided: the front door of this test is still a node port.
        "gateway_replicas": 1,
        "gateway_service_type": "NodePort",
        "platform_kubeconfig": str(kubeconfig),
        "platform_images": {"gateway": refs["llm-gateway"], "llamacpp": refs["engine-tiny"], "model_store": job},
    }
    file = tmp_path / "vars.json"
    file.write_text(json.dumps(variables))
    done = platform_slice.playbook(
        "site.yml", "-e", f"@{file}", "-e", f"platform_front_door={platform_slice.endpoint['url']}"
    )
    assert recap(done.stdout)["changed"] == 0
