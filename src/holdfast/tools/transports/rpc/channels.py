"""grpcio, which is loaded here and nowhere else: channels to a service, one in each event loop, and calls over them.

A channel is dialled before a call is made over it. So a call that could not be made is told apart, with certainty, from
one that was made and whose answer got lost. A channel that broke is thrown away, and the next call looks the name up
anew, as it does after a call that was given up. One that stands is used by all calls, and is given no name, no proxy of
the environment and no retries of its own.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, Final, final
from weakref import WeakKeyDictionary, WeakSet

import msgspec

from holdfast.errors import AddressBlocked
from holdfast.tools.transports.rpc.places import Place

_SILENCED = "GRPC_VERBOSITY" not in os.environ
if _SILENCED:  # read once, when it is loaded; what went wrong is said by results, not on the terminal
    os.environ["GRPC_VERBOSITY"] = "NONE"
try:
    import grpc
    from grpc import aio
finally:
    if _SILENCED:
        del os.environ["GRPC_VERBOSITY"]

__all__ = ("Channels", "Failed", "Undialled")

_READY: Final = grpc.ChannelConnectivity.READY
_ON_ITS_WAY: Final = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
_DOUBTFUL: Final = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""How calls end over connections of which nobody knows whether they still lead anywhere."""
_PATIENCE: Final = 10.0
"""Seconds to look a name up, and again to connect, TLS included."""
_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # whether a call may be made again is not for a library to say
    ("grpc.use_local_subchannel_pool", 1),  # a connection made under one policy is used under no other
    ("grpc.service_config_disable_resolution", 1),
)

Look = Callable[[], Coroutine[Any, Any, Sequence[str]]]
"""Returns the numbers that may be dialled now; raises as `numbers_of` does."""


class Undialled(Exception):
    """No connection came to be; nothing was sent."""

    def __init__(self, why: str, *, blocked: bool = False) -> None:
        super().__init__(why)
        self.blocked = blocked


class Failed(Exception):
    """A call was made, and ended with a status that is not OK."""

    def __init__(self, status: str, details: str) -> None:
        super().__init__(details)
        self.status = status
        """The name of the status, for example `UNAVAILABLE`."""


class _Line(msgspec.Struct, eq=False, weakref=True):
    """A channel that is connected, or was."""

    channel: Any
    call: Any
    most: int
    users: int = 0
    retired: bool = False
    """Whether it is closed when its last user is done."""


class _Here(msgspec.Struct, eq=False):
    """What there is in one event loop."""

    line: _Line | None = None
    lines: WeakSet[_Line] = msgspec.field(default_factory=WeakSet[_Line])
    """Also those that are retired."""
    dialling: asyncio.Task[_Line | Undialled] | None = None
    closed: bool = False
    """Whether a call that ends here was perhaps not cancelled by its caller."""

    async def retire(self, line: _Line) -> None:
        """Gives a line to no further call, and closes it when nobody uses it."""
        line.retired = True
        if self.line is line:
            self.line = None
        if not line.users:
            await line.channel.close()


@final
class Channels:
    """Calls of one method of one service; usable from any event loop."""

    def __init__(self, place: Place, method: str, look: Look, roots: bytes | None = None) -> None:
        """`roots` are certificates, as PEM, to trust instead of those that this machine trusts."""
        self._place = place
        self._method = method
        self._look = look
        self._roots = roots
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Here] = WeakKeyDictionary()

    async def call(
        self, body: bytes, metadata: Sequence[tuple[str, str | bytes]], seconds: float | None, most: int
    ) -> bytes:
        """Returns the answer of a call, of at most `most` bytes; the service is told of the `seconds` it has.

        Raises:
            Undialled: there is no connection, and the call was not made.
            Failed: it was made, and failed, or nobody knows what came of it.
        """
        here = self._loops.setdefault(asyncio.get_running_loop(), _Here())
        line = await self._connected(here, most)
        line.users += 1
        sound = False
        try:
            answer: bytes = await line.call(body, timeout=seconds, metadata=tuple(metadata))
            sound = True
            return answer
        except aio.AioRpcError as error:
            sound = error.code() not in _DOUBTFUL
            raise Failed(error.code().name, error.details() or "") from None
        except asyncio.CancelledError:
            pass
        finally:
            line.users -= 1
            if not sound:
                await here.retire(line)
            elif line.retired and not line.users:
                await line.channel.close()
        if here.closed and not _is_cancelled():
            raise Failed("UNAVAILABLE", "the channel was closed here")
        # Not the one that was caught: its trace would keep the call, and with it the connection.
        raise asyncio.CancelledError

    async def close(self) -> None:
        """Closes what is open in the running loop, and ends what is under way; a later call opens it again."""
        here = self._loops.pop(asyncio.get_running_loop(), None)
        if here is None:
            return
        here.closed = True
        if here.dialling is not None:
            here.dialling.cancel()
            await asyncio.wait((here.dialling,))
        for line in list(here.lines):
            await line.channel.close()

    async def _connected(self, here: _Here, most: int) -> _Line:
        """Returns a line that stands; whoever comes while one is dialled waits for that one."""
        if (line := here.line) is not None:
            if line.most == most and line.channel.get_state() is _READY:
                return line
            await here.retire(line)
        task = here.dialling
        if task is None:
            task = here.dialling = asyncio.ensure_future(self._dialled(here, most))
        await asyncio.wait((task,))
        if task.cancelled():
            raise Undialled("the channel was closed here")
        outcome = task.result()
        if isinstance(outcome, Undialled):
            raise Undialled(str(outcome), blocked=outcome.blocked)
        if outcome.most == most and not outcome.retired:
            return outcome
        return await self._connected(here, most)

    async def _dialled(self, here: _Here, most: int) -> _Line | Undialled:
        try:
            line = await self._dial(most)
        except AddressBlocked as error:
            return Undialled(str(error), blocked=True)
        except (OSError, Undialled) as error:
            return Undialled(str(error) or "looking its name up took too long")
        else:
            here.line = line
            here.lines.add(line)
            return line
        finally:
            here.dialling = None

    async def _dial(self, most: int) -> _Line:
        channel = self._opened(await self._look(), most)
        connected = False
        try:
            async with asyncio.timeout(_PATIENCE):
                state = channel.get_state(try_to_connect=True)
                while state in _ON_ITS_WAY:
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
            connected = state is _READY
        except TimeoutError:
            raise Undialled(f"{self._place} did not answer within {_PATIENCE:g} s") from None
        finally:
            if not connected:
                await channel.close()
        if not connected:
            agreed = ", or its certificate is not trusted for that name" if self._place.secure else ""
            raise Undialled(f"nobody speaks gRPC at {self._place}{agreed}")
        return _Line(channel, channel.unary_unary(self._method), most)

    def _opened(self, numbers: Sequence[str], most: int) -> Any:
        target = _target(numbers, self._place.port)
        options: list[tuple[str, Any]] = [*_OPTIONS, ("grpc.default_authority", self._place.authority)]
        options.append(("grpc.max_receive_message_length", most))
        if not self._place.secure:
            return aio.insecure_channel(target, options=options)
        options.append(("grpc.ssl_target_name_override", self._place.host))
        credentials = grpc.ssl_channel_credentials(self._roots or _machine_roots())
        return aio.secure_channel(target, credentials, options=options)


def _is_cancelled() -> bool:
    """Whether the task that runs this has been cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _target(numbers: Sequence[str], port: int) -> str:
    """Returns numbers as gRPC takes them: of one family, or those of the older one inside those of the newer."""
    if all(":" not in each for each in numbers):
        return "ipv4:" + ",".join(f"{each}:{port}" for each in numbers)
    mapped = (each if ip_address(each).version == 6 else f"::ffff:{each}" for each in numbers)
    return "ipv6:" + ",".join(f"[{each}]:{port}" for each in mapped)


def _machine_roots() -> bytes | None:
    """Returns what this machine trusts, as the rest of the house does; None for the list that comes with grpcio."""
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, found)).encode() or None
