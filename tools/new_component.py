# SPDX-License-Identifier: Apache-2.0
"""Write a component's role, working from the start: `python tools/new_component.py NAME --chart CHART --version VERSION …`.

What is written by hand afterwards: the inputs (`meta/argument_specs.yml`), the chart's values (`vars/main.yml`), the descriptor
(`templates/components.yml.j2`). All else of the role follows from these (tools/docs.py). No list names components.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import docs

REPO = docs.REPO
STATE = "Whether it is installed; V(skip) leaves it as it is."


@dataclass(frozen=True)
class Component:
    """The arguments. One of `repository` (with `chart`), `oci` and `manifests` is given; `namespace` may be an existing one."""

    name: str
    about: str
    version: str
    namespace: str
    chart: str = ""
    repository: str = ""
    oci: str = ""
    manifests: str = ""

    @property
    def source(self) -> str:
        """The chart, as the descriptor says it."""
        version = f'version: "{{{{ {self.name}_version }}}}"'
        if self.oci:
            return f"{{oci: {self.oci}, {version}}}"
        if self.manifests:
            address = self.manifests.replace(self.version, f"{{{{ {self.name}_version }}}}")
            return f"{{manifests: {address}, name: {self.chart}, {version}}}"
        return f"{{repository: {self.repository}, name: {self.chart}, {version}}}"

    @property
    def release(self) -> str:
        return self.chart or self.oci.rstrip("/").rpartition("/")[2]


def specs(new: Component) -> str:
    what = "manifests" if new.manifests else "chart"
    lines = [
        "---",
        "argument_specs:",
        "  main:",
        f"    short_description: {json.dumps(new.about, ensure_ascii=False)}",
        "    options:",
        f'      {new.name}_state: {{type: str, choices: [present, absent, skip], default: present, description: "{STATE}"}}',
        f'      {new.name}_version: {{type: str, default: "{new.version}", description: Version of the {what}.}}',
    ]
    if not new.manifests:
        described = "Values of the chart, merged over those that the platform sets."
        lines.append(f'      {new.name}_values: {{type: dict, default: {{}}, description: "{described}"}}')
    return "\n".join([*lines, ""])


def template(new: Component) -> str:
    lines = [f"- name: {new.name}", f"  state: {{{{ {new.name}_state }}}}"]
    # Namespaces of Kubernetes itself keep their labels.
    own = not new.namespace.startswith("kube-")
    lines += [f"  namespace: {{name: {new.namespace}, pod_security: restricted}}"] if own else []
    lines += ["  releases:", f"    - name: {new.release}"]
    lines += [] if own else [f"      namespace: {new.namespace}"]
    lines.append(f"      chart: {new.source}")
    if not new.manifests:
        merged = f"{new.name}_computed_values | combine({new.name}_values, recursive=true)"
        lines.append(f"      values: {{{{ {merged} | to_json }}}}")
    return "\n".join([*lines, ""])


def files(new: Component) -> dict[Path, str]:
    """path -> content of the files that are written once, and edited by hand from then on."""
    role = REPO / "roles" / new.name
    made = {
        role / "meta" / "argument_specs.yml": specs(new),
        role / "templates" / "components.yml.j2": template(new),
        role / "tests" / "default.yml": "---\nsettings: {}\n",
        # The settings for the test with the real chart (tests/integration/test_chart_roles.py).
        role / "tests" / "trial.yml": f"---\nsettings: {{{new.name}_state: present}}\n",
        REPO / "changelogs" / "fragments" / f"component-{new.name.replace('_', '-')}.yml": (
            f"---\nmajor_changes:\n  - {json.dumps(f'role {new.name} - {new.about}.', ensure_ascii=False)}\n"
        ),
    }
    if not new.manifests:
        made[role / "vars" / "main.yml"] = f"---\n# What the platform sets.\n{new.name}_computed_values: {{}}\n"
    return made


def skip_locally(new: Component) -> None:
    """A local cluster is set up without charts and their images; set another state where there is a mirror."""
    file = REPO / "inventories" / "local" / "group_vars" / "eks_clusters" / "skipped.yml"
    lines = file.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines if not re.match(r"\w+_state:", line)]
    states = sorted({*(line for line in lines if line not in head), f"{new.name}_state: skip"})
    file.write_text("\n".join([*head, *states, ""]), encoding="utf-8")


def write(new: Component) -> list[Path]:
    """Write all files of a component and return their paths. Raises SystemExit where one of that name exists."""
    made = files(new)
    there = [path for path in made if path.exists()]
    if there:
        raise SystemExit(f"new_component: {there[0].relative_to(REPO)} exists; choose another name, or delete it first")
    written = docs.write(made)
    skip_locally(new)
    return written + docs.write(docs.documents())


def parse(arguments: list[str]) -> Component:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of role and component, in small letters and underscores")
    parser.add_argument(
        "--chart", default="", help="the chart's name in its repository, or what to call plain manifests"
    )
    parser.add_argument("--repository", default="", help="address of the chart's repository")
    parser.add_argument("--oci", default="", help="the chart as an OCI reference, instead of repository and chart")
    parser.add_argument("--manifests", default="", help="address of a YAML file, instead of a chart")
    parser.add_argument("--version", required=True, help="exact version of the chart")
    parser.add_argument("--namespace", default="", help="namespace; its own, named after the component, by default")
    parser.add_argument("--about", required=True, help="what it gives, in a few words")
    given = parser.parse_args(arguments)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", given.name):
        parser.error(f"name {given.name!r}: use small letters, digits and underscores, a letter first")
    if sum(map(bool, (given.repository, given.oci, given.manifests))) != 1:
        parser.error("say where it comes from: one of --repository (with --chart), --oci or --manifests")
    if not given.oci and not given.chart:
        parser.error("--chart is missing: the chart's name, or what to call the manifests")
    return Component(**{**vars(given), "namespace": given.namespace or given.name.replace("_", "-")})


def main() -> None:
    new = parse(sys.argv[1:])
    for path in write(new):
        print(path.relative_to(REPO))
    print(
        f"""
Next:
  make role ROLE={new.name} UPDATE=1      writes what it describes into roles/{new.name}/tests/: read it
  playbooks/lock.yml -i inventories/ENV   pins the chart's digest for each environment that has it
It is `skip` in inventories/local. CONTRIBUTING.md says more.""",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
