# SPDX-License-Identifier: Apache-2.0
"""python -m local.kubernetes up|down|status|plan|logs|import-images --name NAME: progress on stderr, JSON on stdout."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import time
from pathlib import Path

from .cluster import Cluster
from .config import STATE_ROOT, AwsConfig, ClusterConfig
from .errors import LocalClusterError


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.kubernetes", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "down", "status", "plan", "logs", "import-images"):
        sub = verbs.add_parser(verb)
        sub.add_argument("--name", required=True, help="the cluster's name")
        sub.add_argument("--control-plane-only", action="store_true", help="no node: pods do not run")
        sub.add_argument("--front-door-port", type=int, default=0, help="port on 127.0.0.1; 0 derives it from the name")
        sub.add_argument("--ip-family", default="ipv4", help="ipv4 or ipv6, of nodes, pods and Services")
        sub.add_argument("--aws", action="store_true", help="with an emulated AWS account")
        sub.add_argument("--aws-region", default=AwsConfig.region, help="its region")
        sub.add_argument("--aws-port", type=int, default=0, help="its port on 127.0.0.1; 0 derives it from the name")
        sub.add_argument("--aws-pace", type=float, default=0.0, help="0: everything at once; 1: as slow as AWS")
        sub.add_argument("--aws-delays", default="{}", help='JSON: seconds of single kinds, as {"cluster": 20}')
        sub.add_argument(
            "--aws-controllers", action="store_true", help="with AWS's own Karpenter and cloud controller manager"
        )
        sub.add_argument("--state-root", type=Path, default=STATE_ROOT, help="folder of all clusters' state")
        sub.add_argument("--cache", type=Path, default=None, help="folder of tools (LLM_ON_EKS_CACHE)")
        if verb == "up":
            sub.add_argument(
                "--images", default="[]", help="JSON: arguments of tools.images, to build beside the programs"
            )
        if verb == "import-images":
            sub.add_argument("images", nargs="+", help="REFERENCE=ARCHIVE")
    return parser.parse_args()


def aws(arguments: argparse.Namespace) -> AwsConfig | None:
    """Raises LocalClusterError."""
    if not arguments.aws:
        return None
    try:
        delays = {str(kind): float(seconds) for kind, seconds in json.loads(arguments.aws_delays).items()}
    except (AttributeError, TypeError, ValueError):
        raise LocalClusterError(
            f"local cluster: {arguments.aws_delays} is not a mapping of kinds to seconds (local_cluster_aws_delays)"
        ) from None
    return AwsConfig(arguments.aws_region, arguments.aws_port, arguments.aws_pace, delays, arguments.aws_controllers)


def main() -> None:
    arguments = parse()
    started = time.monotonic()
    try:
        config = ClusterConfig(
            name=arguments.name,
            node=not arguments.control_plane_only,
            front_door_port=arguments.front_door_port,
            ip_family=arguments.ip_family,
            state_root=arguments.state_root,
            aws=aws(arguments),
        )
        cluster = Cluster(config, arguments.cache)
        answer: dict[str, object] = {}
        if arguments.verb == "up":
            answer = {"changed": cluster.up(json.loads(arguments.images)), **dataclasses.asdict(cluster.status())}
        elif arguments.verb == "down":
            answer = {"changed": cluster.down(), **dataclasses.asdict(cluster.status())}
        elif arguments.verb == "status":
            answer = {"changed": False, **dataclasses.asdict(cluster.status())}
        elif arguments.verb == "plan":
            plan = cluster.plan()
            for line in plan:
                cluster.say(f"to be obtained: {line}")
            answer = {"changed": False, "plan": plan, **dataclasses.asdict(cluster.status())}
        elif arguments.verb == "import-images":
            pairs = [image.partition("=") for image in arguments.images]
            answer = {"changed": cluster.import_images({name: Path(archive) for name, __, archive in pairs})}
        else:
            follow(config)
            return
    except LocalClusterError as error:
        raise SystemExit(str(error)) from None
    print(json.dumps({**answer, "seconds": round(time.monotonic() - started, 1)}))


def follow(config: ClusterConfig) -> None:
    """The logs of all programs, live, until Ctrl-C."""
    logs = sorted((config.state / "logs").glob("*.log"))
    if not logs:
        raise LocalClusterError(
            f"local cluster: {config.name} has no logs; it was never started, or `make down` removed them"
        )
    try:
        subprocess.run(["tail", "-n", "5", "-F", *map(str, logs)], check=False)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
