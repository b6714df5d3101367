# SPDX-License-Identifier: Apache-2.0
"""The cost report drawn from OpenCost itself: its program and its real chart, Prometheus, gateway and llama.cpp on the local cluster.

LLM_ON_EKS_TEST_OPENCOST names a folder with the program `opencost`, as OpenCost's Makefile builds it. Prices are dear, so that minutes are dollars.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import cost
from tests.support import opencost, program_image
from tests.support.cluster_client import new_client
from tests.support.local_platform import recap
from tests.support.opencost_process import PROGRAM, needs_opencost
from tests.support.serving import asking
from tests.support.tiny_model import make_tiny_gguf
from tests.support.waiting import until

MIRROR = os.environ.get("LLM_ON_EKS_TEST_CHARTS", "")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not MIRROR, reason="LLM_ON_EKS_TEST_CHARTS names no folder of charts"),
    needs_opencost,
]
OBSERVED = ("-e", "@local/observe/inputs.yml")
IMAGE = "localhost/opencost/opencost:test"
CPU, RAM = 60, 12
SECOND_KEY = "sk-second-of-the-cost-report"
# OpenCost looks at pods and nodes once in five minutes; here, once a minute. Its picture has only the program.
SYSTEM = {
    "cost_state": "present",
    "cost_ui": False,
    "cost_prices": {"CPU": CPU, "RAM": RAM},
    "cost_values": {
        "opencost": {"exporter": {"image": {"fullImageName": IMAGE}, "extraEnv": {"ETL_RESOLUTION_SECONDS": "60"}}}
    },
    "prometheus_thresholds": {"cost_per_hour": 100},
    "platform_chart_mirror": MIRROR,
}
GONE = {"cost_state": "absent", "platform_chart_mirror": MIRROR}


@dataclass
class Scene:
    """The platform with OpenCost, and ways to it and to Prometheus."""

    platform: object
    opencost: str
    prometheus: str
    extra: tuple[str, ...]

    def costs(self, path="allocation", **query):
        return read(f"{self.opencost}/{path}?{urllib.parse.urlencode(query)}")

    def query(self, text, at=None):
        asked = {"query": text, **({"time": at.timestamp()} if at else {})}
        return read(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode(asked)}")["data"]["result"]

    def number(self, text, at=None):
        [found] = self.query(text, at)
        return Decimal(found["value"][1])

    def site(self, **changed):
        return self.platform.playbook("site.yml", *OBSERVED, *self.extra, "-e", json.dumps({**SYSTEM, **changed}))


def read(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def scene(platform, tmp_path_factory):
    """Two models, two keys, OpenCost with prices of the inventory."""
    folder = tmp_path_factory.mktemp("cost")
    model = {
        "name": "tiny-b",
        "source": f"file://{make_tiny_gguf(folder / 'b.gguf')}",
        "engine": "llamacpp",
        "context": 1024,
    }
    (folder / "models.yml").write_text(yaml.safe_dump({"model_catalog": [model]}))
    extra = ("-e", f"models_extra={folder / 'models.yml'}")
    archive = program_image.written(IMAGE, {"opencost": PROGRAM}, folder / "opencost.tar", user="1001")
    program_image.given(platform.name, {IMAGE: archive})
    digest = hashlib.sha256(SECOND_KEY.encode()).hexdigest()
    second = json.dumps({"stringData": {"second": f"sha256:{digest}"}})
    # The image with Prometheus is built before the lock says which images there are.
    platform.playbook("site.yml", *OBSERVED, *extra)
    platform.playbook("playbooks/lock.yml", *OBSERVED, *extra, "-e", json.dumps(SYSTEM))
    platform.playbook("site.yml", *OBSERVED, *extra, "-e", json.dumps(SYSTEM))
    platform.kubectl("-n", "llm-gateway", "patch", "secret", "llm-gateway-keys", "-p", second)
    with ExitStack() as ways:
        ports = [
            ways.enter_context(platform.port_forward(namespace, f"service/{name}", port))
            for namespace, name, port in (("opencost", "opencost", 9003), ("monitoring", "prometheus-operated", 9090))
        ]
        yield Scene(platform, *(f"http://127.0.0.1:{port}" for port in ports), extra)
    platform.playbook("site.yml", *OBSERVED, "-e", json.dumps(GONE))
    platform.playbook("site.yml")


def ask(platform, key, model):
    """The tokens of one request."""
    asked = {"model": model, "prompt": "This is a cake", "max_tokens": 40, "ignore_eos": True}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{platform.endpoint['url']}/v1/completions", json.dumps(asked).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["usage"]["total_tokens"]


@contextmanager
def load(platform):
    """Both models asked with both keys; the first key asks three times as often."""
    turns = [platform.endpoint["api_key"]] * 3 + [SECOND_KEY]
    count = [0]

    def once():
        count[0] += 1
        ask(platform, turns[count[0] % 4], ("tiny", "tiny-b")[count[0] // 4 % 2])

    with asking(once, clients=1, pause=0.3):
        yield


def report(scene, *more):
    return scene.platform.playbook("playbooks/report.yml", "-e", "report_days=1", *more, check=False).stdout


@pytest.fixture(scope="module")
def loaded(scene):
    """After some minutes of requests."""
    with load(scene.platform):
        until(lambda: scene.query("count_over_time(node_total_hourly_cost[15m]) > 16"), seconds=1500, pause=5)
    return scene


def now():
    return datetime.datetime.now(datetime.UTC)


def test_the_price_of_the_node_is_the_inventorys(loaded):
    """By hand: cores by their price, and GiB by theirs."""
    capacity = json.loads(loaded.platform.kubectl("get", "nodes", "-o", "json"))["items"][0]["status"]["capacity"]
    by_hand = int(capacity["cpu"]) * Decimal(CPU) + Decimal(capacity["memory"].removesuffix("Ki")) / 2**20 * Decimal(
        RAM
    )
    assert abs(loaded.number("sum(node_total_hourly_cost)") - by_hand) < Decimal("0.0001")
    assert abs(loaded.number("cluster:node_cost:usd_per_hour") - by_hand) < Decimal("0.0001")


def test_the_shares_are_what_the_node_cost_to_the_cent(loaded):
    """Node price by hours = nodes' cost in OpenCost = sum of the report's rows."""
    moment = now().replace(second=0, microsecond=0)
    places = {"opencost": "opencost/opencost:9003", "prometheus": "monitoring/prometheus-operated:9090"}
    spent = cost.ask(new_client(loaded.platform.endpoint["kubeconfig"]), 1, until=moment, **places)
    rows = cost.by_model(spent)
    bill = sum(row.total for row in rows)
    assert {row.name for row in rows} == {"tiny", "tiny-b"}
    assert all(row.own > 0 and row.tokens > 0 and row.per_million > 0 for row in rows)
    assert bill == sum(row.total for row in cost.by_key(spent))

    start = moment - datetime.timedelta(days=1)
    window = f"{start:%Y-%m-%dT%H:%M:%SZ},{moment:%Y-%m-%dT%H:%M:%SZ}"
    nodes = [one for one in loaded.costs("assets", window=window)["data"].values() if one["type"] == "Node"]
    assert abs(bill - sum(Decimal(str(one["totalCost"])) for one in nodes)) <= Decimal("0.01")
    price, hours = loaded.number("sum(node_total_hourly_cost)"), Decimal(str(nodes[0]["minutes"])) / 60
    assert abs(bill - price * hours) <= Decimal("0.01")
    # OpenCost counts minutes of its resolution.
    first = loaded.number("min_over_time(timestamp(node_total_hourly_cost)[1d:15s])", moment)
    assert abs((Decimal(moment.timestamp()) - first) / 60 - hours * 60) <= 3


def test_the_double_answers_as_the_program_does(loaded):
    """For hours before anything ran, for windows that are none, and in the fields of what costs."""
    asked = {"aggregate": "label:llm_on_eks_model", "includeIdle": "true", "accumulate": "true"}
    rates = {"tiny": 1.0, "__idle__": 1.0}
    for window in ("2020-01-01T00:00:00Z,2020-01-02T00:00:00Z", "1d", "soon"):
        query = {**asked, "window": window}
        status, body = opencost.allocation(query, rates, now() - datetime.timedelta(hours=1), now())
        try:
            with urllib.request.urlopen(f"{loaded.opencost}/allocation?{urllib.parse.urlencode(query)}") as answer:
                found = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            found = error.code, error.read()
        assert found[0] == status, window
        if status != 200:
            assert found[1].split() == body.split(), window
            continue
        [ours], [theirs] = json.loads(body)["data"], json.loads(found[1])["data"]
        assert bool(ours) == bool(theirs), window
        assert set(ours) <= set(theirs), window
        for name, one in ours.items():
            assert set(one) <= set(theirs[name]), window
            assert type(one["totalCost"]) is type(theirs[name]["totalCost"]), window
            assert theirs[name]["start"].endswith("Z"), window


def test_tokens_are_those_that_clients_were_told(loaded):
    def counted():
        names = ("first", "second")
        return {name: int(loaded.number(f'sum(llm_gateway_key_tokens_total{{key="{name}"}})')) for name in names}

    def settled():
        """Nothing more is counted after two scrapes."""
        found = counted()
        time.sleep(31)
        return found == counted()

    until(settled, seconds=120)
    before = counted()
    told = ask(loaded.platform, SECOND_KEY, "tiny")
    until(lambda: counted()["second"] - before["second"] == told, seconds=60, pause=2)
    assert counted()["first"] == before["first"]
    # Of four requests three; the second key was not known at the beginning.
    assert 2 < before["first"] / before["second"] < 6


def test_the_report_prints_and_draws_it(loaded, tmp_path):
    page = tmp_path / "cost.html"
    said = report(loaded, "-e", f"report_out={page}")
    assert re.search(r"1 days: [\d,]+\.\d\d USD, \d+\.\d% of it for idle nodes", said), said[-2000:]
    assert re.search(r"Only the last (\d+ minutes|1 hours) of them are known", said)
    for name in ("tiny", "tiny-b"):
        assert re.search(rf"^ *{name} +[\d,]+\.\d\d +[\d,]+\.\d\d", said, re.M), name
    for name in ("first", "second"):
        assert re.search(rf"^ *{name} +[\d,]+\.\d\d +[\d,]+\.\d\d", said, re.M), name
    drawn = page.read_text()
    assert "<td>tiny-b</td>" in drawn and "<td>second</td>" in drawn


def test_a_second_run_changes_nothing(loaded):
    said = loaded.site().stdout
    assert recap(said)["changed"] == 0, said[-4000:]


def test_a_price_that_the_inventory_changes_is_the_next_one(loaded):
    """The alert, which waits for half an hour before it fires, no longer waits."""
    assert loaded.query('ALERTS{alertname="LlmCostHigh", alertstate="pending"}')
    loaded.site(cost_prices={"CPU": 0.03, "RAM": 0.004})
    until(lambda: loaded.query("cluster:node_cost:usd_per_hour < 1"), seconds=300, pause=5)
    until(lambda: not loaded.query('ALERTS{alertname="LlmCostHigh"}'), seconds=120, pause=5)
