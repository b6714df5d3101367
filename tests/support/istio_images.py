# SPDX-License-Identifier: Apache-2.0
"""Istio's images as its charts name them: control plane and CNI agent from its Go module, Envoy of PyPI under Istio's agent."""

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
# Debian's iptables, whose one program goes by many names.
_IPTABLES, _EXTENSIONS = Path("/usr/sbin/xtables-nft-multi"), Path("/usr/lib/x86_64-linux-gnu/xtables")
_IPTABLES_NAMES = [f"ip{six}tables{what}" for six in ("", "6") for what in ("", "-save", "-restore")]


def _program(name: str) -> Path:
    return obtain.cached_path(obtain.load_tools()[name], obtain.default_cache())


def _envoy() -> Path | None:
    made = extra_venv.folder("envoy", obtain.default_cache())
    return next(made.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)


def missing(*more: str) -> str:
    """The commands that make what is not there; empty where all is. `more`: programs beside control plane and agent."""
    absent = [name for name in ("pilot-discovery", "pilot-agent", *more) if not _program(name).exists()]
    commands = [f"python -m tools.obtain {' '.join(absent)}"] if absent else []
    return " and ".join(commands + ([] if _envoy() else ["python -m tools.extra_venv envoy"]))


def written(folder: Path) -> dict[str, Path]:
    """Reference -> archive, of the version that role istio installs: control plane and Envoy."""
    return _archives(folder, {"pilot": _pilot(), "proxyv2": _proxy()}, "1337:1337", "-distroless")


def written_mesh(folder: Path, ztunnel: Path | None) -> dict[str, Path]:
    """Reference -> archive, of all that a mesh consists of; with the program `ztunnel` as the ambient one names them."""
    # As the profile of the ambient mesh names them; the chart of ztunnel has none.
    variant = "-distroless" if ztunnel else ""
    made = _archives(folder, {"pilot": _pilot(), "proxyv2": _proxy()}, "1337:1337", variant)
    made |= _archives(folder, {"install-cni": _agent()}, "", variant)
    if ztunnel:
        made |= _archives(folder, {"ztunnel": _with_libraries("usr/local/bin/ztunnel", ztunnel)}, "", "")
    return made


def _archives(folder: Path, images: dict[str, dict[str, Path]], user: str, variant: str) -> dict[str, Path]:
    version = yaml.safe_load((REPO / "roles/istio/defaults/main.yml").read_text())["istio_version"]
    references = {name: f"{_HUB}/{name}:{version}{variant}" for name in images}
    return {
        references[name]: program_image.written(references[name], within, folder / f"{name}.tar", user)
        for name, within in images.items()
    }


def _pilot() -> dict[str, Path]:
    return {"usr/local/bin/pilot-discovery": _program("pilot-discovery")}


def _proxy() -> dict[str, Path]:
    envoy, [bootstrap] = _envoy(), obtain.files_of("pilot-agent", obtain.default_cache())
    assert envoy
    return {
        "usr/local/bin/pilot-agent": _program("pilot-agent"),
        **_with_libraries("usr/local/bin/envoy", envoy),
        "var/lib/istio/envoy/envoy_bootstrap_tmpl.json": bootstrap,
    }


def _agent() -> dict[str, Path]:
    return {
        "usr/local/bin/install-cni": _program("install-cni"),
        "opt/cni/bin/istio-cni": _program("istio-cni"),
        **_with_libraries("usr/sbin/iptables", _IPTABLES),
        **{f"usr/sbin/{name}": _IPTABLES for name in _IPTABLES_NAMES},
        **{str(file).lstrip("/"): file for file in _EXTENSIONS.glob("*.so")},
    }


def _with_libraries(name: str, program: Path) -> dict[str, Path]:
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = [Path(word) for word in said.split() if word.startswith("/")]
    return {name: program, **{str(library).lstrip("/"): library for library in libraries}}
