# SPDX-License-Identifier: Apache-2.0
"""JSON Web Tokens: signed by the keys of a JWKS, with scopes in claims."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gateway_support.house import Front, House
from gateway_support.scripted import scripted

from llm_gateway.callers.jwt import TokenVerifier
from llm_gateway.config.settings import Settings

ISSUER = "https://issuer.example"


class Signer:
    def __init__(self, kid: str, *, curve: bool = False) -> None:
        self.kid = kid
        self.algorithm = "ES256" if curve else "RS256"
        self.private = ec.generate_private_key(ec.SECP256R1()) if curve else rsa.generate_private_key(65537, 2048)

    def public(self) -> dict:
        kind = jwt.algorithms.ECAlgorithm if self.algorithm == "ES256" else jwt.algorithms.RSAAlgorithm
        return {
            **json.loads(kind.to_jwk(self.private.public_key())),
            "kid": self.kid,
            "alg": self.algorithm,
            "use": "sig",
        }

    def token(self, **claims) -> str:
        found = {"iss": ISSUER, "aud": "llm", "sub": "alice", "exp": time.time() + 60, **claims}
        found = {name: value for name, value in found.items() if value is not None}
        return jwt.encode(found, self.private, self.algorithm, {"kid": self.kid})


SIGNER = Signer("one")


@pytest.fixture
def front(house: House) -> Front:
    jwks = house.folder / "jwks.json"
    jwks.write_text(json.dumps({"keys": [SIGNER.public(), Signer("curve", curve=True).public(), {"kty": "new"}]}))
    return house.front(house.engine(), jwks=str(jwks), jwt_issuer=ISSUER, jwt_audience="llm")


def test_a_good_token_is_a_key_and_its_tenant_is_in_the_metrics(front: Front) -> None:
    token = SIGNER.token()
    assert front.chat(key=token).status == 200
    assert front.chat(key=token).status == 200
    assert front.get("/v1/models", key=token).json["data"]
    assert front.metric('key_requests_total{key="jwt:alice"') == 2
    assert front.chat().status == 200  # a plain key is as good as before


def test_claims_scope_models(front: Front) -> None:
    assert front.chat(key=SIGNER.token(models=["other"])).status == 403
    assert front.chat(key=SIGNER.token(models="tiny other")).status == 200
    assert front.chat(key=SIGNER.token(models=7)).status == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 3600},
        {"exp": None},
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"nbf": time.time() + 3600},
        {"sub": None},
        {"sub": 7},
    ],
    ids=["expired", "never expires", "other issuer", "other audience", "not yet", "no tenant", "numeric tenant"],
)
def test_a_token_that_is_not_right_is_401(front: Front, claims: dict) -> None:
    assert front.chat(key=SIGNER.token(**claims)).status == 401


def test_a_forged_token_is_401(front: Front) -> None:
    good = SIGNER.token()
    head, body, signature = good.split(".")

    def part(document: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    public = json.dumps(SIGNER.public()).encode()
    confused = f"{part({'alg': 'HS256', 'kid': 'one'})}.{body}"
    mac = base64.urlsafe_b64encode(hmac.digest(public, confused.encode(), "sha256")).rstrip(b"=").decode()
    forged = [
        f"{part({'alg': 'none', 'kid': 'one'})}.{body}.",
        f"{head}.{part({'sub': 'root', 'exp': time.time() + 60})}.{signature}",
        f"{confused}.{mac}",
        Signer("one").token(),
        Signer("unknown").token(),
        good[:-2],
        "a.b.c",
        "..",
        f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.{body}.{signature}",
        "x" * 20000 + ".y.z",
    ]
    for token in forged:
        assert front.chat(key=token).status == 401, token[:60]


@pytest.mark.parametrize(
    "document",
    [b'{"keys":[{"kid":"\xff"}]}', b'{"keys":' + b"[" * 9000, b'{"keys":[1]}', b"[]"],
    ids=["no UTF-8", "deep", "no keys", "no object"],
)
def test_a_key_set_that_makes_no_sense_leaves_the_old_keys(front: Front, house: House, document: bytes) -> None:
    (house.folder / "jwks.json").write_bytes(document)
    house.run(front.gateway.admission.tokens.load())
    assert front.chat(key=SIGNER.token()).status == 200


@pytest.mark.parametrize("place", ["http://[", "http://x:y/", "ftp://x/", "/no/such/file", "\u2028", "", None, 5])
def test_an_issuer_that_says_nonsense_is_no_end(place: object) -> None:
    with scripted({"/.well-known/openid-configuration": {"jwks_uri": place}}) as issuer:
        verifier = TokenVerifier(Settings(jwt_issuer=issuer.url))
        asyncio.run(verifier.load())
        assert verifier.find(b"", SIGNER.token().encode()) is None


def test_a_signed_token_that_makes_no_sense_is_401(front: Front) -> None:
    deep = b'{"sub":"alice","exp":4000000000,"x":' + b"[" * 3000 + b"]" * 3000 + b"}"
    endless = b'{"sub":"alice","iss":"%b","aud":"llm","exp":Infinity}' % ISSUER.encode()
    for claims in (deep, endless, b"[]", b"1"):
        token = jwt.api_jws.encode(claims, SIGNER.private, SIGNER.algorithm, {"kid": SIGNER.kid})
        assert front.chat(key=token).status == 401, claims[:60]


def test_a_token_that_expires_while_it_is_remembered_is_refused(front: Front, house: House) -> None:
    token = SIGNER.token()
    assert front.chat(key=token).status == 200
    verifier = front.gateway.admission.tokens
    for digest, (key, __) in list(verifier._good.items()):
        verifier._good[digest] = (key, time.time() - 1)
    assert front.chat(key=token).status == 401


def test_keys_come_from_the_openid_configuration_and_new_ones_are_fetched_when_needed(house: House) -> None:
    keys = [SIGNER.public()]

    class Issuer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            base = f"http://127.0.0.1:{self.server.server_port}"
            document = {"keys": keys} if self.path == "/jwks" else {"issuer": base, "jwks_uri": base + "/jwks"}
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *__: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Issuer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    issuer = f"http://127.0.0.1:{server.server_port}"
    try:
        front = house.front(house.engine(), jwt_issuer=issuer)
        assert front.chat(key=SIGNER.token(iss=issuer)).status == 200
        fresh = Signer("two", curve=True)
        keys.append(fresh.public())
        front.gateway.admission.tokens._asked_at = 0.0
        token = fresh.token(iss=issuer)
        assert front.chat(key=token).status == 401
        house.until(lambda: "two" in front.gateway.admission.tokens._keys)
        assert front.chat(key=token).status == 200
    finally:
        server.shutdown()
        server.server_close()
