# SPDX-License-Identifier: Apache-2.0
"""The catalogue's schema for editors follows from the argument spec, and takes what is served."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
import yaml

from tools.schema import REPO, TARGET, schema

CATALOGUES = sorted(REPO.glob("inventories/*/group_vars/eks_clusters/models.yml"))


def test_the_schema_is_what_the_spec_says():
    assert json.loads(TARGET.read_text()) == schema(), "run python tools/schema.py"


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.parts[-4])
def test_every_inventorys_catalogue_fits_also_with_its_examples(file):
    text = file.read_text()
    # What is commented out and looks like YAML of an entry.
    opened = re.sub(r"(?m)^  # (- name: |  [a-z_]+: )", r"  \1", text)
    for one in sorted({text, opened}):
        jsonschema.validate(yaml.safe_load(one), schema())


@pytest.mark.parametrize(
    ("key", "value"), [("engin", "vllm"), ("engine", "ollama"), ("context", "long"), ("replicas", {"mim": 1})]
)
def test_a_typo_is_seen(key, value):
    entry = {"name": "x", "source": "hf://a/b", "engine": "vllm"}
    jsonschema.validate({"model_catalog": [entry]}, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"model_catalog": [{**entry, key: value}]}, schema())


def test_the_worked_examples_are_taken_by_preflight():
    from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.catalog import check_catalog
    from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.engines import check_engines

    (file,) = [one for one in CATALOGUES if "prod" in one.parts]
    opened = re.sub(r"(?m)^  # (- name: |  [a-z_]+: )", r"  \1", file.read_text())
    catalog = yaml.safe_load(opened)["model_catalog"]
    assert len(catalog) == 5
    assert [str(one) for one in (*check_catalog(catalog), *check_engines(catalog))] == []
