# SPDX-License-Identifier: Apache-2.0
"""What a user does with the slice, as a user does it."""

import concurrent.futures
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from tests.support.local_platform import REPO, recap
from tests.support.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]


@pytest.fixture
def client(platform):
    endpoint = platform.endpoint
    return openai.OpenAI(base_url=f"{endpoint['url']}/v1", api_key=endpoint["api_key"], max_retries=0, timeout=60)


def test_the_endpoint_file_says_where_and_how_and_is_private(platform):
    assert set(platform.endpoint) >= {"url", "api_key", "model", "kubeconfig", "cluster"}
    assert platform.endpoint_file.stat().st_mode & 0o777 == 0o600


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


def test_the_gateway_runs_compiled(platform):
    program = "import llm_gateway.data_path.exchange as module; print(module.__file__)"
    said = platform.kubectl(
        "-n", "llm-gateway", "exec", "deploy/llm-gateway", "--", "/opt/gateway/bin/python", "-c", program
    )
    assert said.strip().endswith(".so")


def test_errors_are_typed_as_openai_types_them(platform, client):
    url = f"{platform.endpoint['url']}/v1"
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


def test_a_second_run_changes_nothing_and_the_plan_is_empty(platform):
    assert recap(platform.playbook("site.yml").stdout)["changed"] == 0
    plan = platform.playbook("site.yml", "--check", "--diff")
    assert recap(plan.stdout)["changed"] == 0
    assert "+++ after" not in plan.stdout


def test_a_deployment_deleted_by_hand_is_named_by_the_plan_and_healed(platform):
    platform.kubectl("-n", "llm-engines", "delete", "deploy", "engine-tiny", "--wait=true")
    plan = platform.playbook("site.yml", "--check", "--diff").stdout
    assert "Deployment llm-engines/engine-tiny" in plan
    assert recap(plan)["changed"] == 1
    platform.playbook("site.yml")
    assert "engine-tiny" in platform.kubectl("-n", "llm-engines", "get", "deploy", "-o", "name")


def test_no_client_sees_an_error_when_one_of_two_replicas_is_killed(platform):
    """20 requests a second for 10 s; one engine process dies by SIGKILL after 3 s."""
    endpoint = platform.endpoint
    address = urllib.parse.urlsplit(endpoint["url"])
    body = json.dumps({"model": "tiny", "prompt": "This is a cake", "max_tokens": 4})
    headers = {"Authorization": f"Bearer {endpoint['api_key']}", "Content-Type": "application/json"}

    def ask() -> int:
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        connection.request("POST", "/v1/completions", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        asked = []
        for number in range(200):
            if number == 60:
                kill_one_engine(platform)
            asked.append(pool.submit(ask))
            time.sleep(0.05)
        statuses = [request.result() for request in asked]
    assert statuses.count(200) == len(statuses), {status: statuses.count(status) for status in set(statuses)}


def kill_one_engine(platform) -> None:
    """SIGKILL to one engine's main process, from the host, as an OOM kill would be."""
    os.kill(platform.engine_pids()[0], signal.SIGKILL)


def test_bad_inputs_fail_before_anything_is_touched(platform, tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text(
        "model_catalog:\n"
        "  - {name: a, source: 'file:///x', engine: vlm}\n"
        "  - {name: a, source: 'file:///x', engine: llamacpp, replicas: {min: -1}}\n"
        "  - {name: b, sorce: 'file:///x', engine: llamacpp}\n"
    )
    done = platform.playbook("site.yml", "-e", f"@{bad}", check=False)
    assert done.returncode != 0
    for said in (
        "bad.yml:2: model_catalog[a].engine",
        "replicas.min is -1",
        "two models of one name",
        "bad.yml:4: model_catalog[b].sorce",
    ):
        assert said in done.stdout + done.stderr


def test_an_account_that_cannot_take_it_is_named_before_anything_is_touched(platform):
    done = platform.playbook("site.yml", "-e", "cluster_version=1.10", check=False)
    assert done.returncode != 0
    assert "cluster_version 1.10 is not offered by EKS" in done.stdout + done.stderr
    assert "TASK [Converge]" not in done.stdout


def test_a_plan_file_is_carried_out_and_a_stale_one_refused(platform, tmp_path):
    file = tmp_path / "plan.json"
    change = ("-e", json.dumps({"gateway_values": {"queue_size": 77}}))
    platform.playbook("playbooks/plan.yml", "-e", f"plan_out={file}", *change)
    (action,) = json.loads(file.read_text())["actions"]
    assert (action["verb"], action["subject"]) == ("update", "ConfigMap llm-gateway/llm-gateway")
    platform.kubectl("-n", "llm-gateway", "delete", "networkpolicy", "llm-gateway")
    refused = platform.playbook("site.yml", "-e", f"plan_file={file}", *change, check=False)
    assert refused.returncode != 0
    assert "it would also create NetworkPolicy llm-gateway/llm-gateway" in refused.stdout
    platform.playbook("site.yml")
    done = platform.playbook("site.yml", "-e", f"plan_file={file}", *change)
    assert recap(done.stdout)["changed"] == 1
    assert "queue_size: 77" in platform.kubectl("-n", "llm-gateway", "get", "cm", "llm-gateway", "-o", "yaml")


def test_rollback_takes_the_last_change_back(platform):
    done = platform.playbook("playbooks/rollback.yml", "-e", "rollback_component=gateway")
    assert recap(done.stdout)["changed"] == 1
    assert "queue_size: 77" not in platform.kubectl("-n", "llm-gateway", "get", "cm", "llm-gateway", "-o", "yaml")
    assert recap(platform.playbook("site.yml").stdout)["changed"] == 0


def test_drift_is_reported_and_fails_only_when_asked_to(platform, tmp_path):
    clean = platform.playbook("playbooks/drift.yml", "-e", f"drift_out={tmp_path}")
    assert json.loads((tmp_path / "drift.json").read_text())["state"] == "none"
    assert recap(clean.stdout)["failed"] == 0
    platform.kubectl("-n", "llm-engines", "label", "deployment", "engine-tiny", "llm.on-eks/model=other", "--overwrite")
    platform.playbook("playbooks/drift.yml", "-e", f"drift_out={tmp_path}")
    (finding,) = json.loads((tmp_path / "drift.json").read_text())["findings"]
    assert finding["object"] == "Deployment llm-engines/engine-tiny"
    assert finding["fields"][0]["manager"] == "kubectl-label"
    assert "<failure" in (tmp_path / "drift.xml").read_text()
    failed = platform.playbook("playbooks/drift.yml", "-e", "drift_fail=true", check=False)
    assert failed.returncode != 0
    platform.playbook("site.yml")


def test_status_says_what_runs_at_which_revision(platform):
    said = platform.playbook("playbooks/status.yml").stdout
    row = next(line for line in said.splitlines() if line.strip().startswith("gateway "))
    assert row.split()[1:3] == ["ready", "1/1"]
    assert "programs run" in said


def test_the_run_is_recorded_without_the_key(platform):
    key = platform.endpoint["api_key"]
    assert key not in platform.kubectl("-n", "llm-system", "get", "configmaps", "-o", "yaml")


# --- the cluster itself


def test_logs_exec_dns_and_port_forward_work(platform):
    address = urllib.parse.urlsplit(platform.endpoint["url"])
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.request("GET", "/v1/models")
    assert connection.getresponse().status == 401
    assert platform.kubectl("-n", "llm-gateway", "logs", "deploy/llm-gateway", "--tail=5").strip()
    question = "import socket; print(socket.gethostbyname('llm-gateway.llm-gateway.svc.cluster.local'))"
    python = "/opt/gateway/bin/python"
    address = platform.kubectl("-n", "llm-gateway", "exec", "deploy/llm-gateway", "--", python, "-c", question)
    service = ("-n", "llm-gateway", "get", "service", "llm-gateway", "-o", "jsonpath={.spec.clusterIP}")
    assert address.strip() == platform.kubectl(*service)
    with platform.port_forward("llm-gateway", "deploy/llm-gateway", 8080) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize("program", ["etcd", "kube-apiserver", "kubelet", "containerd", "kube-proxy", "coredns"])
def test_a_program_killed_by_9_comes_back(platform, program):
    killed = platform.kill_program(program)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if platform.pids(program) - killed and platform.is_ready():
            break
        time.sleep(0.5)
    assert platform.pids(program) - killed
    assert platform.is_ready()


@pytest.mark.parametrize("way_in", ["kubeconfig", "token of EKS"])
def test_tasks_of_ones_own_run_as_the_readme_has_them(platform, account, tmp_path, way_in):
    (text,) = re.findall(r"```yaml\n(# mine.yml\n.*?)```", (REPO / "README.md").read_text(), re.DOTALL)
    playbook = tmp_path / "mine.yml"
    playbook.write_text(text)
    signing_in = ("-e", "platform_kubeconfig=", "-e", f"platform_aws_endpoint_url={account}")
    done = platform.playbook(str(playbook), "-vvv", *(signing_in if way_in != "kubeconfig" else ()))
    assert re.search(r"[1-9] gateway pods, network 10\.[\d.]+/16", done.stdout)
    assert "k8s-aws-v1." not in done.stdout + done.stderr


def test_scenarios_of_molecule_pass_on_it(platform):
    """Two of them, on a platform that stands already; test_molecule.py runs all on a cluster of its own."""
    where = ["--inventory", platform.inventory, "--host", platform.name]
    command = [sys.executable, "-m", "tools.molecule", *where, "upgrade", "existing"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_another_kubeconfig_is_the_other_way_in(platform, tmp_path):
    """The same slice seen as somebody else's cluster: nothing local, only a kubeconfig."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(Path(platform.endpoint["kubeconfig"]).read_text())
    images = platform.kubectl(
        "get",
        "deploy",
        "-A",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.spec.template.spec.containers[0].image} {end}",
    )
    refs = dict(pair.split("=", 1) for pair in images.split() if "llm.on_eks" in pair)
    job = platform.kubectl("get", "jobs", "-A", "-o", "jsonpath={.items[0].spec.template.spec.containers[0].image}")
    variables = {
        "platform_provider": "existing",
        "platform_local": False,
        # What `platform_local` had decided: the front door of this test is still a node port.
        "gateway_replicas": 1,
        "gateway_service_type": "NodePort",
        "platform_kubeconfig": str(kubeconfig),
        "platform_endpoint_file": "",
        "platform_images": {"gateway": refs["llm-gateway"], "llamacpp": refs["engine-tiny"], "model_store": job},
    }
    file = tmp_path / "vars.json"
    file.write_text(json.dumps(variables))
    done = platform.playbook("site.yml", "-e", f"@{file}", "-e", f"platform_front_door={platform.endpoint['url']}")
    assert recap(done.stdout)["changed"] == 0


# --- what is seen of it


@pytest.mark.full
def test_observe_brings_one_page_that_draws_what_clients_do_and_stays(platform, client):
    observed = ["-e", "@local/observe/inputs.yml"]
    platform.playbook("site.yml", *observed)
    [page] = re.findall(r"Dashboards: (http://\S+)", platform.playbook("playbooks/status.yml").stdout)
    client.completions.create(model="tiny", prompt="This is a cake", max_tokens=8)
    text = until(lambda: found if "tiny completion" in (found := read(page)) else "", seconds=90)
    assert "llm-gateway 1 of 1" in text
    assert "llm-engines 2 of 2" in text
    drawn = r"<figcaption>Memory of engines<small></small></figcaption><svg.*?engine-tiny-"
    until(lambda: re.search(drawn, read(page)), seconds=90)
    assert recap(platform.playbook("site.yml", *observed).stdout)["changed"] == 0
    assert recap(platform.playbook("site.yml").stdout)["changed"] == 0
    assert "Dashboards" in read(page)


@contextmanager
def opencost(platform, folder):
    """A pod in OpenCost's place, of the gateway's image: three dollars a month of the engine's pods, one of idle nodes."""
    double = (REPO / "tests/support/opencost.py").read_text()
    rates = [f"tiny={3 / 720}", f"__idle__={1 / 720}"]
    container = {"name": "opencost", "command": ["/opt/gateway/bin/python", "-c", double, "9003", *rates]}
    container["image"] = platform.kubectl(
        "-n",
        "llm-gateway",
        "get",
        "deployment",
        "llm-gateway",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    )
    place, labels = {"name": "opencost", "namespace": "opencost"}, {"app": "opencost"}
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "opencost"}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**place, "labels": labels},
            "spec": {"containers": [container]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            "spec": {"selector": labels, "ports": [{"port": 9003}]},
        },
    ]
    file = folder / "opencost.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    try:
        platform.kubectl("apply", "-f", str(file))
        platform.kubectl("-n", "opencost", "wait", "--for=condition=Ready", "pod/opencost", "--timeout=100s")
        yield
    finally:
        platform.kubectl("delete", "--ignore-not-found", "--grace-period=1", "-f", str(file))


@pytest.mark.full
def test_the_report_prints_and_draws_what_a_million_tokens_cost(platform, client, tmp_path):
    """Prometheus and what it counts are real."""
    page = tmp_path / "cost.html"
    platform.playbook("site.yml", "-e", "@local/observe/inputs.yml")

    def told():
        client.completions.create(model="tiny", prompt="This is a cake", max_tokens=8)
        said = platform.playbook("playbooks/report.yml", "-e", f"report_out={page}", check=False)
        return said.stdout if re.search(r"tiny +3\.00 +1\.00 +4\.00 +[1-9]", said.stdout) else ""

    with opencost(platform, tmp_path):
        said = until(told, seconds=300)
    assert "4.00 USD, 25.0% of it for idle nodes" in said
    assert "<i class=shared" in page.read_text() and "tiny" in page.read_text()
    platform.playbook("site.yml")


def read(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()
