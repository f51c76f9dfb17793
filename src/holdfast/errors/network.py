"""What goes wrong between this machine and another: in an HTTP exchange, and with what is handed to a target.

Not here: what a model call that ended there comes to (`models.py`).
"""

from __future__ import annotations

from holdfast.errors.root import HoldfastError

__all__ = (
    "AddressBlocked",
    "AnswerTooLarge",
    "ConnectionBroken",
    "DeliveryError",
    "DeliveryRefused",
    "NetError",
    "NetTimeout",
    "NotConnected",
    "NotDelivered",
    "ProtocolError",
    "RequestRefused",
)


class NetError(HoldfastError):
    """An HTTP exchange did not come about, or broke before it was over."""

    code = "net"


class AddressBlocked(NetError):
    """The address guard does not let this address be reached."""

    code = "address_blocked"


class RequestRefused(NetError):
    """The URL, a header or a redirect is one that the client does not send or follow; nothing was sent there."""

    code = "request_refused"


class ConnectionBroken(NetError):
    """There was no connection, or it broke before the answer was whole."""

    code = "connection_broken"
    retry = "later"
    audience = "operator"


class NotConnected(ConnectionBroken):
    """No connection came about: a wrong name or port, nobody there, or no trust. Nothing of the request was sent."""

    code = "not_connected"


class NetTimeout(NetError):
    """Connecting took too long, or the other side went silent."""

    code = "net_timeout"
    retry = "later"
    audience = "operator"


class ProtocolError(NetError):
    """What came back is not HTTP, or not what HTTP allows."""

    code = "net_protocol"
    retry = "later"
    audience = "operator"


class AnswerTooLarge(NetError):
    """A body, or one event of a stream, is larger than its bound; the connection was dropped."""

    code = "answer_too_large"
    audience = "operator"


class DeliveryError(HoldfastError):
    """A target did not take a delivery; it may have arrived all the same."""

    code = "delivery"
    retry = "later"
    audience = "operator"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the target asked us to wait; None when it did not say."""


class DeliveryRefused(DeliveryError):
    """The target did not take the delivery and will not take it later either."""

    code = "delivery_refused"
    retry = "never"


class NotDelivered(DeliveryError):
    """Nothing of the delivery arrived, for certain, so that it may be tried again whatever the target promises."""

    code = "not_delivered"
