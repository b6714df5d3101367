# SPDX-License-Identifier: Apache-2.0
"""How to reach a Kubernetes API: kubeconfig files and the options that kubernetes.core has, made into one value.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...module_utils.errors import LlmOnEksError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A token is renewed this long before it ends, so that no request leaves with one that ends on the way.
RENEW_BEFORE = datetime.timedelta(seconds=60)


class ConnectionError(LlmOnEksError):
    """The Kubernetes API cannot be reached or does not let us in."""


class Token:
    """A bearer token, renewed when it nears its end. `source` returns (token, end or None)."""

    def __init__(self, source: Callable[[], tuple[str, datetime.datetime | None]]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._value = ""
        self._end: datetime.datetime | None = None

    def value(self) -> str:
        with self._lock:
            if not self._value or (self._end and datetime.datetime.now(datetime.UTC) > self._end - RENEW_BEFORE):
                self._value, self._end = self._source()
            return self._value

    def reject(self) -> None:
        """The server refused it: ask for a new one next time."""
        with self._lock:
            self._value = ""


@dataclass(frozen=True)
class Connection:
    """Everything a client needs. `authority`, `certificate` and `key` are PEM; an empty one means none."""

    server: str
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    token: Token | None = None
    proxy: str = ""
    verify: bool = True
    server_name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def connect(
    *,
    kubeconfig: str = "",
    context: str = "",
    host: str = "",
    api_key: str = "",
    ca_cert: str = "",
    client_cert: str = "",
    client_key: str = "",
    validate_certs: bool = True,
    proxy: str = "",
    impersonate_user: str = "",
    impersonate_groups: list[str] | None = None,
) -> Connection:
    """Options named as kubernetes.core names them. `host` alone is enough; else a kubeconfig; else the pod's own account."""
    headers = {}
    if impersonate_user:
        headers["Impersonate-User"] = impersonate_user
    if impersonate_groups:
        headers["Impersonate-Group"] = ",".join(impersonate_groups)
    if host:
        return Connection(
            server=host.rstrip("/"),
            authority=_read(ca_cert, "ca_cert"),
            certificate=_read(client_cert, "client_cert"),
            key=_read(client_key, "client_key"),
            token=_fixed(api_key) if api_key else None,
            proxy=proxy,
            verify=validate_certs,
            headers=headers,
        )
    file = _kubeconfig_file(kubeconfig)
    if file is None:
        return _in_cluster(proxy, headers)
    made = _from_kubeconfig(file, context)
    return Connection(**{**made, "proxy": proxy or made.get("proxy", ""), "headers": headers})


def _kubeconfig_file(given: str) -> Path | None:
    named = given or os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG") or ""
    file = Path(named.split(":")[0]).expanduser() if named else Path.home() / ".kube" / "config"
    if file.exists():
        return file
    if named or not (SERVICE_ACCOUNT / "token").exists():
        raise ConnectionError(f"kubeconfig {file} does not exist; set platform_kubeconfig to the file of your cluster")
    return None


def _in_cluster(proxy: str, headers: Mapping[str, str]) -> Connection:
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    server = f"https://{f'[{host}]' if ':' in host else host}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}"
    token = Token(lambda: ((SERVICE_ACCOUNT / "token").read_text().strip(), _soon()))
    authority = _read(SERVICE_ACCOUNT / "ca.crt", "the pod's service account")
    return Connection(server=server, authority=authority, token=token, proxy=proxy, headers=headers)


def _from_kubeconfig(file: Path, context: str) -> dict[str, Any]:
    document = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER) or {}  # noqa: S506 - a safe loader, in C
    wanted = context or document.get("current-context", "")
    chosen = _named(document, "contexts", wanted, file)["context"]
    cluster = _named(document, "clusters", chosen["cluster"], file)["cluster"]
    user = _named(document, "users", chosen["user"], file)["user"] or {}
    return {
        "server": cluster["server"].rstrip("/"),
        "authority": _pem(cluster, "certificate-authority", file),
        "certificate": _pem(user, "client-certificate", file),
        "key": _pem(user, "client-key", file),
        "token": _token(user, file),
        "proxy": cluster.get("proxy-url", ""),
        "verify": not cluster.get("insecure-skip-tls-verify", False),
        "server_name": cluster.get("tls-server-name", ""),
    }


def _named(document: Mapping[str, Any], section: str, name: str, file: Path) -> Mapping[str, Any]:
    for entry in document.get(section) or []:
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry
            return found
    known = ", ".join(str(entry.get("name")) for entry in document.get(section) or []) or "none"
    raise ConnectionError(f"kubeconfig {file} has no entry {name!r} in {section}; it has {known}")


def _pem(section: Mapping[str, Any], key: str, file: Path) -> bytes:
    """What a kubeconfig carries inline, or names as a file beside it."""
    if inline := section.get(f"{key}-data"):
        try:
            return base64.b64decode("".join(inline.split()), validate=True)
        except ValueError:
            raise ConnectionError(f"kubeconfig {file}: {key}-data is not base64") from None
    named = section.get(key, "")
    return _read(file.parent / named, f"{key} of kubeconfig {file}") if named else b""


def _read(file: str | Path, what: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes() if file else b""
    except OSError as error:
        raise ConnectionError(f"{what}: {file} cannot be read: {error.strerror}") from None


def _token(user: Mapping[str, Any], file: Path) -> Token | None:
    if user.get("exec"):
        return Token(lambda: _run_exec(user["exec"]))
    if user.get("tokenFile"):
        path = file.parent / user["tokenFile"]
        return Token(lambda: (path.read_text().strip(), _soon()))
    return _fixed(user["token"]) if user.get("token") else None


def _fixed(value: str) -> Token:
    return Token(lambda: (value, None))


def _soon() -> datetime.datetime:
    """Token files are rewritten by others: read them again every few minutes."""
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)


def _run_exec(plugin: Mapping[str, Any]) -> tuple[str, datetime.datetime | None]:
    """https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins"""
    information = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(information)}
    environment.update({item["name"]: item["value"] for item in plugin.get("env") or []})
    command = [plugin["command"], *(plugin.get("args") or [])]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        status = json.loads(done.stdout)["status"]
        token: str = status["token"]
    except FileNotFoundError:
        raise ConnectionError(f"the kubeconfig asks for the command {command[0]}, which is not installed") from None
    except subprocess.CalledProcessError as error:
        raise ConnectionError(f"the kubeconfig's command {command[0]} failed: {error.stderr.strip()[-300:]}") from None
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        raise ConnectionError(f"the kubeconfig's command {command[0]} gave no token") from None
    end = status.get("expirationTimestamp")
    return token, datetime.datetime.fromisoformat(end.replace("Z", "+00:00")) if end else None
