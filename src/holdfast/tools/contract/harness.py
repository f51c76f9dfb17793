"""Tries a tool that speaks the contract: real calls, and for each promise of the contract whether it was kept.

The tool is whatever answers envelopes (`Target`): a service, or one of this program (`tools/elsewhere/targets.py`).
What comes out is a value; nothing is printed.

Not here: whether a transport of ours is right (`testing/conformance/transports`).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, Protocol
from uuid import uuid4

import msgspec

from holdfast.tools.contract.checking import ContractBroken, answer_of, text_of
from holdfast.tools.contract.fixtures import Fixture, Group
from holdfast.tools.contract.messages import VERSION, Answer, Asked, Limits, Request, Trace
from holdfast.tools.contract.taxonomy import TAXONOMY

__all__ = ("CHECKS", "Found", "Report", "Target", "Unanswered", "try_tool")

_AT_ONCE: Final = 8
"""Calls that are made at the same moment."""
_LEAVES: Final = 2.0
"""Seconds within which a call is over that was cancelled."""
_REFUSED: Final = ("auth_invalid", "auth_forbidden", "auth_expired")
CHECKS: Final[tuple[tuple[Group, str], ...]] = (
    ("contract", "can be reached"),
    ("contract", "answers by the contract"),
    ("contract", "comes to what is expected"),
    ("contract", "an error says all of itself"),
    ("contract", "refuses a request with a wrong tool_contract_version"),
    ("contract", "refuses a request with a wrong request_id"),
    ("contract", "refuses a request with a wrong tool.name"),
    ("timeout", "answers in time"),
    ("timeout", "is left when its time is over"),
    ("timeout", "a cancelled call is over at once"),
    ("timeout", "a cancelled call harms no other"),
    ("retry", "a second attempt is answered as such"),
    ("retry", "a second attempt comes to the same"),
    ("auth", "lets the calls in"),
    ("auth", "lets nobody in without credentials"),
    ("policy", "denies what it should"),
    ("isolation", "calls at once do not mix"),
    ("observability", "says which attempt it was"),
    ("observability", "gives the trace back"),
    ("observability", "says how long it took"),
    ("determinism", "the same call comes to the same"),
)
"""All that is looked at; which of it depends on the fixtures. The first, and that calls are let in, are said only where
that is not so, and then the trial is over.
"""
_SILENT: Final = ("can be reached", "lets the calls in", "is left when its time is over")
"""Checks that no trial lacks where it does not say them."""


class Unanswered(msgspec.Struct, frozen=True):
    """No answer of the contract came."""

    code: str
    """Of which kind that is, by the taxonomy."""
    why: str
    unreached: bool = False
    """Whether nothing of the request reached the other side."""


class Target(Protocol):
    """A tool that is tried."""

    name: str
    """What requests call it."""
    authenticated: bool
    """Whether it lets nobody in without credentials."""

    async def ask(self, request: bytes, *, credentials: bool = True) -> bytes | Unanswered:
        """Returns what it answers a request with; may be cancelled, and then has let go of the call."""
        ...


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    group: Group
    check: str
    outcome: Literal["ok", "failed", "not applicable", "not run"]
    fixture: str = ""
    """The call that it is about; empty where it is about none of the fixtures."""
    why: str = ""


class Report(msgspec.Struct, frozen=True):
    """What all checks found, in the order in which they were made."""

    found: tuple[Found, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Found, ...]:
        """What failed."""
        return tuple(each for each in self.found if each.outcome == "failed")


class _Reply(msgspec.Struct, frozen=True):
    """What came of one call."""

    seconds: float
    data: bytes = b""
    left: bool = False
    """Whether it was left because its time was over."""
    code: str = ""
    """Of a call that was not answered."""
    why: str = ""
    unreached: bool = False


class _NoUseError(Exception):
    """Whatever else is tried would come to the same."""


async def try_tool(target: Target, fixtures: Sequence[Fixture]) -> Report:
    """Returns what the checks found of a tool, tried with these calls. One that cannot be reached, or that refuses the
    very first call for its credentials, is not tried any further: what is left was not run, and says so.
    """
    trial = _Trial(target)
    try:
        for fixture in fixtures:
            await trial.alone(fixture)
        await trial.refusing()
        await trial.leaving([each for each in fixtures if each.cancel], fixtures)
        await trial.again(fixtures)
        await trial.credentials(fixtures)
    except _NoUseError:
        trial.leave_out()
        return Report(tuple(trial.found))
    await trial.together(fixtures)
    trial.missing(fixtures)
    return Report(tuple(trial.found))


class _Trial:
    def __init__(self, target: Target) -> None:
        self.found: list[Found] = []
        self._target = target
        self._run = uuid4().hex
        self._numbers = itertools.count(1)
        self._let_in = False
        """Whether a call was answered by more than that it lacks credentials."""

    # ---- checks -------------------------------------------------------------------------------------------

    async def alone(self, fixture: Fixture) -> None:
        """Makes one call, and looks at its answer."""
        request = self._request(fixture)
        reply = await self._asked(fixture, request)
        self._ensure_let_in(fixture, reply, request)
        if fixture.max_latency is not None:
            late = reply.seconds > fixture.max_latency
            self._note("timeout", "answers in time", fixture, f"it took {reply.seconds:.3f} s" if late else "")
        if fixture.expected_code == "timeout" and reply.left:
            self._note("timeout", "is left when its time is over", fixture)
            return
        answer = self._read(fixture, reply, request)
        if answer is None:
            return
        self._note(fixture.group, "comes to what is expected", fixture, _unlike(fixture, answer))
        self._note("contract", "an error says all of itself", fixture, _half_said(answer))
        self._note("observability", "says which attempt it was", fixture, _attempt(answer, request))
        echo = answer.trace == request.trace
        why = "" if echo else f"its trace is {answer.trace.trace_id[:40]!r}/{answer.trace.span_id[:40]!r}"
        self._note("observability", "gives the trace back", fixture, why)
        longer = answer.usage.duration_ms > reply.seconds * 1000 + 1 or answer.usage.duration_ms < 0
        why = f"it says {answer.usage.duration_ms} ms of {reply.seconds * 1000:.0f}" if longer else ""
        self._note("observability", "says how long it took", fixture, why)
        if not fixture.deterministic:
            self._skip("determinism", "the same call comes to the same", "the fixture says that it does not", fixture)
            return
        other = self._request(fixture)
        repeated = self._decoded(await self._asked(fixture, other), other)
        same = isinstance(repeated, Answer) and _gist(repeated) == _gist(answer)
        self._note("determinism", "the same call comes to the same", fixture, "" if same else f"then {_said(repeated)}")

    async def refusing(self) -> None:
        """Sends what is no request, and looks at how it is refused."""
        good = msgspec.to_builtins(self._request(Fixture(name="malformed")))
        for field, change in (
            ("tool_contract_version", {"tool_contract_version": "v0"}),
            ("request_id", {"request_id": ""}),
            ("tool.name", {"tool": {"name": ""}}),
        ):
            reply = self._reached(await self._sent(msgspec.json.encode(good | change), 30.0))
            self._note("contract", f"refuses a request with a wrong {field}", None, _refusal(reply, field))

    async def leaving(self, cancelled: Sequence[Fixture], fixtures: Sequence[Fixture]) -> None:
        """Cancels calls on their way; the tool goes on answering others."""
        if not cancelled:
            self._skip("timeout", "a cancelled call is over at once", "no fixture has `cancel: true`")
        for fixture in cancelled:
            task = asyncio.ensure_future(self._asked(fixture, self._request(fixture)))
            done, _ = await asyncio.wait([task], timeout=min(0.2, fixture.timeout / 2))
            if done:
                task.result()  # it may not have been reached
                self._skip("timeout", "a cancelled call is over at once", "it was answered before", fixture)
                continue
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=_LEAVES)
            self._note("timeout", "a cancelled call is over at once", fixture, "" if done else "it goes on")
            quick = next((each for each in fixtures if not each.cancel and each.expected_code != "timeout"), None)
            if quick is not None:
                request = self._request(quick)
                after = self._decoded(await self._asked(quick, request), request)
                why = "" if isinstance(after, Answer) else f"then {quick.name!r} came to {after}"
                self._note("timeout", "a cancelled call harms no other", fixture, why)

    async def again(self, fixtures: Sequence[Fixture]) -> None:
        """Makes a call as its second attempt, under the same id."""
        fixture = _first_good(fixtures)
        if fixture is None:
            self._skip("retry", "a second attempt is answered as such", "no fixture goes well")
            return
        request = self._request(fixture)
        first = self._decoded(await self._asked(fixture, request), request)
        second_request = msgspec.structs.replace(request, attempt=2)
        second = self._decoded(await self._asked(fixture, second_request), second_request)
        if not isinstance(first, Answer) or not isinstance(second, Answer):
            self._note("retry", "a second attempt is answered as such", fixture, f"then {_said(second)}")
            return
        self._note("retry", "a second attempt is answered as such", fixture, _attempt(second, second_request))
        if fixture.deterministic:
            same = _gist(first) == _gist(second)
            self._note("retry", "a second attempt comes to the same", fixture, "" if same else f"then {_said(second)}")

    async def credentials(self, fixtures: Sequence[Fixture]) -> None:
        """Makes a call without credentials."""
        check = "lets nobody in without credentials"
        if not self._target.authenticated:
            self._skip("auth", check, "it is called without any")
            return
        fixture = _first_good(fixtures) or fixtures[0]
        request = self._request(fixture)
        reply = self._reached(await self._sent(msgspec.json.encode(request), fixture.timeout, credentials=False))
        answer = self._decoded(reply, request)
        code = (answer.error.code if answer.error else "") if isinstance(answer, Answer) else reply.code
        self._note("auth", check, fixture, "" if code in _REFUSED else f"it came to {_said(answer)}")

    async def together(self, fixtures: Sequence[Fixture]) -> None:
        """Makes calls at the same moment; none gets the answer to another."""
        calm = [each for each in fixtures if each.expected_code != "timeout" and not each.cancel][:_AT_ONCE]
        if not calm:
            self._skip("isolation", "calls at once do not mix", "no fixture is answered")
            return
        chosen = [calm[n % len(calm)] for n in range(_AT_ONCE)]
        requests = [self._request(each) for each in chosen]
        # One of them that is not reached is no reason to leave the others: so many at once may be what is too much.
        sent = (self._sent(msgspec.json.encode(each), of.timeout) for of, each in zip(chosen, requests, strict=True))
        replies = await asyncio.gather(*sent)
        wrong: list[str] = []
        for fixture, request, reply in zip(chosen, requests, replies, strict=True):
            answer = self._decoded(reply, request)
            if why := _unlike(fixture, answer) if isinstance(answer, Answer) else answer:
                wrong.append(f"{fixture.name!r}: {why}")
        self._note("isolation", "calls at once do not mix", None, "; ".join(wrong[:3]))

    def missing(self, fixtures: Sequence[Fixture]) -> None:
        """Says of what no fixture says anything."""
        groups: tuple[Group, ...] = ("policy",)
        for group in groups:
            if not any(each.group == group or each.expected_status == "denied" for each in fixtures):
                self._skip(group, "denies what it should", "no fixture expects to be denied")

    def leave_out(self) -> None:
        """Says of what was not looked at that it was not."""
        seen = {each.check for each in self.found}
        for group, check in CHECKS:
            if check not in seen and check not in _SILENT:
                self.found.append(Found(group=group, check=check, outcome="not run"))

    # ---- calls --------------------------------------------------------------------------------------------

    def _request(self, fixture: Fixture) -> Request:
        number = next(self._numbers)
        return Request(
            request_id=f"try-{self._run[:12]}-{number}",
            task_id="try",
            namespace="local",
            tool=Asked(name=self._target.name),
            input=fixture.input,
            input_raw=msgspec.json.encode(fixture.input).decode(),
            runtime=Limits(mode="try", timeout_ms=int(fixture.timeout * 1000)),
            trace=Trace(trace_id=self._run, span_id=f"{number:016x}"),
        )

    async def _asked(self, fixture: Fixture, request: Request) -> _Reply:
        return self._reached(await self._sent(msgspec.json.encode(request), fixture.timeout))

    def _reached(self, reply: _Reply) -> _Reply:
        """Returns a reply; notes that the tool is not there, where that is so.

        Raises:
            _NoUseError: it is not.
        """
        if reply.unreached:
            self._note("contract", "can be reached", None, reply.why)
            raise _NoUseError
        return reply

    def _ensure_let_in(self, fixture: Fixture, reply: _Reply, request: Request) -> None:
        """Notes that calls are not let in, where the first of them was not, and should have been.

        Raises:
            _NoUseError: they are not.
        """
        answer = self._decoded(reply, request)
        code = (answer.error.code if answer.error else "") if isinstance(answer, Answer) else reply.code
        if not self._let_in and code in _REFUSED and code != fixture.expected_code:
            self._note("auth", "lets the calls in", fixture, _said(answer))
            raise _NoUseError
        self._let_in = True

    async def _sent(self, data: bytes, seconds: float, *, credentials: bool = True) -> _Reply:
        began, scope = time.monotonic(), asyncio.timeout(seconds)
        try:
            async with scope:
                answer = await self._target.ask(data, credentials=credentials)
        except TimeoutError:
            if not scope.expired():
                raise
            why = f"it was not answered within {seconds:g} s"
            return _Reply(time.monotonic() - began, left=True, code="timeout", why=why)
        took = time.monotonic() - began
        if isinstance(answer, bytes):
            return _Reply(took, answer)
        return _Reply(took, code=answer.code, why=answer.why, unreached=answer.unreached)

    def _read(self, fixture: Fixture, reply: _Reply, request: Request) -> Answer | None:
        """Returns an answer, and notes whether it is one by the contract."""
        answer = self._decoded(reply, request)
        if isinstance(answer, Answer):
            self._note("contract", "answers by the contract", fixture)
            return answer
        if reply.code and fixture.expected_code == reply.code:
            self._note(fixture.group, "comes to what is expected", fixture)
            return None
        self._note("contract", "answers by the contract", fixture, answer)
        return None

    def _decoded(self, reply: _Reply, request: Request) -> Answer | str:
        """Returns an answer, or why there is none."""
        if reply.code:
            return f"{reply.code}: {reply.why}"
        try:
            return answer_of(reply.data, request.request_id)
        except ContractBroken as error:
            return f"{error.field or 'the answer'} is wrong: {error}"

    def _note(self, group: Group, check: str, fixture: Fixture | None, why: str = "") -> None:
        name, outcome = "" if fixture is None else fixture.name, "failed" if why else "ok"
        self.found.append(Found(group=group, check=check, outcome=outcome, fixture=name, why=why))

    def _skip(self, group: Group, check: str, why: str, fixture: Fixture | None = None) -> None:
        name = "" if fixture is None else fixture.name
        self.found.append(Found(group=group, check=check, outcome="not applicable", fixture=name, why=why))


def _first_good(fixtures: Iterable[Fixture]) -> Fixture | None:
    return next((each for each in fixtures if each.expected_status == "ok" and not each.cancel), None)


def _gist(answer: Answer) -> tuple[Any, ...]:
    fault = answer.error
    return answer.status, answer.output, fault and (fault.code, fault.reason, fault.message)


def _said(answer: Answer | str) -> str:
    if isinstance(answer, str):
        return answer[:200]
    fault = answer.error
    return f"{answer.status}: {fault.code} {fault.message}"[:200] if fault else f"ok: {text_of(answer.output)[:200]!r}"


def _unlike(fixture: Fixture, answer: Answer) -> str:
    """Returns in what an answer is not as expected; nothing where it is."""
    if answer.status != fixture.expected_status:
        return f"its status is {answer.status!r}, not {fixture.expected_status!r} ({_said(answer)})"
    if fixture.expected_output is not msgspec.UNSET:
        result = answer.output.get("result", answer.output)
        if result != fixture.expected_output:
            return f"its result is {result!r}"[:300] + f", not {fixture.expected_output!r}"[:300]
    if fixture.expected_contains not in text_of(answer.output):
        return f"its text holds no {fixture.expected_contains!r}: {text_of(answer.output)[:200]!r}"
    fault = answer.error
    if fault is None:
        return ""
    for word, wanted, seen in (
        ("code", fixture.expected_code, fault.code),
        ("reason", fixture.expected_reason, fault.reason),
    ):
        if wanted and wanted != seen:
            return f"its {word} is {seen!r}, not {wanted!r}"
    if fixture.expected_retryable is not None and fault.retryable != fixture.expected_retryable:
        return f"its retryable is {fault.retryable}, not {fixture.expected_retryable}"
    return ""


def _half_said(answer: Answer) -> str:
    """Returns what an error leaves out."""
    fault = answer.error
    if fault is None:
        return ""
    if answer.status == "ok":
        return "its status is 'ok', and it has an error"
    gone = [name for name in ("reason", "message") if not getattr(fault, name).strip()]
    if fault.retryable is None:
        gone.append("retryable")
    if gone:
        return f"its error has no {', '.join(gone)}"
    return "" if fault.code in TAXONOMY else f"its code {fault.code[:60]!r} is none of contract {VERSION}"


def _attempt(answer: Answer, request: Request) -> str:
    seen = answer.usage.attempt
    return "" if seen == request.attempt else f"it says attempt {seen}, and it was {request.attempt}"


def _refusal(reply: _Reply, field: str) -> str:
    """Returns what is wrong with the refusal of what is no request."""
    if reply.code:
        return f"{reply.code}: {reply.why}"
    try:
        answer = msgspec.json.decode(reply.data, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"it answered nothing of the contract: {error}"
    fault = answer.error
    if answer.status != "error" or fault is None:
        return f"its status is {answer.status!r}"
    seen = (fault.code, fault.reason, bool(fault.retryable), fault.details.get("field"))
    wanted = ("invalid_input", TAXONOMY["invalid_input"].reason, False, field)
    return "" if seen == wanted else f"it said {seen!r}, not {wanted!r}"
