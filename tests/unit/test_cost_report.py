# SPDX-License-Identifier: Apache-2.0
"""The cost report against vectors that were computed by hand, and its sums against the bill, to the cent."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import random
from decimal import Decimal

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.cost import (
    CostError,
    Spent,
    ask,
    by_key,
    by_model,
    idle_share,
    page,
    render,
    shares,
)
from tests.support import opencost


def usd(text):
    return Decimal(text)


# 600 + 200 USD of engines, 100 idle, 100 for everything else: 1000. a has 3/4 of the shared 200.
# a: 600 + 150 = 750 for 500 million tokens = 1.50; b: 200 + 50 = 250 for 25 million = 10.00.
BY_HAND = Spent(
    {"a": usd("600"), "b": usd("200")},
    usd("100"),
    usd("100"),
    {"a": 500_000_000, "b": 25_000_000},
    {"team-x": 420_000_000, "team-y": 105_000_000},
)


def test_a_month_computed_by_hand():
    a, b = by_model(BY_HAND)
    assert (a.own, a.shared, a.total, a.per_million) == (usd("600"), usd("150"), usd("750"), usd("1.50"))
    assert (b.own, b.shared, b.total, b.per_million) == (usd("200"), usd("50"), usd("250"), usd("10.00"))
    assert idle_share(BY_HAND) == usd("0.1")
    x, y = by_key(BY_HAND)
    assert (x.name, x.total, y.name, y.total) == ("team-x", usd("800"), "team-y", usd("200"))
    # 800 USD for 420 million tokens.
    assert x.per_million == usd("1.90")


def test_three_equal_parts_of_a_dollar_are_a_dollar():
    assert shares(usd("1.00"), [usd("1")] * 3) == [usd("0.34"), usd("0.33"), usd("0.33")]


@pytest.mark.parametrize("seed", range(50))
def test_the_sums_are_the_bill_to_the_cent(seed):
    chance = random.Random(seed)

    def money():
        return Decimal(chance.randrange(10**9)) / Decimal(10**6)

    names = [f"m{n}" for n in range(chance.randrange(1, 9))]
    tokens = {name: chance.randrange(1, 10**9) for name in names}
    spent = Spent({name: money() for name in names}, money(), money(), tokens, {"k1": 1, "k2": 2, "k3": 4})
    bill = (sum(spent.models.values()) + spent.idle + spent.others).quantize(usd("0.01"))
    assert sum(row.total for row in by_model(spent)) == bill
    assert sum(row.total for row in by_key(spent)) == bill
    assert all(row.own >= 0 and row.shared >= usd("-0.01") for row in by_model(spent))


def test_a_model_without_tokens_has_a_cost_and_no_price():
    (row,) = by_model(Spent({"a": usd("3")}, usd("0"), usd("0"), {}, {}))
    assert (row.total, row.per_million) == (usd("3.00"), None)
    assert "USD a million" in render(Spent({"a": usd("3")}, usd("0"), usd("0"), {}, {}), 30)


def test_a_page_says_until_when_and_a_keys_part_of_the_bill_is_no_cost_of_its_own():
    said = page(BY_HAND, "demo", 30, "2026-11-29")
    assert "<h1>demo: what 30 days cost</h1><p>Until 2026-11-29: 1,000.00 USD" in said
    assert "<td>800.00<td>1.90<td>420,000,000<tr>" in said
    assert "<td>750.00<td>1.50<td>500,000,000<td>600.00<td>150.00<tr>" in said


def test_a_page_shows_names_as_text():
    spent = Spent({"<b>": usd("1")}, usd("0"), usd("0"), {"<b>": 1}, {})
    assert "<td>&lt;b&gt;</td>" in page(spent, "demo", 30)


NOW = datetime.datetime(2026, 11, 29, 1, 0, 30, tzinfo=datetime.UTC)
HOURS = 30 * 24
# What makes BY_HAND of 30 days.
RATES = {"a": 600 / HOURS, "b": 200 / HOURS, "__idle__": 100 / HOURS, "__unallocated__": 100 / HOURS}


class Recorded:
    """The API server's way to OpenCost's double and to what Prometheus' documents show; keeps what it was asked."""

    def __init__(self, rates=None, *, since=NOW - datetime.timedelta(days=400), broken=False):
        self.rates, self.since, self.broken, self.asked = RATES if rates is None else rates, since, broken, []

    def request(self, method, path, *, query, what):
        self.asked.append((path, dict(query)))
        if self.broken:
            return b"<html>no</html>"
        if path.endswith("/allocation"):
            status, body = opencost.allocation(query, self.rates, self.since, NOW)
            assert status == 200, body
            return body
        label = "model" if "tokens_total[" in query["query"] and "key_tokens" not in query["query"] else "key"
        tokens = {"model": BY_HAND.tokens, "key": BY_HAND.key_tokens}[label]
        result = [{"metric": {label: name}, "value": [1, str(count)]} for name, count in tokens.items()]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def asked(client, days=30):
    return ask(client, days, opencost="opencost/opencost:9003", prometheus="monitoring/p:9090", until=NOW)


def test_what_opencost_and_prometheus_answer_becomes_the_report():
    client = Recorded()
    found = asked(client)
    # OpenCost rounds each day, to five decimals.
    assert {row.name: (row.own, row.shared, row.per_million) for row in by_model(found)} == {
        row.name: (row.own, row.shared, row.per_million) for row in by_model(BY_HAND)
    }
    assert (found.tokens, found.key_tokens, found.known) == (BY_HAND.tokens, BY_HAND.key_tokens, HOURS)
    assert round(idle_share(found), 5) == usd("0.1")
    paths = [path for path, __ in client.asked]
    assert paths[0] == "/api/v1/namespaces/opencost/services/opencost:9003/proxy/allocation"
    assert client.asked[-2][1]["query"] == "sum by (model) (increase(llm_gateway_tokens_total[30d]))"


def test_costs_and_tokens_are_of_the_same_hours_also_soon_after_midnight():
    """OpenCost's own "1d" would be the day that is running: one hour of costs for a day of tokens."""
    client = Recorded()
    assert sum(row.total for row in by_model(asked(client, 1))) == usd("33.33")
    (__, costs), (__, tokens), __ = client.asked
    assert costs["window"] == "2026-11-28T01:00:00Z,2026-11-29T01:00:00Z"
    assert tokens["time"] == str(int(NOW.replace(second=0).timestamp()))


def test_a_month_is_asked_for_day_by_day():
    client = Recorded()
    asked(client)
    windows = [query["window"] for path, query in client.asked if path.endswith("/allocation")]
    assert len(windows) == 30
    assert windows[0].startswith("2026-10-30T01:00:00Z,") and windows[-1].endswith(",2026-11-29T01:00:00Z")
    assert all(one.split(",")[1] == next_.split(",")[0] for one, next_ in itertools.pairwise(windows))


def test_volumes_that_no_pod_has_are_part_of_the_bill():
    found = asked(Recorded({**RATES, "__unmounted__": 50 / HOURS}))
    assert round(found.others, 3) == usd("150")
    assert sum(row.total for row in by_model(found)) == usd("1050")


def test_a_period_of_which_only_the_end_is_known_says_so():
    found = asked(Recorded(since=NOW - datetime.timedelta(days=15)))
    said = "Only the last 360 hours of them are known"
    assert said in render(found, 30)
    assert said in page(found, "demo", 30)
    assert said not in render(asked(Recorded()), 30)


def test_what_opencost_has_no_number_for_costs_nothing():
    assert asked(Recorded({"a": math.nan, "b": 300 / HOURS})).models == {"a": usd("0"), "b": usd("300")}


def test_more_used_than_the_nodes_have_lowers_the_bill_to_the_cent():
    """OpenCost's idle is what nodes cost without what pods cost, also below zero."""
    spent = Spent({"a": usd("1"), "b": usd("1"), "c": usd("1")}, usd("-1"), usd("0"), {}, {"k": 1, "l": 1, "m": 1})
    assert sum(row.total for row in by_model(spent)) == usd("2.00")
    assert sum(row.total for row in by_key(spent)) == usd("2.00")


def test_an_opencost_that_has_no_costs_yet_is_said_and_what_it_waits_for():
    with pytest.raises(CostError, match=r"opencost:9003 knows of no costs in the last 30 days: Prometheus must"):
        asked(Recorded(since=NOW))


def test_an_answer_that_is_none_is_said_with_what_installs_it():
    with pytest.raises(CostError, match=r"opencost/opencost:9003 does not answer: .*; roles cost and prometheus"):
        asked(Recorded(broken=True))
