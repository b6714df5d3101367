# SPDX-License-Identifier: Apache-2.0
"""What a million tokens cost, by model and by key: node hours from OpenCost, tokens from the gateway. Money is in whole cents."""

from __future__ import annotations

import datetime
import html
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec

from ...module_utils.errors import LlmOnEksError
from ..kubernetes.client import Client
from ..run.run_plan import aligned

_CENT = Decimal("0.01")
# What OpenCost calls idle nodes. All its names of this form are of no model: __unallocated__, of pods without the label; __unmounted__,
# of volumes that no pod has.
_IDLE, _NO_MODEL = "__idle__", "__"
_HOUR = datetime.timedelta(hours=1)


class CostError(LlmOnEksError):
    """OpenCost or Prometheus does not say what is asked."""


@dataclass(frozen=True)
class Spent:
    """What OpenCost and the gateway say of a period. Costs in USD by model, as OpenCost has them, not rounded.

    `idle`: of nodes that nothing asked for, below zero where pods used more than their nodes have; `others`: of pods that are no engines.
    `known`: hours of the period of which OpenCost knows anything.
    """

    models: Mapping[str, Decimal]
    idle: Decimal
    others: Decimal
    tokens: Mapping[str, int]
    key_tokens: Mapping[str, int]
    known: float = math.inf


@dataclass(frozen=True)
class Row:
    """`own`: of its pods, `shared`: its share of idle nodes and of what all use; whole cents, in USD. `tokens`: in and out."""

    name: str
    own: Decimal
    shared: Decimal
    tokens: int

    @property
    def total(self) -> Decimal:
        return self.own + self.shared

    @property
    def per_million(self) -> Decimal | None:
        """USD for a million tokens; None where there were none."""
        return (self.total / self.tokens * 1_000_000).quantize(_CENT) if self.tokens else None


def by_model(spent: Spent) -> list[Row]:
    """One row a model, the dearest first. Their totals are the bill, to the cent.

    What belongs to no model is shared by what the models' own pods cost; without any, by tokens.
    """
    names = sorted({*spent.models, *spent.tokens})
    own = shares(sum(spent.models.values(), Decimal()), [spent.models.get(name, Decimal()) for name in names])
    weights = own if any(own) else [Decimal(spent.tokens.get(name, 0)) for name in names]
    bill = (sum(spent.models.values(), Decimal()) + spent.idle + spent.others).quantize(_CENT, ROUND_HALF_EVEN)
    shared = shares(bill - sum(own, Decimal()), weights)
    rows = [Row(name, own[at], shared[at], spent.tokens.get(name, 0)) for at, name in enumerate(names)]
    return sorted(rows, key=lambda row: (-row.total, row.name))


def by_key(spent: Spent) -> list[Row]:
    """One row a key: the whole bill, shared by tokens."""
    names = sorted(spent.key_tokens)
    bill = sum((row.total for row in by_model(spent)), Decimal())
    parts = shares(bill, [Decimal(spent.key_tokens[name]) for name in names])
    rows = [Row(name, Decimal(), parts[at], spent.key_tokens[name]) for at, name in enumerate(names)]
    return sorted(rows, key=lambda row: (-row.total, row.name))


def shares(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """`amount`, rounded to cents, divided by weight: the parts are whole cents, and their sum is the amount.

    The cents that rounding down leaves go to the largest remainders. Without weights nobody gets anything.
    """
    cents, total = int(amount.quantize(_CENT, ROUND_HALF_EVEN) * 100), sum(weights, Decimal())
    if not total:
        return [Decimal()] * len(weights)
    exact = [cents * weight / total for weight in weights]
    parts = [math.floor(part) for part in exact]
    order = sorted(range(len(weights)), key=lambda at: (parts[at] - exact[at], at))
    for at in order[: cents - sum(parts)]:
        parts[at] += 1
    return [Decimal(part) / 100 for part in parts]


def idle_share(spent: Spent) -> Decimal:
    """Which part of the bill is of idle nodes; 0 to 1."""
    bill = sum(spent.models.values(), Decimal()) + spent.idle + spent.others
    return spent.idle / bill if bill else Decimal()


def ask(client: Client, days: int, *, opencost: str, prometheus: str, until: datetime.datetime) -> Spent:
    """The `days` up to `until`, a moment with its time zone. `opencost`, `prometheus`: NAMESPACE/SERVICE:PORT, reached through the API server.

    Raises CostError.
    """
    period = _Period.of(days, until)
    found = [(name, one) for window in period.windows() for name, one in _allocations(client, opencost, window)]
    if not found:
        raise CostError(
            f"{opencost} knows of no costs in the last {days} days: Prometheus must have scraped it for some minutes (its target opencost), and "
            "then OpenCost prices the nodes"
        )
    costs: dict[str, Decimal] = {}
    for name, one in found:
        costs[name] = costs.get(name, Decimal()) + Decimal(str(one.get("totalCost") or 0))
    return Spent(
        {name: cost for name, cost in costs.items() if not name.startswith(_NO_MODEL)},
        costs.get(_IDLE, Decimal()),
        sum((cost for name, cost in costs.items() if name.startswith(_NO_MODEL) and name != _IDLE), Decimal()),
        _increase(client, prometheus, "llm_gateway_tokens_total", "model", period),
        _increase(client, prometheus, "llm_gateway_key_tokens_total", "key", period),
        period.known(one for __, one in found),
    )


@dataclass(frozen=True)
class _Period:
    """Both are asked for the same hours: what OpenCost calls 30d ends with the day that is running, and what Prometheus calls so ends now."""

    days: int
    start: datetime.datetime
    end: datetime.datetime

    @classmethod
    def of(cls, days: int, until: datetime.datetime) -> _Period:
        end = until.astimezone(datetime.UTC).replace(second=0, microsecond=0)
        return cls(days, end - datetime.timedelta(days=days), end)

    def windows(self) -> list[str]:
        """One for each day, as OpenCost takes them: it computes a day after the other, and a month in one answer would be waited for too long."""
        edges = [self.start + datetime.timedelta(days=day) for day in range(self.days + 1)]
        said = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in edges]
        return [f"{start},{end}" for start, end in itertools.pairwise(said)]

    def known(self, found: Iterable[Mapping[str, Any]]) -> float:
        """Hours from the first thing that costs to the end; all, where none says when it began."""
        starts = [datetime.datetime.fromisoformat(one["start"]) for one in found if one.get("start")]
        return (self.end - min(starts, default=self.start)) / _HOUR


def _allocations(client: Client, opencost: str, window: str) -> list[tuple[str, dict[str, Any]]]:
    """What OpenCost says of each model in a window, with its name."""
    # https://opencost.io/docs/integrations/api - GET /allocation
    given = {"window": window, "aggregate": "label:llm_on_eks_model", "includeIdle": "true", "accumulate": "true"}
    sets = _get(client, opencost, "allocation", given).get("data") or []
    return [(str(name), one) for found in sets for name, one in (found or {}).items()]


def _increase(client: Client, prometheus: str, series: str, label: str, period: _Period) -> dict[str, int]:
    asked = {
        "query": f"sum by ({label}) (increase({series}[{period.days}d]))",
        "time": str(int(period.end.timestamp())),
    }
    answer = _get(client, prometheus, "api/v1/query", asked)
    found = (answer.get("data") or {}).get("result") or []
    return {one["metric"].get(label, ""): round(float(one["value"][1])) for one in found}


def _get(client: Client, place: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    namespace, __, service = place.partition("/")
    address = f"/api/v1/namespaces/{namespace}/services/{service}/proxy/{path}"
    try:
        return dict(msgspec.json.decode(client.request("GET", address, query=query, what=place)))
    except (LlmOnEksError, msgspec.DecodeError) as error:
        raise CostError(f"{place} does not answer: {error}; roles cost and prometheus install what is asked") from error


def render(spent: Spent, days: int) -> str:
    """Both tables for people."""
    models, keys = by_model(spent), by_key(spent)
    bill = sum((row.total for row in models), Decimal())
    lines = [
        f"  {days} days: {bill:,.2f} USD, {idle_share(spent):.1%} of it for idle nodes",
        *_known(spent, days, "  "),
    ]
    for title, rows, columns in (("model", models, _OF_MODELS), ("key", keys, _OF_KEYS)):
        texts = [[column.text(row) for column in columns] for row in rows]
        lines += [
            "",
            *aligned(
                [
                    [title, *(column.head for column in columns)],
                    *([row.name, *cells] for row, cells in zip(rows, texts, strict=True)),
                ]
            ),
        ]
    return "\n".join(lines)


def _known(spent: Spent, days: int, indent: str = "") -> list[str]:
    """A line where the period is longer than what is known of it."""
    if spent.known > days * 24 - 1:
        return []
    hours = f"{spent.known:.0f} hours" if spent.known >= 1 else f"{spent.known * 60:.0f} minutes"
    return [
        f"{indent}Only the last {hours} of them are known: nothing ran or was measured before, or Prometheus has dropped it "
        "(prometheus_retention_days)."
    ]


@dataclass(frozen=True)
class _Column:
    head: str
    text: Callable[[Row], str]


_TOTAL = [
    _Column("total", lambda row: f"{row.total:,.2f}"),
    _Column("USD a million tokens", lambda row: "no tokens" if row.per_million is None else f"{row.per_million:,}"),
    _Column("tokens", lambda row: f"{row.tokens:,}"),
]
_OF_MODELS = [
    *_TOTAL,
    _Column("own", lambda row: f"{row.own:,.2f}"),
    _Column("shared", lambda row: f"{row.shared:,.2f}"),
]
# All that a key has is its share of the bill.
_OF_KEYS = _TOTAL


_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5c646e;--line:#dfe3e8;--own:#2f6fb3;--shared:#9dbfe3;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#a0aab5;--line:#343a42;--own:#5a97d6;--shared:#34567a;--paper:#15181c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .4rem}p{color:var(--soft);margin:.3rem 0}div.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}
td,th{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
th{font-weight:400;color:var(--soft)}td:first-child,th:first-child{text-align:left;padding-left:0}.bar{width:35%;min-width:8rem;text-align:left}
i{display:inline-block;height:.9em;vertical-align:-.1em;background:var(--own)}i.shared{background:var(--shared)}p i{width:.9em}
@media(max-width:46rem){body{margin:1rem auto}.bar{display:none}td,th{padding:.3rem .4rem}th{white-space:normal;vertical-align:bottom}}
"""


def page(spent: Spent, cluster: str, days: int, until: str = "") -> str:
    """The same as an HTML page that needs nothing else, with a bar for each row. `until`: the last day, as people read it."""
    models, keys = by_model(spent), by_key(spent)
    bill = sum((row.total for row in models), Decimal())
    title = f"{html.escape(cluster)}: what {days} days cost"
    when = f"Until {html.escape(until)}: " if until else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1><p>{when}{bill:,.2f} USD, {idle_share(spent):.1%} of it for idle nodes.</p>"
        f"{''.join(f'<p>{line}</p>' for line in _known(spent, days))}"
        f"{_table('model', models, _OF_MODELS)}<p><i></i> own: of the model's pods. <i class=shared></i> shared: idle nodes and what all use.</p>"
        f"{_table('key', keys, _OF_KEYS)}<p>Keys share the bill by their tokens.</p></html>\n"
    )


def _table(title: str, rows: Sequence[Row], columns: Sequence[_Column]) -> str:
    if not rows:
        return f"<h2>By {title}</h2><p>No {title} has cost anything or has any token in these days.</p>"
    most = max((row.total for row in rows), default=Decimal()) or Decimal(1)
    heads = "".join(f"<th>{column.head}" for column in columns)
    drawn = "".join(_drawn(row, columns, most) for row in rows)
    return f'<h2>By {title}</h2><div class="wide"><table><tr><th>{title}<th class="bar">{heads}{drawn}</table></div>'


def _drawn(row: Row, columns: Sequence[_Column], most: Decimal) -> str:
    # A key has no pods of its own: its bar has one colour.
    parts = (row.total, Decimal()) if columns is _OF_KEYS else (row.own, row.shared)
    own, shared = (max(part, Decimal()) / most * 99 for part in parts)
    bars = f'<i style="width:{own:.1f}%"></i><i class="shared" style="width:{shared:.1f}%"></i>'
    numbers = "".join(f"<td>{column.text(row)}" for column in columns)
    return f'<tr><td>{html.escape(row.name) or "(none)"}</td><td class="bar">{bars}</td>{numbers}'
