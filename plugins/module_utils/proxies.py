# SPDX-License-Identifier: Apache-2.0
"""Which proxy reaches an address, decided as kubectl, helm and Go programs in general do.

HTTPS_PROXY and HTTP_PROXY by the address's scheme, in either case; NO_PROXY excludes hosts, domains, ranges and ports:
https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config. Addresses on this machine are never reached by a proxy.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from .errors import LlmOnEksError

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SOCKS_PORT = 1080
_NEEDS_PYSOCKS = "needs the Python package PySocks (requirements.txt)"
_SCHEMES = ("http", "https", "socks5", "socks5h")
# Addresses of local clusters, as seen from their machine. The range is reserved for tests of network devices, so no
# proxy leads there (RFC 2544, RFC 5180).
_HERE = [ipaddress.ip_network(text) for text in ("198.18.0.0/15", "2001:2::/48")]


class ProxyError(LlmOnEksError):
    """A proxy setting is not valid."""


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> str:  # pylint: disable=dangerous-default-value
    """The proxy that the environment names for this address; empty for none. Raises ProxyError for an invalid one."""
    parts = urlsplit(url)
    name = f"{'https' if parts.scheme in ('https', 'wss') else 'http'}_proxy"
    proxy = environment.get(name.upper()) or environment.get(name) or ""
    excepted = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if not proxy or _is_here(parts.hostname or "") or _is_excepted(parts, excepted):
        return ""
    return checked(proxy if "://" in proxy else f"http://{proxy}", name.upper())


def checked(proxy: str, source: str) -> str:
    """The proxy, if it is valid. `source`: where it was set. Raises ProxyError."""
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ProxyError(
            f"{source}: {_shown(proxy)!r} is not a proxy; give one like http://proxy.example.com:3128 or socks5://127.0.0.1:1080"
        )
    return proxy


def pool(proxy: str, **options: Any) -> Any:
    """urllib3's pool manager with these options, through the proxy where there is one. Raises ProxyError."""
    import urllib3

    if not proxy:
        return urllib3.PoolManager(**options)
    parts = urlsplit(proxy)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.scheme.startswith("socks5"):
        try:
            from urllib3.contrib.socks import SOCKSProxyManager
        except ImportError:
            raise ProxyError(f"proxy {bare} {_NEEDS_PYSOCKS}") from None
        # As in Go: the proxy resolves names, with socks5 as with socks5h.
        at_proxy = bare.replace("socks5://", "socks5h://", 1)
        return SOCKSProxyManager(at_proxy, username=_user(parts), password=_password(parts), **options)
    credentials = f"{_user(parts)}:{_password(parts)}" if parts.username else None
    headers = urllib3.make_headers(proxy_basic_auth=credentials) if credentials else None
    return urllib3.ProxyManager(bare, proxy_headers=headers, **options)


def socks_connection(proxy: str, host: str, port: int, timeout_s: float = 30) -> Any:
    """A socket that is connected through a SOCKS proxy; None for any other proxy. Raises OSError and ProxyError."""
    parts = urlsplit(proxy)
    if not parts.scheme.startswith("socks5"):
        return None
    try:
        import socks
    except ImportError:
        raise ProxyError(f"proxy {_shown(proxy)} {_NEEDS_PYSOCKS}") from None
    at = (parts.hostname or "", parts.port or _SOCKS_PORT)
    found = socks.socksocket()
    found.settimeout(timeout_s)
    found.set_proxy(socks.SOCKS5, *at, rdns=True, username=_user(parts), password=_password(parts))
    found.connect((host, port))
    return found


def _user(parts: SplitResult) -> str | None:
    return unquote(parts.username) if parts.username else None


def _password(parts: SplitResult) -> str | None:
    return unquote(parts.password or "") if parts.username else None


def _shown(proxy: str) -> str:
    """The address without user and password."""
    head, __, tail = proxy.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if head else proxy


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or any(address in network for network in _HERE))


def _is_excepted(parts: SplitResult, excepted: str) -> bool:
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    return any(_matches(entry.strip().lower(), host, port) for entry in excepted.split(",") if entry.strip())


def _matches(entry: str, host: str, port: int | None) -> bool:
    """`*`, a range, an address, `example.com` (and what is below it), `.example.com` (only that); each but a range with a port."""
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, wanted = _with_port(entry)
    if wanted and wanted != port:
        return False
    if (given := _address(name)) is not None:
        return given == address
    name = name.removeprefix("*")
    return host == name or host.endswith(name if name.startswith(".") else f".{name}")


def _with_port(entry: str) -> tuple[str, int | None]:
    if _address(entry) is not None:
        return entry, None
    name, separator, port = entry.rpartition(":")
    if not separator or not port.isdigit():
        return entry.removeprefix("[").removesuffix("]"), None
    return name.removeprefix("[").removesuffix("]"), int(port)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
