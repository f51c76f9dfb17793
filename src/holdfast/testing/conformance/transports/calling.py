"""What a call comes to: the result of one that goes well, and the code, reason and meaning for a retry of each that
does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from holdfast.flow.clock import SystemClock
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.environment import EnvironmentSecrets
from holdfast.testing.conformance.checking import expect
from holdfast.testing.conformance.transports.peer import FAILURE, TOKEN, Behaviour, Peer
from holdfast.tools.access.applying import Authenticator
from holdfast.tools.access.profiles import Bearer
from holdfast.tools.binding import ToolContext
from holdfast.tools.contract.taxonomy import TAXONOMY
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.calling import Elsewhere
from holdfast.tools.transports.port import MOST, Transport
from holdfast.types import CallId, Effect, StreamId, ToolResult, ToolSpec, Wait

__all__ = (
    "PATIENT",
    "Check",
    "a_call_that_goes_well",
    "a_crash_is_no_result_and_not_repeated_where_it_may_have_acted",
    "a_failure_says_what_the_tool_said",
    "a_lie_breaks_the_contract",
    "called",
    "context",
    "elsewhere",
    "fails_with",
    "many_calls_at_once",
    "nothing_there_is_an_error_that_may_be_tried_again",
    "only_who_brings_the_credential_is_let_in",
    "secrets_appear_nowhere",
)

Check = Callable[[Peer], Awaitable[None]]
"""One promise; it raises `AssertionError` when the transport breaks it."""

PATIENT = Attempts(timeout=60.0)
"""One attempt, with time enough for any machine."""
_WRONG = "wrong-0815-of-the-kit"


def context(token: str = "", key: str = "local/s/run/1") -> ToolContext:
    """Returns what a call is made in; its waits between attempts take no time worth speaking of."""
    secrets = Secrets([EnvironmentSecrets({"KIT": token} if token else {})], Redactor())
    return ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key=key, sleep=_doze, secrets=secrets)


def elsewhere(
    transport: Transport,
    attempts: Attempts = PATIENT,
    *,
    outside: Literal["none", "keyed", "unsafe"] = "none",
    authenticator: Authenticator | None = None,
    most: int = MOST,
) -> Elsewhere:
    """Returns the tool at the end of a transport."""
    spec = ToolSpec(name="peer", description="", parameters={}, effect=Effect(outside=outside))
    return Elsewhere(spec, transport, attempts, authenticator, most=most)


async def called(peer: Peer, tool: Elsewhere, given: ToolContext | None = None, text: str = "hello") -> ToolResult:
    """Returns what a call comes to, waits and all."""
    given = given or context()
    outcome = await tool.run({"text": text}, given)
    return await peer.answered(outcome, given) if isinstance(outcome, Wait) else outcome


def fails_with(result: ToolResult, code: str, retryable: bool | None = None) -> None:
    """Checks that a result is an error of that code, as the taxonomy has it."""
    error, kind = result.error, TAXONOMY[code]
    if error is None:
        raise AssertionError(f"the call failed; seen: {result.content[:200]!r}")
    wanted = (code, kind.reason, kind.status, kind.retryable if retryable is None else retryable)
    seen = (error.code, error.reason, error.status, error.retryable)
    expect(seen == wanted, f"the error is {wanted}", seen, result.content[:400])


async def a_call_that_goes_well(peer: Peer) -> None:
    """The tool gets the arguments, and its answer is the result, whatever characters are in it."""
    tool, before = elsewhere(peer.transport("works")), peer.reached
    for text in ("hello", 'quotes " and \\ and $HOME `id`', "grüße 👋 \u2028", "two\nlines"):
        result = await called(peer, tool, text=text)
        expect(result.error is None, "it went well", result)
        expect(text in result.content, "the answer is what it was given", text, result.content[:400])
    expect(before is None or peer.reached == before + 4, "each call reached it once", before, peer.reached)


async def a_failure_says_what_the_tool_said(peer: Peer) -> None:
    """A failure is an error of the taxonomy, in the tool's own words."""
    result = await called(peer, elsewhere(peer.transport("fails")))
    fails_with(result, "execution_failed", peer.traits.failure_retryable)
    expect(FAILURE in result.content, "the model reads what the tool said", result.content)


async def nothing_there_is_an_error_that_may_be_tried_again(peer: Peer) -> None:
    """Where nothing is there the call is an error, and as nothing happened, it is tried again whatever it does."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    tool = elsewhere(peer.transport("absent"), Attempts(timeout=60.0, most=3), outside="unsafe")
    result = await called(peer, tool, msgspec.structs.replace(context(), sleep=sleep))
    fails_with(result, peer.traits.absence)
    wanted = 2 if TAXONOMY[peer.traits.absence].retryable else 0
    expect(len(slept) == wanted, "it is tried again where that can help", slept)


async def a_crash_is_no_result_and_not_repeated_where_it_may_have_acted(peer: Peer) -> None:
    """A tool that dies in the middle has failed; only a call that may happen twice is made again."""
    ways: tuple[tuple[Literal["unsafe", "none"], int], ...] = (("unsafe", 1), ("none", 3))
    for outside, times in ways:
        before = peer.reached
        tool = elsewhere(peer.transport("dies"), Attempts(timeout=60.0, most=3), outside=outside)
        fails_with(await called(peer, tool), "execution_failed")
        if before is not None:
            expect(peer.reached == before + times, f"it was called {times} times", outside, before, peer.reached)
    result = await called(peer, elsewhere(peer.transport("works")))
    expect(result.error is None, "one that stands again is reached again", result)


async def a_lie_breaks_the_contract(peer: Peer) -> None:
    """An answer that is none is told of as such, and is not asked for again."""
    behaviours: dict[str, Behaviour] = {
        "version": "lies:version",
        "request_id": "lies:request_id",
        "status": "lies:status",
        "garbage": "lies:garbage",
        "empty": "lies:empty",
    }
    for lie in peer.traits.lies:
        before = peer.reached
        result = await called(peer, elsewhere(peer.transport(behaviours[lie]), Attempts(timeout=60.0, most=3)))
        fails_with(result, "runtime_policy_invalid")
        if before is not None:
            expect(peer.reached == before + 1, "it was not asked again", lie, before, peer.reached)


async def many_calls_at_once(peer: Peer) -> None:
    """Calls at the same moment get each its own answer."""
    tool, count = elsewhere(peer.transport("works"), msgspec.structs.replace(PATIENT, timeout=300.0)), peer.traits.many
    before = peer.reached
    calls = [called(peer, tool, context(key=f"local/s/run/{n}"), f"<call {n}>") for n in range(count)]
    results = await asyncio.gather(*calls)
    wrong = [(n, each) for n, each in enumerate(results) if each.error is not None or f"<call {n}>" not in each.content]
    expect(not wrong, "each call got its own answer", wrong[:3])
    expect(before is None or peer.reached == before + count, "each reached it once", before, peer.reached)


async def only_who_brings_the_credential_is_let_in(peer: Peer) -> None:
    """What the other side refuses for its credentials is an error that says so, and that no retry mends."""
    attempts = Attempts(timeout=60.0, most=3)
    async with HttpClient(TRUSTED) as client:
        auth = Authenticator("peer", Bearer(secret="kit"), client, SystemClock())
        fails_with(await called(peer, elsewhere(peer.transport("refuses"), attempts)), "auth_invalid")
        tool = elsewhere(peer.transport("refuses"), attempts, authenticator=auth)
        before = peer.reached
        fails_with(await called(peer, tool, context(_WRONG)), "auth_invalid")
        expect(before is None or peer.reached == before + 1, "it was asked once", before, peer.reached)
        result = await called(peer, tool, context(TOKEN))
        expect(result.error is None and "hello" in result.content, "who brings it is let in", result)
        before = peer.reached
        fails_with(await called(peer, tool, context()), "secret_resolution_failed")
        expect(peer.reached == before, "without a value, nothing is sent", before, peer.reached)


async def secrets_appear_nowhere(peer: Peer) -> None:
    """No result holds a credential, also where the other side repeats it."""
    async with HttpClient(TRUSTED) as client:
        auth = Authenticator("peer", Bearer(secret="kit"), client, SystemClock())
        ways: tuple[Behaviour, ...] = ("works", "fails", "refuses", "dies", "absent")
        for token in (_WRONG, TOKEN):
            for behaviour in ways:
                transport = peer.transport(behaviour)
                result = await called(peer, elsewhere(transport, authenticator=auth), context(token), f"my {token}")
                seen = msgspec.json.encode(result).decode()
                expect(token not in seen, f"of one that {behaviour} no result holds it", seen[:400])
                expect(token not in transport.place + repr(transport), "nor do the words for it", transport.place)


async def _doze(seconds: float) -> None:
    await asyncio.sleep(min(seconds, 0.005))
