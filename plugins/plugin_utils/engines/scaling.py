# SPDX-License-Identifier: Apache-2.0
"""What scales a model's pods between `replicas.min` and `max`: KEDA's ScaledObjects, or autoscalers on custom metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .contract import NAMESPACE

Document = dict[str, Any]
SIGNALS = ("queue", "requests", "kv_cache")
# Engine -> its used share of the cache, 0 to 1; the others measure none (llama.cpp had one until 2025).
CACHE_METRICS = {"vllm": "vllm:kv_cache_usage_perc", "sglang": "sglang:token_usage"}
# A pod that goes finishes its streams first, and a device is dear to get back: coming is fast, going is slow.
_GENTLE = {
    "scaleDown": {"stabilizationWindowSeconds": 300, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}]}
}
# The walk-through's: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#default-behavior
_WALK_THROUGH = {
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    },
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
            {"type": "Pods", "value": 4, "periodSeconds": 15},
        ],
    },
}
_METRICS = {
    "queue": "llm_model_requests",
    "requests": "llm_model_requests_per_second",
    "kv_cache": "llm_model_kv_cache_percent",
}


@dataclass(frozen=True)
class Scaled:
    """A model with `autoscaling`. `target`: of the signal, for each pod (requests, requests a second, percent)."""

    model: str
    engine: str
    signal: str
    target: int
    least: int
    most: int

    @property
    def name(self) -> str:
        return f"engine-{self.model.replace('.', '-')}"

    @property
    def query(self) -> str:
        """The signal over all pods; divided by the target it is the number of pods."""
        cache = " or ".join(f"{name}{self._label}" for name in CACHE_METRICS.values())
        return {
            "queue": self.work,
            "requests": f"sum(rate(llm_gateway_requests_total{self._label}[2m]))",
            "kv_cache": f"100 * sum({cache})" + (f" or 0 * ({self.work})" if self.least == 0 else ""),
        }[self.signal]

    @property
    def work(self) -> str:
        """What the gateway knows of: what waits and what runs. With an empty queue alone, busy pods would be taken away."""
        return f"sum(llm_gateway_queue_depth{self._label}) + sum(llm_gateway_requests_in_flight{self._label})"

    @property
    def _label(self) -> str:
        return f'{{model="{self.model}"}}'


def scaled(
    catalog: Sequence[Mapping[str, Any]], signals: Sequence[str] = SIGNALS, *, by_keda: bool | None = None
) -> list[Scaled]:
    """The models that say `autoscaling`, are present, and have more than one number of pods to choose from.

    `by_keda`: those that KEDA scales where it has these signals, or those that it leaves to autoscalers. Whoever goes down to
    no pod is KEDA's whatever the signal: an autoscaler leaves a Deployment with none alone.
    """
    found = []
    for entry in catalog:
        wanted, replicas = entry.get("autoscaling"), entry.get("replicas") or {}
        if wanted is None or entry.get("state", "present") == "absent":
            continue
        signal = wanted.get("signal") or "queue"
        target = int(wanted.get("target") or (80 if signal == "kv_cache" else 8))
        least = int(replicas.get("min", 1))
        one = Scaled(str(entry["name"]), str(entry["engine"]), signal, target, least, int(replicas.get("max") or least))
        to_none = by_keda is not None and least == 0
        if one.most > one.least and (by_keda if to_none else signal in signals):
            found.append(one)
    return found


def scaled_objects(models: Sequence[Scaled], prometheus: str) -> list[Document]:
    """A ScaledObject for each model. https://keda.sh/docs/2.20/reference/scaledobject-spec/"""
    return [_scaled_object(model, prometheus) for model in models]


def autoscalers(models: Sequence[Scaled], *, seed: bool) -> list[Document]:
    """A HorizontalPodAutoscaler for each model; `seed`: the walk-through's, for those of TGI."""
    return [_autoscaler(model, seed=seed and model.engine == "tgi") for model in models]


def recorded(models: Sequence[Scaled]) -> Document:
    """The PrometheusRule that gives a model's signal the labels of its Service, by which the metrics API finds it."""
    rules = [
        {
            "record": _METRICS[model.signal],
            "expr": model.query,
            "labels": {"namespace": NAMESPACE, "service": model.name},
        }
        for model in models
    ]
    groups = [{"name": "llm-autoscaling", "interval": "15s", "rules": rules}]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "llm-autoscaling", "namespace": NAMESPACE},
        "spec": {"groups": groups},
    }


def adapter_rules(signals: Sequence[str] = SIGNALS) -> list[Document]:
    """prometheus-adapter's custom rules, for the metrics of these signals, for the walk-through's, and for the gateway's own."""
    own = [
        {
            "seriesQuery": f'{metric}{{namespace!="",service!=""}}',
            "resources": {"overrides": {"namespace": {"resource": "namespace"}, "service": {"resource": "service"}}},
            "name": {"as": metric},
            "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
        }
        for metric in (_METRICS[signal] for signal in signals)
    ]
    walk_through = _of_pods("tgi_request_count", "tgi_request_per_second", "rate(<<.Series>>{<<.LabelMatchers>>}[2m])")
    # What role gateway's own autoscaler reads (gateway_autoscaling).
    gateway = _of_pods(
        "llm_gateway_requests_in_flight", "llm_gateway_requests_in_flight", "<<.Series>>{<<.LabelMatchers>>}"
    )
    return [*own, walk_through, gateway]


def _of_pods(series: str, name: str, value: str) -> Document:
    """The rule of a metric of pods."""
    return {
        "seriesQuery": f'{series}{{namespace!="",pod!=""}}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"as": name},
        "metricsQuery": f"sum({value}) by (<<.GroupBy>>)",
    }


def _scaled_object(model: Scaled, prometheus: str) -> Document:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": model.name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"name": model.name},
            "pollingInterval": 15,
            # Only for the step from one pod to none.
            "cooldownPeriod": 900,
            "minReplicaCount": model.least,
            "maxReplicaCount": model.most,
            # Without Prometheus no pod is taken away.
            "fallback": {"failureThreshold": 3, "replicas": max(model.least, 1), "behavior": "currentReplicasIfHigher"},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _GENTLE}},
            "triggers": [
                {
                    "type": "prometheus",
                    "metadata": {
                        "serverAddress": prometheus,
                        "query": query,
                        "threshold": str(target),
                        "ignoreNullValues": "false",
                    },
                }
                for query, target in _triggers(model)
            ],
        },
    }


def _triggers(model: Scaled) -> list[tuple[str, int]]:
    """Queries with their targets. Of no pod nothing is measured, so a request that waits brings the first one, whatever the signal."""
    own = [(model.query, model.target)]
    return own if model.least or model.signal == "queue" else [*own, (f"clamp_max({model.work}, 1)", 1)]


def _autoscaler(model: Scaled, *, seed: bool) -> Document:
    service = {"apiVersion": "v1", "kind": "Service", "name": model.name}
    ours = {
        "type": "Object",
        "object": {
            "describedObject": service,
            "metric": {"name": _METRICS[model.signal]},
            "target": {"type": "AverageValue", "averageValue": str(model.target)},
        },
    }
    # Half a request a second for each pod. The walk-through wrote `type: Value`, which metrics of pods do not have.
    theirs = {
        "type": "Pods",
        "pods": {
            "metric": {"name": "tgi_request_per_second"},
            "target": {"type": "AverageValue", "averageValue": "500m"},
        },
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": model.name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": model.name},
            "minReplicas": model.least,
            "maxReplicas": model.most,
            "metrics": [theirs if seed else ours],
            "behavior": _WALK_THROUGH if seed else _GENTLE,
        },
    }
