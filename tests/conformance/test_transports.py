"""Every way to a tool elsewhere passes the one kit, against a real tool on loopback; a fault of one is caught."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, ClassVar

import msgspec
import pytest
from tests.conformance.peers.external import ExternalPeer
from tests.conformance.peers.table import PEERS

from holdfast.testing.conformance.transports import calling, ending
from holdfast.testing.conformance.transports.checks import Check, checks_for
from holdfast.testing.conformance.transports.peer import Behaviour, Peer
from holdfast.tools.binding import ToolFailure
from holdfast.tools.transports.port import Errand, Transport
from holdfast.types import ToolResult, Wait

Wrong = Callable[[Transport, Errand], Awaitable[ToolResult | Wait]]
CASES = [
    pytest.param(name, check, id=f"{name}-{check.__name__}")
    for name, peer in PEERS.items()
    for check in checks_for(peer.traits)
]


@pytest.fixture
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    async with PEERS[request.param]() as opened:
        yield opened


@pytest.mark.requirement("contract:transports-pass-the-kit")
@pytest.mark.parametrize(("peer", "check"), CASES, indirect=["peer"])
async def test_what_every_transport_does(peer: Peer, check: Check) -> None:
    await check(peer)


class Faulty(Transport):
    """A transport that does one thing wrong."""

    kind: ClassVar[str] = "faulty"

    def __init__(self, inner: Transport, wrong: Wrong) -> None:
        self.place = inner.place
        self._inner = inner
        self._wrong = wrong

    async def send(self, errand: Errand) -> ToolResult | Wait:
        return await self._wrong(self._inner, errand)


class FaultyPeer(ExternalPeer):
    def __init__(self, wrong: Wrong) -> None:
        super().__init__()
        self._wrong = wrong

    def transport(self, behaviour: Behaviour) -> Transport:
        return Faulty(super().transport(behaviour), self._wrong)


KEPT: list[Any] = []


async def mixes_answers_up(inner: Transport, errand: Errand) -> ToolResult | Wait:
    KEPT.append(await inner.send(errand))
    await asyncio.sleep(0.001)
    return KEPT[-1]


async def takes_failures_for_results(inner: Transport, errand: Errand) -> ToolResult | Wait:
    outcome = await inner.send(errand)
    return msgspec.structs.replace(outcome, error=None) if isinstance(outcome, ToolResult) else outcome


async def sends_twice(inner: Transport, errand: Errand) -> ToolResult | Wait:
    await inner.send(errand)
    return await inner.send(errand)


async def tries_again_by_itself(inner: Transport, errand: Errand) -> ToolResult | Wait:
    with contextlib.suppress(ToolFailure):
        return await inner.send(errand)
    return await inner.send(errand)


async def reads_everything(inner: Transport, errand: Errand) -> ToolResult | Wait:
    return await inner.send(msgspec.structs.replace(errand, most=1 << 40))


async def hears_no_cancel(inner: Transport, errand: Errand) -> ToolResult | Wait:
    sending = asyncio.ensure_future(inner.send(errand))
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait([sending])
    await asyncio.wait([sending], timeout=3)
    sending.cancel()
    return ToolResult("late")


async def leaves_a_task_behind(inner: Transport, errand: Errand) -> ToolResult | Wait:
    KEPT.append(asyncio.create_task(asyncio.Event().wait()))
    return await inner.send(errand)


async def leaves_a_file_open(inner: Transport, errand: Errand) -> ToolResult | Wait:
    KEPT.append(socket.socket())
    return await inner.send(errand)


async def leaves_the_request_running(inner: Transport, errand: Errand) -> ToolResult | Wait:
    KEPT.append(asyncio.ensure_future(inner.send(errand)))
    return await asyncio.shield(KEPT[-1])


async def sends_no_credentials(inner: Transport, errand: Errand) -> ToolResult | Wait:
    return await inner.send(msgspec.structs.replace(errand, headers={}))


FAULTS: list[tuple[Wrong, Check]] = [
    (mixes_answers_up, calling.many_calls_at_once),
    (takes_failures_for_results, calling.a_failure_says_what_the_tool_said),
    (takes_failures_for_results, calling.a_lie_breaks_the_contract),
    (sends_twice, calling.a_call_that_goes_well),
    (sends_twice, calling.a_lie_breaks_the_contract),
    (tries_again_by_itself, calling.a_crash_is_no_result_and_not_repeated_where_it_may_have_acted),
    (reads_everything, ending.too_much_is_not_read),
    (hears_no_cancel, ending.a_cancelled_call_is_over_at_once),
    (leaves_a_task_behind, ending.a_cancelled_call_is_over_at_once),
    (leaves_a_file_open, ending.a_cancelled_call_is_over_at_once),
    (leaves_the_request_running, ending.a_call_that_takes_too_long_is_left),
    (sends_no_credentials, calling.only_who_brings_the_credential_is_let_in),
]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ending, "_SOON", 0.5)
    monkeypatch.setattr(ending, "_AT_ONCE", 0.3)
    yield
    for each in KEPT:
        (each.cancel if isinstance(each, asyncio.Future) else getattr(each, "close", int))()
    KEPT.clear()


@pytest.mark.requirement("contract:transports-pass-the-kit")
@pytest.mark.parametrize(("wrong", "caught_by"), FAULTS, ids=lambda each: each.__name__)
@pytest.mark.usefixtures("quick")
async def test_a_fault_is_caught_in_words(wrong: Wrong, caught_by: Check) -> None:
    async with FaultyPeer(wrong) as peer:
        with pytest.raises(AssertionError, match=r"\w+ \w+"):
            await caught_by(peer)
