# SPDX-License-Identifier: Apache-2.0
"""python converge_process.py KUBECONFIG DESCRIPTORS.json: one converge in a process of its own; what it cost, as JSON.

CPU-seconds are those of the whole process from its start, with its children (`helm`).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "collections")]


def main() -> None:
    from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
    from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import connect
    from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine

    descriptors = json.loads(Path(sys.argv[2]).read_text())
    started, start_up = time.monotonic(), time.process_time()
    result = engine.converge(
        engine.Request(lose_data=("all",), descriptors=descriptors, client=Client(connect(kubeconfig=sys.argv[1])))
    )
    wall = time.monotonic() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    said = {
        "cpu_s": cpu,
        "wall_s": wall,
        "start_up_cpu_s": start_up,
        "actions": len(result.actions),
        "errors": result.errors,
    }
    print(json.dumps({**said, "helm_cpu_s": used[1].ru_utime + used[1].ru_stime}))


if __name__ == "__main__":
    main()
