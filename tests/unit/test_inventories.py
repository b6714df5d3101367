# SPDX-License-Identifier: Apache-2.0
"""dev, staging and prod: complete but for what only their owner knows, and alike where they need not differ."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.arguments import check_value, unknown_variables
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.catalog import check_catalog
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.specs import load_specs, prefixes
from tests.support.described import DESCRIBE, IMAGES, REPO, aws_entries, dangling, describe_inventory, resources, run

ENVIRONMENTS = ["dev", "staging", "prod"]
ROLES = REPO / "roles"
# What only an owner of the account knows.
ANSWERS = {
    "platform_state_bucket": "mycompany-llm-records",
    "platform_images": IMAGES,
    "cluster_public_access_cidrs": ["203.0.113.7/32"],
    "cluster_admins": ["arn:aws:iam::123456789012:role/platform"],
}
# What the three may set to different values; everything else is the roles' defaults for all of them.
MAY_DIFFER = {
    *(
        "platform_protected",
        "network_cidr",
        "network_zones",
        "network_nat",
        "cluster_public_access_cidrs",
        "cluster_admins",
    ),
    *(
        "cluster_logging",
        "cluster_log_retention_days",
        "cluster_encryption_key",
        "node_groups_system",
        "node_groups_repair",
    ),
    *("storage_efs_retain", "storage_efs_backup", "model_catalog"),
}
GATHER = [
    {"name": "Preflight", "import_role": {"name": "llm.on_eks.platform"}, "vars": {"platform_look_only": True}},
    *DESCRIBE,
]


def written(environment):
    """variable -> value as it stands in the files."""
    found = {}
    for file in sorted((REPO / "inventories" / environment / "group_vars").rglob("*.yml")):
        found |= yaml.safe_load(file.read_text())
    return found


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def described(request):
    given = {**ANSWERS, "platform_look_only": True, "platform_preflight_aws": False}
    found = describe_inventory(REPO / "inventories" / request.param, "eks_clusters", GATHER, given)
    return request.param, found[f"llm-{request.param}"]


def test_variables_pass_preflight_and_descriptors_are_valid(described):
    __, components = described
    assert {"network", "cluster", "node_groups", "identity", "storage_efs", "storage_ebs", "models", "gateway"} <= {
        one["name"] for one in components
    }
    resources(components)
    assert dangling(components) == []


def test_only_production_keeps_all_and_depends_on_no_single_zone(described):
    environment, components = described
    nat = [one for __, one in aws_entries(components) if one["type"] == "ec2_nat_gateway"]
    zones = {one["properties"]["zone"] for __, one in aws_entries(components) if one["type"] == "ec2_subnet"}
    cluster = next(one for __, one in aws_entries(components) if one["type"] == "eks_cluster")["properties"]
    assert len(nat) == (len(zones) if environment == "prod" else 1)
    assert cluster["deletion_protection"] is (environment == "prod")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_variable_is_one_of_the_collection(environment):
    specs = load_specs(ROLES)
    assert [str(finding) for finding in unknown_variables(written(environment), list(specs), prefixes(ROLES))] == []
    assert not [name for name in written(environment) if name not in specs and not name.startswith("ansible_")]


def test_the_environments_set_the_same_variables_and_differ_only_where_they_should():
    found = {environment: written(environment) for environment in ENVIRONMENTS}
    names = set().union(*found.values())
    for name in names:
        values = [json.dumps(variables.get(name)) for variables in found.values()]
        # Which systems there are is the first thing in which environments differ.
        assert len(set(values)) == 1 or name in MAY_DIFFER or name.endswith("_state"), f"{name} differs"
    once = {name for name in names if sum(name in variables for variables in found.values()) < 3}
    assert once <= {"cluster_encryption_key", "node_groups_repair"}, "only production has these"


def test_ranges_of_the_environments_do_not_overlap():
    assert len({written(environment)["network_cidr"] for environment in ENVIRONMENTS}) == 3


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_variable_is_explained(environment):
    for file in (REPO / "inventories" / environment).rglob("*.yml"):
        assert file.read_text().count("#") >= 1, file


@pytest.mark.programs
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_only_the_owner_knows_is_asked_for_with_file_and_line(environment):
    done = run("-i", str(REPO / "inventories" / environment), "playbooks/plan.yml")
    assert done.returncode != 0
    text = done.stdout + done.stderr
    asked = {name for name, value in written(environment).items() if "undef(" in str(value)}
    assert asked
    for name in asked:
        file = next(
            file
            for file in (REPO / "inventories" / environment).rglob("*.yml")
            if re.search(rf"^{name}:", file.read_text(), re.M)
        )
        assert re.search(rf"{re.escape(str(file.relative_to(REPO)))}:\d+: {name} is not set; [a-z]", text), name


# -- typos --------------------------------------------------------------------------------------------------------------
def nested(options, path=(), inside=()):
    """(path, the specs on the way) of every option below a variable."""
    for name, option in options.items():
        here, specs = (*path, name), (*inside, option)
        if path:
            yield here, specs
        yield from nested(option.get("options") or {}, here, specs)


NESTED = [pytest.param(path, specs, id=".".join(path)) for path, specs in nested(load_specs(ROLES))]


def test_there_are_nested_options_to_mistype():
    names = {param.values[0][0] for param in NESTED}
    assert {"node_groups_extra", "identity_roles", "cluster_access", "storage_s3_buckets", "model_catalog"} <= names


@pytest.mark.parametrize(("path", "specs"), NESTED)
def test_a_typo_in_a_nested_option_is_named_with_file_and_key(tmp_path, path, specs):
    from ansible.parsing.dataloader import DataLoader

    typo = path[-1] + "q"
    value = {typo: "1"}
    for name, spec in zip(reversed(path[1:-1]), reversed(specs[1:-1]), strict=True):
        value = {name: [value] if spec.get("type") == "list" else value}
    value = [value] if specs[0].get("type") == "list" else value
    file = tmp_path / "group_vars.yml"
    file.write_text(yaml.safe_dump({path[0]: value}))
    loaded = DataLoader().load_from_file(str(file), trusted_as_template=True)[path[0]]
    found = [str(finding) for finding in check_value(path[0], loaded, specs[0])]
    wanted = re.compile(rf"{re.escape(str(file))}:\d+: {path[0]}\S*\.{typo} is not a known key; ")
    assert [text for text in found if wanted.search(text)], found


@pytest.mark.programs
def test_a_typo_in_an_inventory_stops_preflight(tmp_path):
    copy = tmp_path / "dev"
    shutil.copytree(REPO / "inventories" / "dev", copy)
    file = copy / "group_vars" / "eks_clusters" / "platform.yml"
    file.write_text(file.read_text().replace("  max_size: 3", "  max_sise: 3"))
    done = run("-i", str(copy), "playbooks/preflight.yml", "-e", json.dumps(ANSWERS))
    assert done.returncode != 0
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "max_sise" in text)
    wanted = f"{file}:{line}: node_groups_system.max_sise is not a known key; did you mean max_size."
    assert wanted in (done.stdout + done.stderr)


@pytest.mark.programs
def test_more_models_for_a_trial_are_checked_with_their_own_lines_and_a_missing_file_is_said(tmp_path):
    """models_extra, on the local inventory: nothing of it is started by preflight."""
    local = str(REPO / "inventories" / "local")
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("model_catalog:\n  - {name: more, source: 'file:///x', engine: llamacpp, contxt: 1}\n")
    quick = ("playbooks/preflight.yml", "-e", "platform_cluster_name=none")
    done = run("-i", local, *quick, "-e", f"models_extra={wrong}")
    assert (
        f"{wrong}:2: model_catalog[more].contxt is not a known key; did you mean context." in done.stdout + done.stderr
    )
    done = run("-i", local, *quick, "-e", f"models_extra={tmp_path}/gone.yml")
    assert '/gone.yml", and there is no such file; nothing was changed.' in (done.stdout + done.stderr).replace(
        '\\"', '"'
    )
    assert done.returncode != 0


def test_the_catalogues_are_accepted():
    for environment in ENVIRONMENTS:
        assert [str(finding) for finding in check_catalog(written(environment)["model_catalog"])] == []


def test_nothing_secret_stands_in_an_inventory():
    for file in Path(REPO / "inventories").rglob("*.yml"):
        assert not re.search(r"AKIA|aws_secret|password:\s*\S", file.read_text()), file
