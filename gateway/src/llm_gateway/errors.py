# SPDX-License-Identifier: Apache-2.0
"""Every error the gateway knows, and the shape in which OpenAI's clients expect to see it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

# What msgspec raises for bytes that are not the document they should be: no JSON or of another shape, no UTF-8, nested too deeply.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class GatewayError(Exception):
    """Base of all errors of this package. The message says what, which one, why, and what to do."""


class ConfigError(GatewayError):
    """A setting, a config document or a key file that cannot be used."""


class EngineError(GatewayError):
    """An engine did not answer as an engine should; `kind` is one word for metrics and logs."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ApiError(GatewayError):
    """What a client is told instead of a completion.

    `status` is the HTTP status, `code` and `error_type` are OpenAI's words (https://platform.openai.com/docs/guides/error-codes),
    `retry_after_s` becomes a Retry-After header, `reason` is one word for metrics and the access log. `said`: fields that an engine gave its
    error, which go to OpenAI's clients in place of ours.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        error_type: str = "invalid_request_error",
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        said: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.said = said or {}
        self.status = status
        self.message = message
        self.code = code
        self.error_type = error_type
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers = headers

    @property
    def reason(self) -> str:
        """One word that says what went wrong."""
        return self.code or self.error_type

    def body(self) -> bytes:
        """The error as OpenAI words it."""
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.error_type,
                    "param": self.param,
                    "code": self.code,
                    **self.said,
                }
            }
        )

    def anthropic_body(self) -> bytes:
        """The error as Anthropic words it (https://docs.anthropic.com/en/api/errors)."""
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
            503: "overloaded_error",
            529: "overloaded_error",
        }
        kind = kinds.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": self.message}})

    def header_lines(self) -> bytes:
        """Extra header lines, each ending in CRLF."""
        lines = [f"{name}: {value}\r\n" for name, value in self.headers]
        if self.retry_after_s is not None:
            # Retry-After counts whole seconds; rounding down would invite the client back too early.
            lines.append(f"retry-after: {max(1, -int(-self.retry_after_s // 1))}\r\n")
        return "".join(lines).encode("latin-1")


def reason_phrase(status: int) -> str:
    """The customary phrase of a status, or the plain word for one nobody registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


def malformed(message: str, *, param: str | None = None) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, message, code="invalid_request", param=param)


def invalid_key() -> ApiError:
    """401: no key, or one nobody issued (or that has expired)."""
    return ApiError(
        401,
        "Incorrect API key provided. Send a valid key as 'Authorization: Bearer KEY'.",
        code="invalid_api_key",
        error_type="authentication_error",
        headers=(("www-authenticate", "Bearer"),),
    )


def forbidden(message: str, code: str = "permission_denied") -> ApiError:
    """403: the key is good, but not for this."""
    return ApiError(403, message, code=code, error_type="permission_error")


def model_not_found(model: str) -> ApiError:
    """404: no engine ever served this model here."""
    return ApiError(
        404,
        f"The model '{printable(model)}' does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )


def too_large(limit_bytes: int) -> ApiError:
    """413: the body is over --max-body."""
    return ApiError(
        413,
        f"The request body is larger than {limit_bytes} bytes. Send a shorter prompt, or raise --max-body.",
        code="request_too_large",
    )


def unavailable(message: str, *, code: str = "engine_unavailable", retry_after_s: float = 5) -> ApiError:
    """503: known, but nobody can answer now."""
    return ApiError(503, message, code=code, error_type="server_error", retry_after_s=retry_after_s)


def printable(text: str, limit: int = 80) -> str:
    """Client text, made safe to stand in a message: short, and without control characters or lone surrogates."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(c if c.isprintable() else "?" for c in cut)
