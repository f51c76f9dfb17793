"""A tool behind a gRPC service: one unary method that takes a request of the contract and answers it, as JSON.

Both messages are the envelopes of `contract/messages.py` as JSON text, so nothing has to be generated. Credentials go
as metadata, and so does the version of the contract. The content type is plain `application/grpc`, since grpcio sends
no other: a Go service sets its codec with `grpc.ForceServerCodec`.

Whether a call that ended with UNAVAILABLE did anything there is not known: it was sent over a connection that stood.
Only what met no connection at all counts as not sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, final

import msgspec

from holdfast.errors import UsageError
from holdfast.net.settings import Resolve
from holdfast.tools.contract.checking import answered
from holdfast.tools.contract.messages import VERSION
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.transports.port import Errand, Transport, Unsent, reach, too_large
from holdfast.tools.transports.rpc.places import numbers_of, place_of
from holdfast.types import ToolResult

if TYPE_CHECKING:
    from holdfast.tools.transports.rpc.channels import Channels

__all__ = ("INSTALL", "METHOD", "ORLOJ_METHOD", "Grpc")

METHOD: Final = "/holdfast.tool.v1.ToolService/Execute"
ORLOJ_METHOD: Final = "/orloj.tool.v1.ToolService/Execute"
"""What services have that were written for Orloj (source: Orloj 3.4)."""
INSTALL: Final = "pip install 'holdfast[grpc]'"

_METHOD: Final = re.compile(r"(?:/[A-Za-z0-9_.-]+){2}")
_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_SHOWN = 400
"""Characters of a status's details that an error shows."""
_TOO_LARGE: Final = "larger than max"
_CODES: Final[Mapping[str, tuple[str, bool]]] = {
    "CANCELLED": ("canceled", False),
    "INVALID_ARGUMENT": ("invalid_input", False),
    "DEADLINE_EXCEEDED": ("timeout", True),
    "NOT_FOUND": ("execution_failed", False),
    "ALREADY_EXISTS": ("execution_failed", False),
    "PERMISSION_DENIED": ("auth_forbidden", False),
    "RESOURCE_EXHAUSTED": ("execution_failed", True),
    "FAILED_PRECONDITION": ("execution_failed", False),
    "OUT_OF_RANGE": ("execution_failed", False),
    "UNIMPLEMENTED": ("unsupported_tool", False),
    "UNAUTHENTICATED": ("auth_invalid", False),
}
"""What a status comes to, and whether the same call may go well later; any other is a backend that failed."""


@final
class Grpc(Transport):
    """Calls a method of a gRPC service."""

    kind = "grpc"

    def __init__(
        self,
        address: str,
        *,
        private: bool = False,
        method: str = METHOD,
        roots: bytes | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """With `private` the address may be one of this machine or its networks. `roots` are certificates, as PEM, to
        trust instead of this machine's; `resolve` looks names up.

        Raises:
            UsageError: the address or the method is none.
        """
        where = place_of(address)
        if not _METHOD.fullmatch(method):
            raise UsageError(f"{method!r} is no method of gRPC; write it like {METHOD!r}")
        self.place = str(where)
        self._where, self._method, self._roots = where, method, roots
        self.private = private
        self._look = partial(numbers_of, where, reach(private), resolve, 10.0)
        self._channels: Channels | None = None

    async def send(self, errand: Errand) -> ToolResult:
        """Returns what the service answered."""
        request = errand.request
        name, limit = request.tool.name, request.runtime.timeout_ms
        metadata = _metadata(name, {"x-tool-contract-version": VERSION, **errand.headers})
        channels = self._channels or self._loaded(name)
        from holdfast.tools.transports.rpc.channels import Failed, Undialled  # noqa: PLC0415 - it has been loaded

        try:
            body = await channels.call(
                msgspec.json.encode(request), metadata, limit / 1000 if limit > 0 else None, errand.most
            )
        except Undialled as error:
            code = "permission_denied" if error.blocked else "execution_failed"
            raise Unsent(ToolResult(f"{name!r} was not reached: {error}", fault_of(code))) from None
        except Failed as error:
            return _refused(name, error.status, errand.hide(str(error)), errand.most)
        return answered(name, body, request.request_id, errand.hide)

    async def close(self) -> None:
        """Closes the channel of the running loop, and ends what is under way over it."""
        if self._channels is not None:
            await self._channels.close()

    def _loaded(self, name: str) -> Channels:
        try:
            from holdfast.tools.transports.rpc.channels import Channels  # noqa: PLC0415 - an extra
        except ImportError:
            text = f"{name!r} was not called: calls over gRPC need grpcio: `{INSTALL}`"
            raise Unsent(ToolResult(text, fault_of("isolation_unavailable"))) from None
        self._channels = Channels(self._where, self._method, self._look, self._roots)
        return self._channels


def _metadata(name: str, headers: Mapping[str, str]) -> Sequence[tuple[str, str | bytes]]:
    """Returns headers as gRPC sends them; what it would not send is refused here, where no value gets into an error."""
    found: list[tuple[str, str | bytes]] = []
    for header, value in headers.items():
        key = header.lower()
        if not _NAME.fullmatch(key) or key.startswith("grpc-") or not _VALUE.fullmatch(value):
            text = f"{name!r} was not called: gRPC takes no header {header!r} of that form; send plain ASCII"
            raise Unsent(ToolResult(text, fault_of("secret_resolution_failed")))
        found.append((key, value.encode() if key.endswith("-bin") else value))
    return found


def _refused(name: str, status: str, details: str, most: int) -> ToolResult:
    """Returns what a status comes to that is not OK."""
    if status == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details:
        return too_large(name, most)
    code, retryable = _CODES.get(status, ("execution_failed", True))
    words = " ".join(details.split())[:_SHOWN]
    text = f"{name!r} failed: gRPC status {status}{f': {words}' if words else ''}"
    return ToolResult(text, fault_of(code, retryable=retryable), {"grpc_status": status})
