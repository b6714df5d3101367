# SPDX-License-Identifier: Apache-2.0
"""Where a request came from, over the proxies between, and what its engine is told of it."""

from __future__ import annotations

from typing import Any, Final

from llm_gateway.http.head import Head

_MAPPED: Final = "::ffff:"  # an IPv4 address, as a socket for both families shows it
MAX_ADDRESS: Final = 64


class Origin:
    """One client, as far as one head tells of it. Requests with the same head share it.

    `address` is the client's, for the access log; `lines` are header lines for the engine, each beginning with CRLF.
    """

    __slots__ = ("address", "head", "lines")

    def __init__(self, head: Head, peer: str, trusted_proxies: int) -> None:
        self.head = head
        self.address = client_address(head.forwarded, peer, trusted_proxies)
        on_the_way = peer.encode() if not head.forwarded else b"%b, %b" % (head.forwarded, peer.encode())
        self.lines = head.lines + (b"\r\nx-forwarded-for: " + on_the_way if on_the_way else b"")


def peer_address(transport: Any) -> str:
    """The address at the other end of a connection; empty where there is none to tell."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]).removeprefix(_MAPPED) if isinstance(peer, tuple) else ""


def client_address(forwarded: bytes, peer: str, trusted_proxies: int) -> str:
    """The client's address. `forwarded` is X-Forwarded-For as it came. Each trusted proxy has added the address that it saw, so the client's
    stands that many places before the peer's; what stands before it anybody may have written."""
    if not trusted_proxies or not forwarded:
        return peer
    addresses = [address.strip() for address in forwarded.decode("latin-1").split(",")] + [peer]
    return addresses[max(0, len(addresses) - 1 - trusted_proxies)][:MAX_ADDRESS]
