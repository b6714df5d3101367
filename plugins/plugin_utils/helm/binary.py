# SPDX-License-Identifier: Apache-2.0
"""The Helm binary: found, and run in a clean environment with its input on stdin."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from .errors import ChartError
from .options import ChartOptions

TIMEOUT_S = 300
_VERSIONS = Path(__file__).resolve().parents[3] / "tools" / "versions.json"
# Rendering uses one core; more renderings at once only wait for each other.
_PLACES = threading.BoundedSemaphore((os.cpu_count() or 2) + 1)


def find(options: ChartOptions) -> str:
    """Path of Helm 4: the one that was named, the toolbox's, or one on PATH. Raises ChartError."""
    if options.helm:
        return options.helm
    wanted = json.loads(_VERSIONS.read_text(encoding="utf-8"))["helm"]["version"]
    cached = options.cache / "tools" / "helm" / wanted / "helm"
    if cached.exists():
        return str(cached)
    found = shutil.which("helm")
    if not found:
        raise ChartError(
            f"Helm {wanted} is not on this controller; the role toolbox obtains it (toolbox_tools: [helm])"
        )
    said = subprocess.run([found, "version", "--template", "{{.Version}}"], capture_output=True, text=True, check=False)
    if not said.stdout.startswith("v4."):
        raise ChartError(
            f"{found} is Helm {said.stdout.strip() or 'of an unknown version'}, charts are rendered by Helm 4; "
            f"the role toolbox obtains {wanted} (toolbox_tools: [helm])"
        )
    return found


def run(
    options: ChartOptions,
    arguments: Sequence[str],
    *,
    stdin: bytes,
    what: str,
    environment: dict[str, str] | None = None,
) -> str:
    """Helm's standard output. `what` begins the sentence when it fails. Raises ChartError."""
    helm = find(options)
    with _PLACES, tempfile.TemporaryDirectory(prefix="llm-helm-") as home:
        try:
            # The user's own Helm settings, plugins and kubeconfig must not affect the result.
            done = subprocess.run(
                [helm, *arguments],
                input=stdin,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
                cwd=home,
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "HOME": home,
                    "TMPDIR": home,
                    "HELM_CACHE_HOME": f"{home}/cache",
                    "HELM_CONFIG_HOME": f"{home}/config",
                    "HELM_DATA_HOME": f"{home}/data",
                    "KUBECONFIG": f"{home}/none",
                    **(environment or {}),
                },
            )
        except subprocess.TimeoutExpired:
            raise ChartError(f"{what}: Helm did not end within {TIMEOUT_S} s; look for a loop in the chart") from None
        except OSError as error:
            raise ChartError(f"{what}: {helm} cannot be run: {error.strerror}") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ChartError(
            f"{what}: Helm was killed ({name}){', perhaps for want of memory' if name == 'SIGKILL' else ''}; run again"
        )
    if done.returncode:
        raise ChartError(f"{what}: {_last_error(done.stderr.decode(errors='replace'))}")
    return done.stdout.decode()


def _last_error(stderr: str) -> str:
    """Helm's own sentence, without its log lines and its hint at --debug."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("level=", "time=", "Use --debug", "WARNING"))]
    text = " ".join(lines)
    return text.removeprefix("Error: ") or "Helm failed and said nothing"
