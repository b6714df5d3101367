# SPDX-License-Identifier: Apache-2.0
"""The schema that editors take: the shipped inventories fit it, and a typo anywhere in them does not."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

REPO = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPO / "docs" / "inventory.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
FILES = sorted(file for file in REPO.glob("inventories/**/*.yml") if {"group_vars", "host_vars"} & set(file.parts))


def wrong(document):
    return [error.message for error in VALIDATOR.iter_errors(document)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(REPO / "inventories")))
def test_a_shipped_file_names_the_schema_and_fits_it(file):
    line = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text())
    assert line, "the first line names no schema"
    assert (file.parent / line[1]).resolve() == REPO / "docs" / "inventory.schema.json"
    assert wrong(yaml.safe_load(file.read_text())) == []


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def production():
    found = {}
    for file in FILES:
        if "prod" in file.parts:
            found |= yaml.safe_load(file.read_text())
    return found


MODEL = {"name": "m", "source": "hf://a/b", "engine": "llamacpp"}
GROUP = {"name": "gpu", "instance_types": ["g6.xlarge"]}
TYPOS = [
    {"platform_protcted": True},
    {"platform_aws_regoin": "us-west-2"},
    {"network_zone": ["a", "b"]},
    {"network_nat": "perzone"},
    {"network_zones": "a,b"},
    {"cluster_verison": "1.35"},
    {"cluster_log_retention_days": "a year"},
    {"cluster_support_type": "Standard"},
    {"cluster_admins": {"role": "arn:aws:iam::111122223333:role/platform"}},
    {"cluster_access": [{"name": "ops", "principal": "arn:aws:iam::111122223333:role/ops"}]},
    {"node_groups_repair": "maybe"},
    {"node_groups_system": {"max_sise": 3}},
    {"node_groups_extra": [{**GROUP, "capacity": "SPOT"}]},
    {"storage_efs_retian": True},
    {"storage_efs_throughput_mode": "fast"},
    {"gateway_replicas": [2]},
    {"gateway_queue_sise": 10},
    {"model_catalog": [{**MODEL, "engine": "lamacpp"}]},
    {"model_catalog": [{**MODEL, "replica": {"min": 1}}]},
    {"model_catalog": [{**MODEL, "replicas": {"minimum": 1}}]},
    {"model_catalog": [{"name": "m", "engine": "llamacpp"}]},
]


@pytest.mark.parametrize("typo", TYPOS, ids=lambda typo: json.dumps(typo)[:60])
def test_a_typo_is_marked(typo):
    document = copy.deepcopy(production())
    assert wrong(document) == []
    assert wrong(document | typo)


@pytest.mark.parametrize(
    "given",
    [
        {"my_zone": "a", "network_zones": ["{{ my_zone }}", "b"]},
        {"gateway_replicas": "{{ 2 }}"},
        {"ansible_connection": "local"},
        {"model_catalog": "{{ lookup('file', 'catalogue.yml') | from_yaml }}"},
        {"platform_only": "gateway,models"},
    ],
    ids=json.dumps,
)
def test_what_ansible_takes_is_not_marked(given):
    assert wrong(production() | given) == []
