# SPDX-License-Identifier: Apache-2.0
"""Who calls: JSON Web Tokens, forged and signed, key sets, and key documents."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from fuzz.target import Target, parts, seed
from llm_gateway.callers.jwt import TokenVerifier
from llm_gateway.callers.keys import read_key_document, read_key_file
from llm_gateway.config.key_documents import Key
from llm_gateway.config.settings import Settings
from llm_gateway.errors import ConfigError

HEX = "0" * 64
CLAIMS = {"sub": "alice", "exp": 4_000_000_000, "models": ["m"], "scope": "a b"}
KEY_SET = {"keys": [{"kty": "EC", "crv": "P-256", "kid": "two", "x": "AA", "y": "AA", "use": "sig", "alg": "ES256"}]}
DOCUMENT = {"sha256": HEX, "name": "a", "models": ["m"], "weight": 2, "expires": "2027-01-01T00:00:00Z", "limits": {}}


def part(document: Any) -> bytes:
    """One part of a token."""
    return base64.urlsafe_b64encode(document if isinstance(document, bytes) else json.dumps(document).encode()).rstrip(
        b"="
    )


# The first byte of an input says what the rest is.
FORGED, SIGNED, KEYS, KEY_FILE, HEADED = range(5)
SEEDS = (
    seed(b"%b.%b.AA" % (part({"alg": "ES256", "kid": "one"}), part(CLAIMS)), FORGED),
    seed(b"%b.%b.AA" % (part(b"[" * 2000), part(CLAIMS)), FORGED),
    seed(json.dumps(CLAIMS).encode(), SIGNED),
    seed(json.dumps(CLAIMS | {"exp": "1"}).encode(), SIGNED),
    seed(json.dumps(KEY_SET).encode(), KEYS),
    seed(b'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}', KEYS),
    seed(json.dumps(DOCUMENT).encode(), KEY_FILE),
    seed(f"sk-1\n# x\nsha256:{HEX}\n{json.dumps(DOCUMENT)}\n".encode(), KEY_FILE),
    seed(b'{"alg":"ES256","kid":"one"}', HEADED),
)
WORDS = (
    *(b'"%b":' % name.encode() for name in (*CLAIMS, *DOCUMENT, *KEY_SET["keys"][0], "nbf", "iat", "aud", "iss")),
    b'"previous":["' + HEX.encode() + b'"]',
    b'"previous_until":',
    b'"budget_period":',
    b'"alg":"RS256"',
    b'"kty":"RSA"',
    b'"kty":"OKP"',
    b'"crv":"P-521"',
    b'"crit":["x"]',
    b'"b64":false',
    b"Infinity",
    b"NaN",
    b"1e400",
    b"9" * 400,
    b"null",
    b"{}",
    b"[]",
    b"[" * 1200,
    b"0001-01-01T00:00:00+14:00",
    b"\\ud800",
    b"\xff",
    b".",
)


def make() -> Callable[[bytes], None]:
    """See Target."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key())) | {"kid": "one", "alg": "ES256"}
    folder = Path(tempfile.mkdtemp(prefix="fuzz-callers-"))
    jwks, keys = folder / "jwks.json", folder / "keys.txt"
    good = json.dumps({"keys": [public]})

    def verifier(document: bytes | str) -> TokenVerifier:
        jwks.write_bytes(document if isinstance(document, bytes) else document.encode())
        found = TokenVerifier(Settings(jwks=str(jwks)))
        loop.run_until_complete(found.load())
        return found

    loop = asyncio.new_event_loop()
    one = verifier(good)

    def shown(token: bytes) -> Key | None:
        found = one.find(sha256(token).digest(), token)
        assert found is None or (found.tenant and isinstance(found.tenant, str))
        return found

    def signed(claims: bytes) -> None:
        token = jwt.api_jws.encode(claims, private, "ES256", {"kid": "one"}).encode()
        if shown(token) is not None:
            assert float(json.loads(claims)["exp"]) > time.time() - 60
            assert one.find(sha256(token).digest(), token) is not None

    def headed(header: bytes) -> None:
        claims = part(CLAIMS)
        signature = part(private.sign(b"%b.%b" % (part(header), claims), ec.ECDSA(jwt.algorithms.ECAlgorithm.SHA256())))
        shown(b"%b.%b.%b" % (part(header), claims, signature))

    def key_set(document: bytes) -> None:
        verifier(document)

    def key_file(text: bytes) -> None:
        keys.write_bytes(text)
        for read in (lambda: read_key_file(keys), lambda: read_key_document("a", text.decode("utf-8", "replace"))):
            try:
                found = read()
            except ConfigError as refused:
                str(refused).encode()
                continue
            for digest, key in found:
                assert len(digest) == 32
                assert key.weight > 0
                assert key.expires_at is None or isinstance(key.expires_at, int | float)

    kinds: tuple[Callable[[bytes], object], ...] = (shown, signed, key_set, key_file, headed)

    def check(data: bytes) -> None:
        choice, payload, __ = parts(data)
        kinds[choice % len(kinds)](payload)

    return check


CALLERS = Target(make, SEEDS, WORDS)
