# SPDX-License-Identifier: Apache-2.0
"""What a kubeconfig's user signs in with, in client-go's order: token file, token, plugin, OIDC, user and password."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConnectionError
from .kubeconfig import Kubeconfig, Section, read

# A token is renewed this long before it expires, so that no request is sent with one that expires on the way.
RENEW_BEFORE = datetime.timedelta(seconds=60)
# Others rewrite token files; client-go, too, reads them again after a minute.
_FILE_IS_GOOD_FOR = datetime.timedelta(minutes=1)
_EXEC_TIMEOUT_S = 60
_CLUSTER_CONFIG = "client.authentication.k8s.io/exec"


class Token:
    """A bearer token, renewed shortly before it expires. `source` returns (token, expiry or None)."""

    def __init__(self, source: Callable[[], tuple[str, datetime.datetime | None]]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._value = ""
        self._end: datetime.datetime | None = None

    def value(self) -> str:
        with self._lock:
            if not self._value or (self._end and _now() > self._end - RENEW_BEFORE):
                self._value, self._end = self._source()
            return self._value

    def reject(self) -> None:
        """The server refused it: ask for a new one next time."""
        with self._lock:
            self._value = ""


@dataclass(frozen=True)
class Credentials:
    """`certificate` and `key` are PEM; `headers` are sent with each request. An empty field is not used."""

    token: Token | None = None
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def credentials_of(user: Section, cluster: Section) -> Credentials:
    """Raises ConnectionError."""
    certificate, key = user.pem("client-certificate"), user.pem("client-key")
    own = Credentials(_token(user), certificate, key)
    if own.token is None and user.values.get("exec"):
        return _by_plugin(Plugin.of(user, cluster), own)
    if own.token is None and user.text("username") and user.text("password"):
        pair = base64.b64encode(f"{user.text('username')}:{user.text('password')}".encode()).decode()
        return Credentials(None, certificate, key, (("Authorization", f"Basic {pair}"),))
    return own


def fixed(value: str) -> Token:
    return Token(lambda: (value, None))


def from_file(file: Path, what: str) -> Token:
    """A token that another program keeps fresh in a file."""
    return Token(lambda: (read(file, what).decode(errors="replace").strip(), _now() + _FILE_IS_GOOD_FOR + RENEW_BEFORE))


def _token(user: Section) -> Token | None:
    if file := user.path("tokenFile"):
        return from_file(file, f"tokenFile of kubeconfig {user.file}")
    if token := user.text("token"):
        return fixed(token)
    return _by_provider(user) if user.values.get("auth-provider") and not user.values.get("exec") else None


# --- exec plugins: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins


@dataclass(frozen=True)
class Plugin:
    """A command that gives credentials. `info`: what it is told by KUBERNETES_EXEC_INFO."""

    command: list[str]
    environment: Mapping[str, str]
    info: Mapping[str, Any]
    hint: str

    @classmethod
    def of(cls, user: Section, cluster: Section) -> Plugin:
        """Raises ConnectionError."""
        found = Section(user.name, user.values["exec"] if isinstance(user.values["exec"], Mapping) else {}, user.file)
        command = found.text("command")
        version = found.text("apiVersion")
        if not command or not version:
            raise ConnectionError(f"kubeconfig {user.file}: exec needs command and apiVersion")
        if found.text("interactiveMode") == "Always":
            raise ConnectionError(
                f"the kubeconfig's command {command} wants to ask at a terminal (interactiveMode: Always), which a run does not have; "
                "take a user that signs in without, or a token (kubectl create token)"
            )
        # As client-go does: a bare name is searched on PATH, a relative path starts at the kubeconfig's folder.
        program = str(user.file.parent / command) if os.sep in command else command
        spec: dict[str, Any] = {"interactive": False}
        if found.values.get("provideClusterInfo"):
            spec["cluster"] = _cluster_info(cluster)
        return cls(
            [program, *map(str, found.values.get("args") or [])],
            {str(item["name"]): str(item["value"]) for item in found.values.get("env") or []},
            {"apiVersion": version, "kind": "ExecCredential", "spec": spec},
            " ".join(found.text("installHint").split()),
        )

    def run(self) -> Mapping[str, Any]:
        """The status of the plugin's answer. Raises ConnectionError."""
        name = self.command[0]
        environment = {**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(self.info)}
        try:
            done = subprocess.run(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_EXEC_TIMEOUT_S,
                check=True,
            )
            answer = json.loads(done.stdout)
            status: Mapping[str, Any] = answer["status"]
            given = answer["apiVersion"]
        except (FileNotFoundError, PermissionError):
            hint = f"; {self.hint}" if self.hint else ""
            raise ConnectionError(f"the kubeconfig asks for the command {name}, which is not installed{hint}") from None
        except subprocess.CalledProcessError as error:
            raise ConnectionError(f"the kubeconfig's command {name} failed: {error.stderr.strip()[-300:]}") from None
        except subprocess.TimeoutExpired:
            raise ConnectionError(
                f"the kubeconfig's command {name} gave nothing in {_EXEC_TIMEOUT_S} s; does it wait for somebody to sign in? "
                f"Run it by hand once: {shlex.join(self.command)}"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise ConnectionError(f"the kubeconfig's command {name} gave no ExecCredential with a status") from None
        if given != self.info["apiVersion"]:
            raise ConnectionError(
                f"the kubeconfig's command {name} answers in {given}, the kubeconfig says {self.info['apiVersion']}; "
                "set both to the same version"
            )
        return status

    def token(self) -> tuple[str, datetime.datetime | None]:
        return _token_in(self.run(), self.command[0])


def _by_plugin(plugin: Plugin, own: Credentials) -> Credentials:
    """Run the plugin once now: only its answer says whether it gives a token, a certificate or both."""
    status = plugin.run()
    certificate = str(status.get("clientCertificateData") or "").encode()
    key = str(status.get("clientKeyData") or "").encode()
    if certificate and not key:
        raise ConnectionError(f"the kubeconfig's command {plugin.command[0]} gave a certificate without clientKeyData")
    if not certificate and not status.get("token"):
        raise ConnectionError(f"the kubeconfig's command {plugin.command[0]} gave neither token nor certificate")
    first = [_token_in(status, plugin.command[0])] if status.get("token") else []
    token = Token(lambda: first.pop() if first else plugin.token()) if first else None
    return Credentials(token, certificate or own.certificate, key or own.key)


def _token_in(status: Mapping[str, Any], command: str) -> tuple[str, datetime.datetime | None]:
    token, end = status.get("token"), status.get("expirationTimestamp")
    if not token:
        raise ConnectionError(f"the kubeconfig's command {command} gave no token")
    try:
        return str(token), datetime.datetime.fromisoformat(str(end).replace("Z", "+00:00")) if end else None
    except ValueError:
        raise ConnectionError(f"the kubeconfig's command {command} gave {end!r} as expirationTimestamp") from None


def _cluster_info(cluster: Section) -> dict[str, Any]:
    """https://kubernetes.io/docs/reference/config-api/client-authentication.v1/#client-authentication-k8s-io-v1-Cluster"""
    info: dict[str, Any] = {
        key: cluster.values[key]
        for key in ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
        if cluster.values.get(key)
    }
    if authority := cluster.pem("certificate-authority"):
        info["certificate-authority-data"] = base64.b64encode(authority).decode()
    for extension in cluster.values.get("extensions") or []:
        if extension.get("name") == _CLUSTER_CONFIG:
            info["config"] = extension.get("extension")
    return info


# --- auth providers, of which client-go has OIDC left


def _by_provider(user: Section) -> Token:
    provider = user.values["auth-provider"]
    name = provider.get("name") if isinstance(provider, Mapping) else provider
    if name != "oidc":
        raise ConnectionError(
            f"kubeconfig {user.file}: auth-provider {name} is gone from Kubernetes since 1.26; use its exec plugin "
            "(gke-gcloud-auth-plugin, kubelogin)"
        )
    return Token(lambda: _id_token(user))


def _id_token(user: Section) -> tuple[str, datetime.datetime | None]:
    """The id token. We do not renew it: that would use up the refresh token in the file, which only kubectl writes."""
    provider = Kubeconfig([user.file]).user(user.name).values.get("auth-provider") or {}
    token = Section(user.name, provider.get("config") or {}, user.file).text("id-token")
    end = _end_of(token)
    if not token or (end and end <= _now()):
        raise ConnectionError(
            f"the OIDC token in kubeconfig {user.file} {'has ended' if token else 'is not there'}; any command of kubectl renews it, "
            "for instance kubectl version"
        )
    return token, end


def _end_of(token: str) -> datetime.datetime | None:
    """The claim `exp` of a JWT. The API server checks the signature."""
    try:
        payload = token.split(".")[1]
        end = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return datetime.datetime.fromtimestamp(float(end), datetime.UTC)
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
