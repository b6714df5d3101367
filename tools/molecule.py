# SPDX-License-Identifier: Apache-2.0
"""Run the scenarios of extensions/molecule on a local cluster called `molecule`, which is removed at the end.

`python -m tools.molecule [SCENARIO …]`; all of them when none is named. `--keep` keeps the cluster for another try. `--inventory PATH --host NAME`
runs them on that local cluster instead, which stands already and is left. Needs root, as `make up` does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools import extra_venv
from tools.obtain import default_cache

REPO = Path(__file__).resolve().parent.parent
FOLDER = REPO / ".local" / "molecule"
NAME = "molecule"
SCENARIOS = ("fresh", "converged", "drift", "absent", "upgrade", "existing")


def write_inventory() -> Path:
    """A copy of inventories/local whose one cluster is ours."""
    inventory = FOLDER / "inventory"
    shutil.copytree(REPO / "inventories" / "local" / "group_vars", inventory / "group_vars")
    (inventory / "hosts.yml").write_text(
        f"eks_clusters:\n  hosts:\n    {NAME}: {{}}\naws_accounts:\n  hosts: {{}}\n", "utf-8"
    )
    return inventory


def environment_of(inventory: Path, host: str = NAME) -> dict[str, str]:
    """The environment that molecule runs in."""
    collections = os.pathsep.join(str(REPO / part) for part in ("collections", ".venv/collections"))
    programs = extra_venv.obtain("quality", default_cache()) / "bin"
    reports = FOLDER / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
        "LLM_MOLECULE_INVENTORY": str(inventory),
        "LLM_MOLECULE_HOST": host,
        "LLM_MOLECULE_COLLECTIONS": collections,
        "LLM_MOLECULE_REPORTS": str(reports),
    }


def run_scenario(name: str, environment: dict[str, str]) -> bool:
    """Whether it passed. Molecule ends well, too, where it finds nothing to play: that is no success."""
    command = ["molecule", "--base-config", "extensions/molecule/config.yml", "test", "-s", name]
    played = 0
    with subprocess.Popen(
        command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        for line in run.stdout or ():
            print(line, end="", flush=True)
            played += "PLAY RECAP" in line
    return run.returncode == 0 and played > 1


def run_scenarios(names: list[str], environment: dict[str, str]) -> bool:
    """Whether all passed. Without the platform of `fresh` none of the others can."""
    failed = []
    for name in names:
        started = time.monotonic()
        passed = run_scenario(name, environment)
        seconds = time.monotonic() - started
        print(f"molecule: {name} {'passed' if passed else 'failed'} in {seconds:.0f} s", flush=True)
        failed += [] if passed else [name]
        if failed == ["fresh"]:
            break
    return not failed


def on_a_cluster_of_its_own(wanted: list[str], keep: bool) -> bool:
    shutil.rmtree(FOLDER, ignore_errors=True)
    environment = environment_of(write_inventory())
    destroy = ["ansible-playbook", "-i", environment["LLM_MOLECULE_INVENTORY"], "destroy.yml"]
    try:
        # All scenarios but the first want the platform that it makes.
        return run_scenarios([name for name in SCENARIOS if name == "fresh" or name in wanted], environment)
    finally:
        if not keep:
            command = [*destroy, "-e", f"platform_confirm={NAME}"]
            subprocess.run(command, cwd=REPO, env=environment, check=False, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--inventory", type=Path, help="an inventory whose local cluster runs already")
    parser.add_argument("--host", default=NAME, help="that cluster, by its name in the inventory")
    given = parser.parse_args()
    if unknown := set(given.scenarios) - set(SCENARIOS):
        raise SystemExit(
            f"molecule: no scenario is called {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}"
        )
    wanted = given.scenarios or list(SCENARIOS)
    if given.inventory:
        passed = run_scenarios(wanted, environment_of(given.inventory.resolve(), given.host))
    else:
        passed = on_a_cluster_of_its_own(wanted, given.keep)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
