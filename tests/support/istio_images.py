# SPDX-License-Identifier: Apache-2.0
"""Istio's images as its charts name them: its control plane from its Go module, and Envoy of PyPI under Istio's agent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.support import program_image
from tools import extra_venv, obtain

REPO = Path(__file__).resolve().parents[2]
# What only Istio's own build of Envoy has is left out, and each request is logged.
VALUES = {
    "telemetry": {"enabled": False},
    "env": {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"},
    "meshConfig": {
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "defaultConfig": {"proxyMetadata": {"PEER_METADATA_DISCOVERY": "false"}},
    },
}
_HUB = "registry.istio.io/release"


def _program(name: str) -> Path:
    return obtain.cached_path(obtain.load_tools()[name], obtain.default_cache())


def _envoy() -> Path | None:
    made = extra_venv.folder("envoy", obtain.default_cache())
    return next(made.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)


def missing() -> str:
    """The commands that make what is not there; empty where all is."""
    absent = [name for name in ("pilot-discovery", "pilot-agent") if not _program(name).exists()]
    commands = [f"python -m tools.obtain {' '.join(absent)}"] if absent else []
    return " and ".join(commands + ([] if _envoy() else ["python -m tools.extra_venv envoy"]))


def written(folder: Path) -> dict[str, Path]:
    """Reference -> archive, of the version that role istio installs."""
    version = yaml.safe_load((REPO / "roles/istio/defaults/main.yml").read_text())["istio_version"]
    envoy, [bootstrap] = _envoy(), obtain.files_of("pilot-agent", obtain.default_cache())
    assert envoy
    files = {
        "pilot": {"usr/local/bin/pilot-discovery": _program("pilot-discovery")},
        "proxyv2": {
            "usr/local/bin/pilot-agent": _program("pilot-agent"),
            "usr/local/bin/envoy": envoy,
            "var/lib/istio/envoy/envoy_bootstrap_tmpl.json": bootstrap,
            **{str(library).lstrip("/"): library for library in _libraries(envoy)},
        },
    }
    # As the profile of the ambient mesh names them.
    references = {name: f"{_HUB}/{name}:{version}-distroless" for name in files}
    return {
        references[name]: program_image.written(references[name], within, folder / f"{name}.tar", user="1337:1337")
        for name, within in files.items()
    }


def _libraries(program: Path) -> list[Path]:
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [Path(word) for word in said.split() if word.startswith("/")]
