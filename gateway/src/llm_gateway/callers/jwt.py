# SPDX-License-Identifier: Apache-2.0
"""Callers who show a JSON Web Token instead of a key: signed by the keys of a JWKS (OpenID Connect). Needs the extra `jwt`.

Only asymmetric algorithms count: a public key that everybody may read must not become an HMAC secret. A token that was good once is good
until it expires or the signing keys change, so that its signature is verified once, not with every request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import msgspec

from llm_gateway.config.key_documents import Key
from llm_gateway.config.settings import Settings
from llm_gateway.errors import UNREADABLE, ConfigError
from llm_gateway.http.outgoing import OutgoingError, request

try:
    import jwt
except ImportError as error:  # pragma: no cover - the image has it
    raise ConfigError("jwks: PyJWT is not installed; install llm-gateway[jwt]") from error

LOG = logging.getLogger("llm_gateway.jwt")
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
REFRESH_S = 300.0
# A token signed by a key nobody knows makes the JWKS be read again, but not more often than this.
FORCED_REFRESH_S = 10.0
LEEWAY_S = 30.0
REMEMBERED_TOKENS = 20_000
MAX_TOKEN_BYTES = 16 << 10


class TokenVerifier:
    """Verifies tokens and remembers the good ones by their SHA-256."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: dict[str, Any] = {}
        self._good: dict[bytes, tuple[Key, float]] = {}
        self._asked_at = 0.0
        self._wanted = asyncio.Event()

    async def load(self) -> None:
        """Read the JWKS; an unreadable one leaves the old keys, and tokens are refused while there are none."""
        self._asked_at = time.monotonic()
        try:
            document = msgspec.json.decode(await self._document())
            keys = {}
            for entry in document["keys"]:
                if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
                    continue
                try:
                    keys[str(entry.get("kid", ""))] = jwt.PyJWK.from_dict(entry)
                except (jwt.exceptions.PyJWTError, ValueError, TypeError):
                    continue  # a kind of key that we do not know
        except (*UNREADABLE, OutgoingError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            LOG.error("JWKS not read, the old keys stay: %s", error)
            return
        if keys.keys() != self._keys.keys():
            self._good.clear()
        self._keys = keys

    async def _document(self) -> bytes:
        source = self._settings.jwks
        if not source:
            status, body = await request(
                "GET", self._settings.jwt_issuer.rstrip("/") + "/.well-known/openid-configuration"
            )
            if status != 200:
                raise OutgoingError(f"OpenID configuration of {self._settings.jwt_issuer}: status {status}")
            source = str(msgspec.json.decode(body)["jwks_uri"])
        if not source.startswith(("http://", "https://")):
            return Path(source).read_bytes()
        status, body = await request("GET", source)
        if status != 200:
            raise OutgoingError(f"{source}: status {status}")
        return body

    async def run(self) -> None:
        """Keep the keys fresh, for ever."""
        while True:
            try:
                async with asyncio.timeout(REFRESH_S):
                    await self._wanted.wait()
                await asyncio.sleep(max(0.0, FORCED_REFRESH_S - (time.monotonic() - self._asked_at)))
            except TimeoutError:
                pass
            self._wanted.clear()
            await self.load()

    def names(self) -> set[str]:
        """Names of the callers whose tokens are remembered."""
        return {key.name for key, __ in self._good.values()}

    def find(self, digest: bytes, token: bytes) -> Key | None:
        """Whom a token names; None for one that is no good."""
        known = self._good.get(digest)
        if known is not None:
            key, until = known
            if time.time() < until:
                return key
            del self._good[digest]
            return None
        if token.count(b".") != 2 or len(token) > MAX_TOKEN_BYTES:
            return None
        found = self._verify(token)
        if found is None:
            return None
        if len(self._good) >= REMEMBERED_TOKENS:
            self._good.clear()
        self._good[digest] = found
        return found[0]

    def _verify(self, token: bytes) -> tuple[Key, float] | None:
        settings = self._settings
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            signer = self._keys.get(kid)
            if signer is None and not kid and len(self._keys) == 1:
                signer = next(iter(self._keys.values()))
            if signer is None:
                self._wanted.set()
                return None
            claims = jwt.decode(
                token,
                signer.key,
                algorithms=[signer.algorithm_name] if signer.algorithm_name in ALGORITHMS else ALGORITHMS,
                audience=settings.jwt_audience or None,
                issuer=settings.jwt_issuer or None,
                leeway=LEEWAY_S,
                options={
                    "require": ["exp"],
                    "verify_aud": bool(settings.jwt_audience),
                    "verify_iss": bool(settings.jwt_issuer),
                },
            )
        except (jwt.exceptions.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
            return None
        tenant = claims.get(settings.jwt_tenant_claim)
        if not isinstance(tenant, str) or not tenant:
            return None
        return (
            Key(
                name=f"jwt:{tenant}"[:128],
                tenant=tenant[:128],
                models=_texts(claims.get(settings.jwt_models_claim)),
                classes=_texts(claims.get(settings.jwt_classes_claim)),
            ),
            float(claims["exp"]) + LEEWAY_S,
        )


def _texts(claim: Any) -> frozenset[str] | None:
    """A claim's list (or space-separated text, as `scope` has it); None: the claim is absent. Anything else allows nothing."""
    if claim is None:
        return None
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        return frozenset(item for item in claim if isinstance(item, str))
    return frozenset()
