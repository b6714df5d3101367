# SPDX-License-Identifier: Apache-2.0
"""How to reach a Kubernetes API: kubeconfig files and the options that kubernetes.core has, made into one value."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...module_utils.proxies import checked
from .credentials import Credentials, Token, credentials_of, fixed, from_file
from .errors import ConnectionError
from .kubeconfig import Kubeconfig, Section, files_of, read

__all__ = ["Connection", "ConnectionError", "Token", "connect"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Connection:
    """Everything a client needs. `authority`, `certificate` and `key` are PEM; an empty one means none.

    `proxy`: empty for what the environment says. `headers` go with each request; a name may come more than once.
    """

    server: str
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    token: Token | None = None
    proxy: str = ""
    verify: bool = True
    server_name: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


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
    """Options named as kubernetes.core names them. `host` alone is enough; otherwise a kubeconfig; otherwise the pod's own service
    account.

    Raises ConnectionError, and ProxyError for an invalid proxy.
    """
    asked = _impersonation(impersonate_user, impersonate_groups or [])
    if proxy:
        checked(proxy, "proxy")
    if host:
        return Connection(
            server=_address(host, "host"),
            authority=read(ca_cert, "ca_cert"),
            certificate=read(client_cert, "client_cert"),
            key=read(client_key, "client_key"),
            token=fixed(api_key) if api_key else None,
            proxy=proxy,
            verify=validate_certs,
            headers=asked,
        )
    files = _files(kubeconfig)
    return _from_kubeconfig(Kubeconfig(files), context, proxy, asked) if files else _in_cluster(proxy, asked)


def _address(text: str, what: str) -> str:
    """The address of an API server. Raises ConnectionError."""
    try:
        parts = urllib.parse.urlsplit(text)
        sound = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or any(character.isspace() for character in text):
        raise ConnectionError(f"{what} {text!r} is not an address like https://HOST:6443")
    return text.rstrip("/")


def _files(given: str) -> list[Path]:
    """The kubeconfig files; none in a pod that has none. Raises ConnectionError."""
    named = given or os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG") or ""
    usual = Path.home() / ".kube" / "config"
    if not named and not usual.exists() and (SERVICE_ACCOUNT / "token").exists():
        return []
    return files_of(named or str(usual))


def _in_cluster(proxy: str, headers: tuple[tuple[str, str], ...]) -> Connection:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if not host:
        raise ConnectionError(
            "the pod has a service account, but KUBERNETES_SERVICE_HOST does not say where the API is; give host or a kubeconfig"
        )
    server = f"https://{f'[{host}]' if ':' in host else host}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}"
    what = "the pod's service account"
    token = from_file(SERVICE_ACCOUNT / "token", what)
    return Connection(server, read(SERVICE_ACCOUNT / "ca.crt", what), token=token, proxy=proxy, headers=headers)


def _from_kubeconfig(config: Kubeconfig, context: str, proxy: str, asked: tuple[tuple[str, str], ...]) -> Connection:
    cluster, user = config.chosen(context)
    server, proxy_url = (
        _address(cluster.text("server"), f"kubeconfig {cluster.file}: server"),
        cluster.text("proxy-url"),
    )
    if proxy_url and not proxy:
        checked(proxy_url, f"proxy-url in kubeconfig {cluster.file}")
    found: Credentials = credentials_of(user, cluster)
    return Connection(
        server=server,
        authority=cluster.pem("certificate-authority"),
        certificate=found.certificate,
        key=found.key,
        token=found.token,
        proxy=proxy or proxy_url,
        verify=not cluster.values.get("insecure-skip-tls-verify", False),
        server_name=cluster.text("tls-server-name"),
        headers=(*found.headers, *(asked or _impersonated_by(user))),
    )


def _impersonated_by(user: Section) -> tuple[tuple[str, str], ...]:
    values: Mapping[str, Any] = user.values
    extra = values.get("as-user-extra") or {}
    return _impersonation(user.text("as"), values.get("as-groups") or [], user.text("as-uid"), extra)


def _impersonation(
    user: str, groups: list[str], uid: str = "", extra: Mapping[str, list[str]] | None = None
) -> tuple[tuple[str, str], ...]:
    """A header for each group: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation"""
    if not user and (groups or uid or extra):
        raise ConnectionError("impersonation: groups are given without a user; give impersonate_user too")
    headers = [("Impersonate-User", user)] if user else []
    headers += [("Impersonate-Uid", uid)] if uid else []
    headers += [("Impersonate-Group", str(group)) for group in groups]
    headers += [(f"Impersonate-Extra-{key}", str(value)) for key, values in (extra or {}).items() for value in values]
    return tuple(headers)
