# SPDX-License-Identifier: Apache-2.0
"""Run the scenarios of extensions/molecule on a local cluster called `molecule`, which is removed at the end.

`python -m tools.molecule [SCENARIO …]`; all of them when none is named. `--keep` keeps the cluster for another try. Needs root, as `make up` does.
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


def prepare() -> dict[str, str]:
    """The inventory, and the environment that molecule runs in."""
    inventory = FOLDER / "inventory"
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(REPO / "inventories" / "local" / "group_vars", inventory / "group_vars")
    (inventory / "hosts.yml").write_text(
        f"eks_clusters:\n  hosts:\n    {NAME}: {{}}\naws_accounts:\n  hosts: {{}}\n", "utf-8"
    )
    (FOLDER / "reports").mkdir()
    collections = os.pathsep.join(str(REPO / part) for part in ("collections", ".venv/collections"))
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
        "LLM_MOLECULE_INVENTORY": str(inventory),
        "LLM_MOLECULE_COLLECTIONS": collections,
        "LLM_MOLECULE_REPORTS": str(FOLDER / "reports"),
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - set(SCENARIOS):
        raise SystemExit(
            f"molecule: no scenario is called {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}"
        )
    programs = extra_venv.obtain("quality", default_cache()) / "bin"
    environment = prepare()
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    failed = []
    try:
        # All scenarios but the first want the platform that it makes.
        wanted = [
            name for name in SCENARIOS if name == "fresh" or not arguments.scenarios or name in arguments.scenarios
        ]
        for name in wanted:
            started = time.monotonic()
            passed = run_scenario(name, environment)
            print(
                f"molecule: {name} {'passed' if passed else 'failed'} in {time.monotonic() - started:.0f} s", flush=True
            )
            failed += [] if passed else [name]
            if name == "fresh" and not passed:
                break
    finally:
        if not arguments.keep:
            remove = [
                "ansible-playbook",
                "-i",
                environment["LLM_MOLECULE_INVENTORY"],
                "destroy.yml",
                "-e",
                f"platform_confirm={NAME}",
            ]
            subprocess.run(remove, cwd=REPO, env=environment, check=False, stdout=subprocess.DEVNULL)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
