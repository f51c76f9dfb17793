"""What goes wrong on the network, in Holdfast's words.

The exceptions of the HTTP library end here: `CAUGHT` is all that it raises for reasons outside the program, and
`translated` has an answer for each. The original is not chained to the answer, because it carries the request's
headers, and headers carry keys; its text is kept.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from holdfast.errors import (
    AddressBlocked,
    ConnectionBroken,
    HoldfastError,
    NetTimeout,
    NotConnected,
    ProtocolError,
    RequestRefused,
)
from holdfast.net.guarding import BlockedSocketError

__all__ = ("CAUGHT", "translated")

CAUGHT: Final = (aiohttp.ClientError, HttpProcessingError, aiohttp.EofStream, OSError, ValueError, RuntimeError)
"""What the HTTP library raises for reasons outside the program. A TypeError is a mistake in it, and stays one."""

_REFUSED: Final = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.RedirectClientError)
_NOT_HTTP: Final = (aiohttp.ClientResponseError, HttpProcessingError)
_URL: Final = re.compile(r"https?://[^\s'\"]+")  # a query may hold a key


def translated(error: Exception, origin: str) -> HoldfastError:
    """Returns the error to raise instead; `origin` is scheme, host and port, which is all that messages say."""
    blocked = _refusal_inside(error)
    if blocked is not None:
        return AddressBlocked(f"{origin!r}: {blocked}")
    text = _text(error)
    if isinstance(error, TimeoutError):
        return NetTimeout(f"{origin!r} did not answer in time ({text}); try again, or allow it more time")
    if isinstance(error, _REFUSED):
        return RequestRefused(f"{origin!r} is not a URL to send to ({text}); correct the URL")
    if isinstance(error, _NOT_HTTP):
        return ProtocolError(f"{origin!r} answered with something that is not HTTP ({text}); check host and port")
    if isinstance(error, ValueError) and not isinstance(error, (aiohttp.ClientError, OSError)):
        return RequestRefused(f"the request to {origin!r} cannot be sent ({text}); correct its headers")
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError, aiohttp.ServerFingerprintMismatch)):
        step = "check its certificate and this machine's clock and authorities"
        return NotConnected(f"no secure connection to {origin!r} ({text}); {step}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return NotConnected(f"no connection to {origin!r} ({text}); check that it runs and the URL is right")
    return ConnectionBroken(f"the connection to {origin!r} broke ({text}); try again")


def _refusal_inside(error: BaseException) -> str | None:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, BlockedSocketError):
        return error.os_error.strerror
    return error.strerror if isinstance(error, BlockedSocketError) else None


def _text(error: Exception) -> str:
    if isinstance(error, aiohttp.EofStream):
        return "it ended"
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message or type(error).__name__  # its own text holds the whole URL
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return type(error).__name__  # its text is the URL
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        cause = error.os_error  # the text of both says host and port once more
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or type(cause).__name__
    return _URL.sub("its URL", str(error)) or type(error).__name__
