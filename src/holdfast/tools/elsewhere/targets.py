"""What speaks the contract, to be tried: a service at an address, and a tool of this program."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import final

import msgspec

from holdfast.safety.addresses import AddressPolicy
from holdfast.tools import authored
from holdfast.tools.binding import Tool, ToolContext, ToolFailure
from holdfast.tools.contract.checking import ContractBroken, refusal_of, request_of
from holdfast.tools.contract.harness import Target, Unanswered
from holdfast.tools.contract.messages import VERSION, Answer, Fault, Request, Used
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.results import Refused
from holdfast.tools.transports.port import MOST, Unsent
from holdfast.tools.transports.sending import JSON, Sender, refused
from holdfast.types import CallId, StreamId, ToolError, Wait

__all__ = ("Endpoint", "Served")


@final
class Endpoint(Target):
    """A service at an address, that is posted requests of the contract."""

    def __init__(self, name: str, url: str, policy: AddressPolicy, headers: Mapping[str, str] | None = None) -> None:
        """`headers` are its credentials."""
        self.name = name
        self.authenticated = bool(headers)
        self._url = url
        self._headers = headers or {}
        self._sender = Sender(policy)

    async def ask(self, request: bytes, *, credentials: bool = True) -> bytes | Unanswered:
        """Returns the body of its answer, also of one whose status is that of an error, where it has one by the
        contract.
        """
        headers = {**JSON, "X-Tool-Contract-Version": VERSION, **(self._headers if credentials else {})}
        try:
            reply = await self._sender.send(self.name, "POST", self._url, request, headers, MOST)
        except Unsent as error:
            code = error.result.error.code if error.result.error else "execution_failed"
            return Unanswered(code, error.result.content, unreached=True)
        except ToolFailure as error:
            return Unanswered(error.code, str(error))
        failed = refused(self.name, reply, MOST)
        if failed is None or failed.error is None or _is_answer(reply.body):
            return reply.body
        return Unanswered(failed.error.code, failed.content)

    async def close(self) -> None:
        """Lets go of its connections."""
        await self._sender.close()


@final
class Served(Target):
    """A tool of this program behind the envelopes of the contract."""

    authenticated = False

    def __init__(self, tool: Tool) -> None:
        self.name = tool.spec.name
        self._tool = tool

    async def ask(self, request: bytes, *, credentials: bool = True) -> bytes:
        """Returns what the tool answers; it never raises for what is wrong with a request or a call."""
        del credentials
        try:
            asked = request_of(request)
        except ContractBroken as error:
            return msgspec.json.encode(refusal_of(error))
        return msgspec.json.encode(await self._answer(asked))

    async def _answer(self, asked: Request) -> Answer:
        began = time.monotonic()
        if asked.tool.name != self.name:
            return _failed(asked, began, fault_of("unsupported_tool"), f"there is no tool {asked.tool.name[:80]!r}")
        text = asked.input_raw or msgspec.json.encode(asked.input).decode()
        parsed = authored.parse(self._tool, text, cut=False)
        if isinstance(parsed, Refused):
            error = parsed.result.error or fault_of("invalid_input")
            why, _, _ = parsed.result.content.partition(" Call it again")  # a person reads it, and wrote the fixture
            return _failed(asked, began, error, why)
        context = ToolContext(call_id=CallId("try"), stream=StreamId("local/try"), key=asked.request_id)
        outcome = await authored.run(self._tool, parsed[0], context)
        if isinstance(outcome, Wait):
            error = ToolError("execution_failed", "tool_waits")
            return _failed(asked, began, error, f"it waits for an answer ({outcome.kind}): only a run can wait")
        if outcome.error is not None:
            return _failed(asked, began, outcome.error, outcome.content)
        return Answer(
            tool_contract_version=VERSION,
            request_id=asked.request_id,
            status="ok",
            output={"result": outcome.content},
            usage=_used(asked, began),
            trace=asked.trace,
        )


def _failed(asked: Request, began: float, error: ToolError, message: str) -> Answer:
    return Answer(
        tool_contract_version=VERSION,
        request_id=asked.request_id,
        status=error.status,
        usage=_used(asked, began),
        trace=asked.trace,
        error=Fault(code=error.code, reason=error.reason, retryable=error.retryable, message=message),
    )


def _used(asked: Request, began: float) -> Used:
    return Used(duration_ms=int((time.monotonic() - began) * 1000), attempt=asked.attempt)


def _is_answer(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
