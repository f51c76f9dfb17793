"""How a model call ended without an answer."""

from __future__ import annotations

from holdfast.errors.root import HoldfastError

__all__ = (
    "AuthFailed",
    "ConnectionFailed",
    "ContextOverflow",
    "InvalidRequest",
    "Malformed",
    "MediaUnsupported",
    "ModelError",
    "ModelNotFound",
    "ModelTimeout",
    "NoCredit",
    "Overloaded",
    "RateLimited",
    "ServerError",
    "Unreachable",
)


class ModelError(HoldfastError):
    """A model call ended without an answer; the subclass says how.

    `status` is the HTTP status where there was one, else 0.
    """

    code = "model"
    retry = "later"
    audience = "operator"

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds the provider asked us to wait; None when it did not say."""


class RateLimited(ModelError):
    """The provider counts too many requests or tokens; `retry_after` says how long it wants to be left alone."""

    code = "rate_limit"


class Overloaded(ModelError):
    """The provider has no capacity at the moment."""

    code = "overloaded"


class AuthFailed(ModelError):
    """The key is missing, wrong or not allowed to use the model."""

    code = "auth"
    retry = "never"
    audience = "user"


class NoCredit(AuthFailed):
    """The account that the key belongs to may not spend more; another provider's may."""

    code = "no_credit"


class InvalidRequest(ModelError):
    """The provider understood the request and refuses it."""

    code = "invalid_request"
    retry = "never"


class ModelNotFound(InvalidRequest):
    """The provider has no model of that name for us, or serves none at the address; another model may be there."""

    code = "model_not_found"
    audience = "user"


class MediaUnsupported(InvalidRequest):
    """A picture or document is none that the target takes, and cannot be made into one; nothing was sent.

    It says nothing about the target's health: another model may take what this one does not.
    """

    code = "media_unsupported"
    audience = "user"


class ContextOverflow(ModelError):
    """The request is longer than the model's context window, or larger than its server takes."""

    code = "context_overflow"
    retry = "never"


class ServerError(ModelError):
    """The provider failed."""

    code = "server_error"


class ConnectionFailed(ModelError):
    """No connection, or it broke before the answer was whole."""

    code = "connection"


class Unreachable(ConnectionFailed):
    """No connection came about, so that nothing was sent and nothing can have been spent."""

    code = "unreachable"


class ModelTimeout(ModelError):
    """The provider went silent for too long."""

    code = "timeout"


class Malformed(ModelError):
    """What came back is not the protocol that was asked for."""

    code = "malformed"
    retry = "now"
