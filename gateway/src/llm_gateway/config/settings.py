# SPDX-License-Identifier: Apache-2.0
"""Every setting once: its name, kind, default and meaning.

One name is a flag (`--queue-size`), an environment variable (`LLM_GATEWAY_QUEUE_SIZE`) and a key of the config document
(`queue_size`, or `queue-size`). Flags win over the environment, the environment over the document, the document over the default.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from llm_gateway.config.catalogue import POLICIES, Catalogue, ModelConfig
from llm_gateway.config.engine_url import read_all
from llm_gateway.errors import ConfigError

ENVIRONMENT_PREFIX = "LLM_GATEWAY_"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_SIZE = re.compile(r"(\d+)\s*(B|kB|MB|GB|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def duration_s(value: Any) -> float:
    """Seconds from `30`, `"30"`, `"500ms"`, `"2m"`. Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("expected a duration such as 30 or 500ms")
    if isinstance(value, int | float):
        if value < 0:
            raise ValueError("a duration cannot be negative")
        return float(value)
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        raise ValueError("expected a duration such as 30, 500ms or 2m")
    return float(found[1]) * _DURATION_UNITS_S[found[2]]


def size_bytes(value: Any) -> int:
    """Bytes from `1024`, `"32MiB"`, `"8kB"`. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError("expected a size such as 32MiB or 8kB")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def _count(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("expected a whole number")
    number = int(value)
    if number < 0:
        raise ValueError("expected a number of at least 0")
    return number


def _fraction(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("expected a number from 0 to 1")
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError("expected a number from 0 to 1")
    return number


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def _text(value: Any) -> str:
    if isinstance(value, bool | dict | list):
        raise ValueError("expected a text")
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple):
        return tuple(_text(part) for part in value)
    raise ValueError("expected a list of texts")


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value.encode())
        except msgspec.DecodeError as error:
            raise ValueError(f"expected a JSON object: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("expected a mapping")
    return value


KINDS = {
    "text": _text,
    "texts": _texts,
    "count": _count,
    "fraction": _fraction,
    "duration": duration_s,
    "size": size_bytes,
    "switch": _switch,
    "mapping": _mapping,
}


def setting(default: Any, kind: str, meaning: str, *, choices: tuple[str, ...] = (), reload: bool = False) -> Any:
    """One field of Settings. `reload`: a change in the config document takes effect without a restart."""
    metadata = {"kind": kind, "meaning": meaning, "choices": choices, "reload": reload}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)  # pylint: disable=invalid-field-call
    return dataclasses.field(default=default, metadata=metadata)  # pylint: disable=invalid-field-call


@dataclass(frozen=True)
class Settings:
    """What one gateway was told. Durations are seconds, sizes are bytes; 0 means "off" where the meaning says so."""

    # Where the config document came from; told by --config, not a setting of its own.
    config_file: str = setting("", "text", "")
    listen: str = setting(
        "127.0.0.1:8080", "text", "Address and port that clients connect to; without an address all of IPv4 and IPv6"
    )
    workers: int = setting(1, "count", "Processes that share the port; limits, metrics and keys are right across them")
    engine: tuple[str, ...] = setting(
        (),
        "texts",
        "URL of an engine, http or https, with its base path; may be given several times, also beside those found in Kubernetes;"
        " `?kind=tgi&model=A,B&weight=2&name=N&key_file=PATH&ca_file=PATH` says more of it",
    )
    model: str = setting("", "text", "Model name of the static engines; empty: learned from each engine's /v1/models")
    kubernetes: bool = setting(False, "switch", "Find engines by the EndpointSlices of the cluster this runs in")
    kubernetes_namespace: str = setting("llm-engines", "text", "Namespace of the engines' EndpointSlices")
    kubernetes_selector: str = setting("llm.on-eks/engine", "text", "Label selector of the engines' EndpointSlices")
    kubernetes_api: str = setting("", "text", "URL of the API server; empty: from the pod's environment")
    kubernetes_token_file: str = setting(
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "text",
        "Service account token, read again for every call",
    )
    kubernetes_ca_file: str = setting(
        "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        "text",
        "CA bundle of the API server; empty: the system's",
    )
    kubernetes_resync: float = setting(300.0, "duration", "Seconds between full lists, whatever the watch has said")
    api_key_file: str = setting("", "text", "File with one key a line; `#` begins a comment", reload=True)
    keys_dir: str = setting(
        "", "text", "Folder with one file a key: name = key name, content `sha256:HEX` or a JSON object", reload=True
    )
    anonymous: bool = setting(False, "switch", "Serve clients without any key (only when no keys are configured)")
    engine_api_key_file: str = setting("", "text", "File with the key that the gateway shows to the engines")
    admin_key_file: str = setting("", "text", "File with the key of the admin API and page; empty: no admin API")
    admin_keys_dir: str = setting(
        "", "text", "Folder that the admin API writes keys to, read like --keys-dir; empty: keys cannot be made there"
    )
    jwks: str = setting("", "text", "URL or file of the JWKS that signs clients' JWTs; empty: no JWTs")
    jwt_issuer: str = setting(
        "", "text", "Issuer that a JWT must name; without --jwks its OpenID configuration is asked"
    )
    jwt_audience: str = setting("", "text", "Audience that a JWT must name; empty: not checked")
    jwt_tenant_claim: str = setting("sub", "text", "Claim that names the tenant")
    jwt_models_claim: str = setting("models", "text", "Claim that lists the models a JWT may use; absent in it: all")
    jwt_classes_claim: str = setting("classes", "text", "Claim that lists the priority classes; absent in it: all")
    default_model: str = setting(
        "", "text", "Model of requests that name none; empty: the only one there is", reload=True
    )
    cors_origins: tuple[str, ...] = setting(
        (), "texts", "Origins of web pages that may call the API, such as https://chat.example; `*`: all", reload=True
    )
    limit_requests_per_minute: int = setting(0, "count", "Requests a minute of a key; 0: no limit", reload=True)
    limit_tokens_per_minute: int = setting(0, "count", "Tokens a minute of a key, in and out; 0: no limit", reload=True)
    limit_concurrency: int = setting(0, "count", "Requests at once of a key; 0: no limit", reload=True)
    limit_budget_tokens: int = setting(
        0, "count", "Tokens that a key may use in --limit-budget-period; 0: no budget", reload=True
    )
    limit_budget_period: float = setting(30 * 86400.0, "duration", "Seconds that a budget is for", reload=True)
    limit_reserve_tokens: int = setting(
        256, "count", "Tokens reserved for an answer whose request sets no maximum", reload=True
    )
    limit_replicas: int = setting(
        1, "count", "Gateways that share the limits without Redis: each allows its part", reload=True
    )
    redis_url: str = setting(
        "",
        "text",
        "Redis or Valkey that makes limits exact over gateways, redis://HOST:PORT/DB (needs the extra `redis`)",
    )
    redis_password_file: str = setting("", "text", "File with the password of --redis-url; empty: none, or in the URL")
    state_file: str = setting("", "text", "File that keeps budgets over a restart; empty: memory only")
    priority_classes: tuple[str, ...] = setting(
        ("high", "normal", "low"),
        "texts",
        "Classes of requests, the most urgent first (header x-priority)",
        reload=True,
    )
    default_class: str = setting("normal", "text", "Class of requests that name none", reload=True)
    queue_size: int = setting(100, "count", "Requests that may wait for an engine, per model", reload=True)
    queue_timeout: float = setting(30.0, "duration", "Seconds a request may wait for an engine", reload=True)
    engine_concurrency: int = setting(0, "count", "Requests at once per engine pod; 0: no ceiling", reload=True)
    hold_timeout: float = setting(
        0.0,
        "duration",
        "Seconds a request may wait while its model has no engine (scaled to zero); 0: refused",
        reload=True,
    )
    connect_timeout: float = setting(2.0, "duration", "Seconds until a connection to an engine must stand", reload=True)
    first_byte_timeout: float = setting(
        30.0,
        "duration",
        "Seconds without a byte of a reply until its engine is probed; another one is asked if it does not answer; 0: off",
        reload=True,
    )
    stall_timeout: float = setting(
        120.0,
        "duration",
        "Seconds without a byte until the engine of a stream that has begun is probed; it is given up if that does not answer; 0: off",
        reload=True,
    )
    request_timeout: float = setting(
        600.0, "duration", "Seconds a request may take in all; for a stream, until its first byte", reload=True
    )
    head_timeout: float = setting(15.0, "duration", "Seconds a client may take to send a request's head", reload=True)
    body_timeout: float = setting(60.0, "duration", "Seconds a client may pause while it sends a body", reload=True)
    keep_alive_timeout: float = setting(75.0, "duration", "Seconds an idle client connection is kept", reload=True)
    sse_comment_interval: float = setting(
        15.0, "duration", "Seconds of silence after which a stream gets an SSE comment; 0: off", reload=True
    )
    max_body: int = setting(32 << 20, "size", "Largest request body", reload=True)
    max_head: int = setting(32 << 10, "size", "Largest request head")
    max_connections: int = setting(12_000, "count", "Client connections per worker; more are closed at once")
    drain_timeout: float = setting(120.0, "duration", "Seconds that requests may take to finish after SIGTERM")
    drain_delay: float = setting(
        0.0, "duration", "Seconds between /readyz turning 503 and the port closing, so that load balancers notice"
    )
    retries: int = setting(3, "count", "Engines asked after the first one failed, before the first byte", reload=True)
    breaker_failures: int = setting(3, "count", "Failures in a row that take an engine out", reload=True)
    breaker_cooldown: float = setting(
        2.0, "duration", "Seconds until a taken-out engine gets one trial; doubles to 60", reload=True
    )
    probe_interval: float = setting(5.0, "duration", "Seconds between probes of an engine; 0: off")
    slow_start: float = setting(
        10.0,
        "duration",
        "Seconds in which a new engine's share of the load grows to its full size; 0: off",
        reload=True,
    )
    engine_metrics_interval: float = setting(
        1.0, "duration", "Seconds between looks at the engines' own metrics, where a policy uses them", reload=True
    )
    resume: bool = setting(
        False,
        "switch",
        "Continue a stream that broke off on another engine, by asking for the rest of the text",
        reload=True,
    )
    policy: str = setting(
        "least-in-flight",
        "text",
        "How an engine is chosen",
        choices=POLICIES,
        reload=True,
    )
    models: Mapping[str, Any] = setting({}, "mapping", "Per model: see 'Models' in gateway/README.md", reload=True)
    trusted_proxies: int = setting(
        0,
        "count",
        "Proxies before the gateway that add an address to X-Forwarded-For; the client's in the access log is the one so far from its end",
        reload=True,
    )
    engine_header: bool = setting(
        True, "switch", "Name the engine that answered in each reply, as x-llm-gateway-engine", reload=True
    )
    access_log: str = setting("-", "text", "File of the JSON access log; `-`: standard output; empty: none")
    trace_endpoint: str = setting("", "text", "URL that traces are sent to by OTLP over HTTP; empty: no traces")
    trace_sample: float = setting(
        0.01, "fraction", "Share of requests that are traced, of those that come without a decision", reload=True
    )
    log_level: str = setting(
        "info", "text", "What the gateway tells about itself", choices=("debug", "info", "warning", "error")
    )


def fields() -> tuple[dataclasses.Field[Any], ...]:
    """All settings, in the order of the documentation."""
    return tuple(field for field in dataclasses.fields(Settings) if field.name != "config_file")


def flag_of(name: str) -> str:
    """`queue_size` → `--queue-size`."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """`queue_size` → `LLM_GATEWAY_QUEUE_SIZE`."""
    return ENVIRONMENT_PREFIX + name.upper()


def parse(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """One value in its kind. Raises ConfigError that names the place."""
    try:
        parsed = KINDS[field.metadata["kind"]](value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error} (got {value!r})") from error
    choices = field.metadata["choices"]
    if choices and parsed not in choices:
        raise ConfigError(f"{where}: expected one of {', '.join(choices)} (got {parsed!r})")
    return parsed


def read_document(path: Path) -> dict[str, Any]:
    """The config document as a mapping. Raises ConfigError with the line where YAML breaks."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path}: not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"config {path}: expected a mapping of settings")
    return document


def from_document(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Parsed values of a config document. Raises ConfigError for an unknown key, with the nearest known one."""
    import difflib

    known = {field.name: field for field in fields()}
    values = {}
    for raw_name, value in document.items():
        name = str(raw_name).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{where}: unknown setting {raw_name!r}{hint}")
        values[name] = parse(known[name], value, f"{where}: {name}")
    return values


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Parsed values of `LLM_GATEWAY_*`. Unknown names are left alone: Kubernetes puts service addresses there."""
    values = {}
    for field in fields():
        variable = variable_of(field.name)
        if variable in environment:
            values[field.name] = parse(field, environment[variable], f"environment: {variable}")
    return values


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per setting."""
    for field in fields():
        kind = field.metadata["kind"]
        options: dict[str, Any] = {"dest": field.name, "default": None, "help": field.metadata["meaning"]}
        if kind == "texts":
            options["action"] = "append"
        elif kind == "switch":
            options["nargs"] = "?"
            options["const"] = "true"
        else:
            options["metavar"] = kind.upper()
        parser.add_argument(flag_of(field.name), **options)


def from_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Parsed values of the flags that were given."""
    values = {}
    for field in fields():
        value = getattr(arguments, field.name, None)
        if value is not None:
            values[field.name] = parse(field, value, flag_of(field.name))
    return values


def check(settings: Settings) -> None:
    """What no single setting can know. Raises ConfigError."""
    if settings.workers < 1:
        raise ConfigError("workers: at least 1 process is needed")
    host_port(settings.listen)
    if settings.priority_classes and settings.default_class not in settings.priority_classes:
        raise ConfigError(
            f"default_class: expected one of {', '.join(settings.priority_classes)} (got {settings.default_class!r})"
        )
    if settings.limit_replicas < 1:
        raise ConfigError("limit_replicas: at least 1 gateway is needed")
    Catalogue(settings.models)
    read_all(settings.engine)


def load(
    arguments: argparse.Namespace | None,
    environment: Mapping[str, str],
    document: Mapping[str, Any] | None = None,
    where: str = "config",
    config_file: str = "",
) -> Settings:
    """Settings from all sources. Raises ConfigError."""
    values: dict[str, Any] = {"config_file": config_file}
    if document is not None:
        values.update(from_document(document, where))
    values.update(from_environment(environment))
    if arguments is not None:
        values.update(from_flags(arguments))
    settings = Settings(**values)
    check(settings)
    return settings


def host_port(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8080`, `[::1]:8080`, `:8080` (no host: every address) → (host, port). Raises ConfigError."""
    host, __, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"listen: expected HOST:PORT (got {listen!r})")
    return host, int(port)


def schema() -> str:
    """The config document's JSON schema."""
    shapes: dict[str, dict[str, Any]] = {
        "text": {"type": "string"},
        "texts": {"type": ["array", "string"], "items": {"type": "string"}},
        "count": {"type": "integer", "minimum": 0},
        "fraction": {"type": "number", "minimum": 0, "maximum": 1},
        "duration": {"type": ["number", "string"], "pattern": _DURATION.pattern},
        "size": {"type": ["integer", "string"], "pattern": _SIZE.pattern},
        "switch": {"type": "boolean"},
    }
    (model,), definitions = msgspec.json.schema_components([ModelConfig], ref_template="#/$defs/{name}")
    properties = {}
    for field in fields():
        kind = field.metadata["kind"]
        shape = dict(
            shapes.get(kind) or {"type": "object", "additionalProperties": {"anyOf": [model, {"type": "null"}]}}
        )
        if field.metadata["choices"]:
            shape["enum"] = list(field.metadata["choices"])
        shape["description"] = field.metadata["meaning"]
        if field.default is not dataclasses.MISSING:
            shape["default"] = field.default
        properties[field.name] = shape
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llm-gateway",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def documentation(names: Sequence[str] | None = None) -> str:
    """The table of all settings, in Markdown, as README.md has it."""
    rows = ["| flag | config key | default | meaning |", "| --- | --- | --- | --- |"]
    for field in fields():
        if names is not None and field.name not in names:
            continue
        default = {} if field.default is dataclasses.MISSING else field.default
        shown = _shown(default, field.metadata["kind"])
        meaning = field.metadata["meaning"]
        if field.metadata["choices"]:
            meaning += ": " + ", ".join(f"`{choice}`" for choice in field.metadata["choices"])
        if field.metadata["reload"]:
            meaning += " ↻"
        rows.append(f"| `{flag_of(field.name)}` | `{field.name}` | {shown} | {meaning} |")
    return "\n".join(rows) + "\n"


def _shown(default: Any, kind: str) -> str:
    if kind == "size":
        for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
            if default and default % factor == 0:
                return f"`{default // factor}{unit}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    if default in ("", (), {}):
        return "none"
    if isinstance(default, tuple):
        default = ",".join(default)
    return f"`{default}`"
