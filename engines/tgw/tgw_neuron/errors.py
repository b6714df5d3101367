# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, with the HTTP status that a client gets for it."""

from __future__ import annotations


class OverlayError(Exception):
    """Base of this package's errors; `status` and `kind` are what a client sees."""

    status = 500
    kind = "server_error"


class SettingsError(OverlayError):
    """A setting or a model folder that cannot work; the process ends with this sentence."""


class ContractError(OverlayError):
    """Upstream is not as the hooks need it."""


class RequestError(OverlayError):
    """The client asked for what cannot be done."""

    status = 400
    kind = "invalid_request_error"


class PromptTooLongError(RequestError):
    """The prompt leaves no room for an answer."""


class UnsupportedError(RequestError):
    """The backend cannot do what the request asks for."""


class BodyTooLargeError(RequestError):
    status = 413


class ForbiddenError(RequestError):
    """A route that would change the pod for everybody."""

    status = 403
    kind = "permission_error"


class BusyError(OverlayError):
    """The queue is full, or the wait was too long."""

    status = 429
    kind = "rate_limit_error"


class DrainingError(OverlayError):
    """The pod is stopping, or has no model."""

    status = 503
    kind = "service_unavailable"


class GenerationError(OverlayError):
    """The model failed while it was generating."""
