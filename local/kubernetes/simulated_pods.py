# SPDX-License-Identifier: Apache-2.0
"""What a node that runs nothing says of its pods: that they are ready, or ended if they are to end. Pure."""

from __future__ import annotations

import time
from typing import Any

# Nothing answers there.
POD_IP = "198.18.255.1"


def status_of(pod: dict[str, Any], *, failed: bool = False, pod_ip: str = POD_IP) -> dict[str, Any]:
    """The status of a pod that starts at once; one that is not restarted always has ended, with exit code 3 where it `failed`."""
    ends = pod["spec"].get("restartPolicy") != "Always"
    code, reason = (3, "Error") if failed else (0, "Completed")
    ended = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now()}}
    state = ended if ends else {"running": {"startedAt": now()}}
    return {
        "phase": ("Failed" if failed else "Succeeded") if ends else "Running",
        "podIP": pod_ip,
        "startTime": now(),
        "conditions": [
            {"type": kind, "status": "False" if ends else "True", "lastTransitionTime": now()}
            for kind in ("Initialized", "Ready", "ContainersReady")
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": not ends,
                "started": not ends,
                "restartCount": 0,
                "state": state,
            }
            for container in pod["spec"]["containers"]
        ],
    }


def now() -> str:
    """As Kubernetes writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
