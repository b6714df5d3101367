# SPDX-License-Identifier: Apache-2.0
"""Canaries: secrets planted wherever secrets are, and looked for in everything that a run says, writes or starts."""

import base64
import copy
import json
import secrets
import sys
import zlib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ansible_collections.llm.on_eks.plugins.module_utils.names import NAMESPACE_SYSTEM
from tests.support.charts import CHARTS
from tests.support.cluster_client import component, config_map, deployment, kubectl, new_client, read, unique
from tests.support.playbooks import Arguments, Playbooks
from tests.support.simulated_node import SimulatedNode

pytestmark = pytest.mark.apiserver
LOUD = ("-vvvv", "--diff")


class Canaries:
    """Secrets by where they were planted; `found` says which of them stand in a text, plain or in base64."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}

    def plant(self, where: str) -> str:
        value = f"canary-{secrets.token_urlsafe(18)}"
        self.planted[f"{len(self.planted)}: {where}"] = value
        return value

    def found(self, text) -> list[str]:
        data = text if isinstance(text, bytes) else text.encode()
        return [where for where, value in self.planted.items() if any(form in data for form in _forms(value))]


def _forms(value: str) -> list[bytes]:
    """Plain, and in base64 at each of the three places in which it may begin."""
    made = [value.encode()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value.encode())
        made.append(encoded[4 if shift else 0 : -4])
    return made


def described(name, canaries):
    password = canaries.plant("a Secret's stringData")
    web = deployment("web")
    web["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "DB_PASSWORD", "value": canaries.plant("a container's environment")},
        {"name": "DATABASE_URL", "value": f"postgres://user:{password}@db/x"},
        {"name": "PLAIN", "value": "1"},
    ]
    pem = f"-----BEGIN KEY-----\n{canaries.plant('a line of a Secret')}\n-----END KEY-----\n"
    documents = [
        web,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "given"},
            "stringData": {"password": password, "key.pem": pem},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "packed"},
            "data": {"token": base64.b64encode(canaries.plant("a Secret's data").encode()).decode()},
        },
        config_map("settings", api_token=canaries.plant("a ConfigMap's key that is named like a secret"), mode="a"),
    ]
    values = {
        "user": canaries.plant("a value that a chart puts into a Secret"),
        "database": {"password": canaries.plant("a release's values")},
    }
    release = {"name": name, "chart": {"path": str(CHARTS / "secrets")}, "values": values, "timeout": 60}
    return component(name, *documents, secrets=[{"name": "made", "generate": {"api_key": 32}}], releases=[release])


@pytest.mark.timeout(900)
def test_no_secret_stands_in_anything_that_a_run_says_writes_or_starts(api_server, tmp_path):
    client, name, canaries = new_client(api_server), unique("secret"), Canaries()
    playbooks = Playbooks(tmp_path, api_server)
    one = described(name, canaries)
    said: dict[str, str] = {}
    reports = tmp_path / "reports"

    def run(what, action, components, *arguments, code=(0,), **options):
        got, said[what] = playbooks.run(action, components, *LOUD, *arguments, **options)
        assert got in code, f"{what}: {said[what][-3000:]}"

    with Arguments() as arguments, SimulatedNode(client):
        run("plan", "converge", [one], "--check", plan_out=str(reports / "plan.json"))
        run("first run", "converge", [one], report_out=str(reports / "first.html"))
        canaries.planted["a generated Secret"] = base64.b64decode(
            read(client, "v1", "Secret", "made", name)["data"]["api_key"]
        ).decode()
        # Each planted secret moves, and others meddle: updates, diffs and drift show secrets of both sides.
        two = described(name, canaries)
        patch = json.dumps({"stringData": {"password": canaries.plant("an edit of a Secret by others")}})
        kubectl(api_server, "-n", name, "patch", "secret", "given", "--type=merge", "-p", patch)
        theirs = f"DB_PASSWORD={canaries.plant('an edit of an environment by others')}"
        kubectl(api_server, "-n", name, "set", "env", "deployment/web", theirs)
        run("drift", "drift", [two], cluster="test", out=str(reports / "drift"))
        run("plan of a change", "converge", [two], "--check", plan_out=str(reports / "plan-2.json"))
        run("change", "converge", [two], report_out=str(reports / "change.html"))
        run("rollback", "rollback", [two], component=name, code=(0, 2))
        run("stale plan", "converge", [two], plan_file=str(reports / "plan.json"), code=(2,))
        # What fails: an API error that repeats the value, a descriptor that is none, a Secret that is refused.
        invalid = copy.deepcopy(two)
        container = invalid["manifests"][0]["spec"]["template"]["spec"]["containers"][0]
        container["env"].append({"name": "bad name!", "value": canaries.plant("an invalid environment")})
        container["env"].append(
            {
                "name": "API_KEY",
                "value": canaries.plant("an invalid value"),
                "valueFrom": {"fieldRef": {"fieldPath": "x"}},
            }
        )
        run("failing object", "converge", [invalid], report_out=str(reports / "failed.html"), code=(2,))
        unkind = copy.deepcopy(two)
        unkind["manifests"].append(
            {"apiVersion": "v1", "metadata": {"name": "x"}, "stringData": {"a": canaries.plant("no kind")}}
        )
        unkind["manifests"][-1] = dict(reversed(unkind["manifests"][-1].items()))
        run("failing descriptor", "converge", [unkind], code=(2,))
        broken = copy.deepcopy(two)
        broken["releases"][0]["values"] = {"user": [canaries.plant("a value that a chart cannot take")]}
        run("failing chart", "converge", [broken], code=(2,))

    assert said["first run"].count("Secret") > 3  # it does speak of them
    hits = {what: found for what, text in said.items() if (found := canaries.found(text))}
    for file in reports.rglob("*"):
        if file.is_file() and (found := canaries.found(file.read_bytes())):
            hits[file.name] = found
    records = client.list(client.resource("v1", "ConfigMap"), NAMESPACE_SYSTEM)
    for record in records:
        packed = record["data"].get("documents", "")
        unpacked = zlib.decompress(base64.b64decode(packed)) if packed else b""
        if found := canaries.found(str(record["data"]).encode() + unpacked):
            hits[record["metadata"]["name"]] = found
    seen = b"\n".join(arguments.seen)
    # The test's own kubectl is the one that was told secrets on its command line.
    mine = [line for line in arguments.seen if b"kubectl" in line.split(b"\0")[0]]
    for line in mine:
        seen = seen.replace(line, b"")
    if found := canaries.found(seen):
        hits["argv"] = found
    print(f"\n{len(canaries.planted)} canaries, {len(said)} runs, {len(list(reports.rglob('*')))} files, "
          f"{len(records)} records, {len(arguments.seen)} command lines: {len(hits)} hits")  # fmt: skip
    assert not hits
    assert [path.name for path in playbooks.scratch.rglob("*")] == [], "left behind"
