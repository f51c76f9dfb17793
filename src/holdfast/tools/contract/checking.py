"""Whether what came in is a request or an answer by the contract, and what an answer means as the result of a call.

A peer that breaks the contract has failed in a way that trying again does not mend: `runtime_policy_invalid`, with the
field that is wrong. What an answer says beyond the contract is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from holdfast.tools.contract.messages import VERSION, Answer, Fault, Request
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.contract.wording import told
from holdfast.types import ToolResult

__all__ = ("ContractBroken", "answer_of", "answered", "refusal_of", "request_of", "result_of", "text_of")

_decoder = msgspec.json.Decoder(Answer)


class ContractBroken(Exception):
    """What came in is nothing by the contract."""

    def __init__(self, field: str, why: str, request_id: str = "") -> None:
        super().__init__(why)
        self.field = field
        self.request_id = request_id
        """Of the request, as far as it could be read."""


def request_of(data: bytes) -> Request:
    """Returns the request that came in.

    Raises:
        ContractBroken: it is none; names the first field that is wrong.
    """
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractBroken("", f"it is no request of contract {VERSION}: {error}") from None
    whole = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    known = whole.get("request_id")
    request_id = known if isinstance(known, str) else ""
    if (version := whole.get("tool_contract_version")) != VERSION:
        raise ContractBroken("tool_contract_version", f"its version is {str(version)[:40]!r}", request_id)
    if not request_id.strip():
        raise ContractBroken("request_id", "it has no id")
    asked = whole.get("tool")
    name = cast("dict[str, Any]", asked).get("name") if isinstance(asked, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise ContractBroken("tool.name", "it names no tool", request_id)
    try:
        request = msgspec.convert(whole, Request)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ContractBroken(_field_of(str(error)), f"it is no request: {error}", request_id) from None
    if request.attempt < 1:
        raise ContractBroken("attempt", "attempts count from 1", request_id)
    return request


def refusal_of(error: ContractBroken) -> Answer:
    """Returns the answer to what is no request: trying it again does not mend it."""
    fault = fault_of("invalid_input")
    return Answer(
        tool_contract_version=VERSION,
        request_id=error.request_id,
        status="error",
        error=Fault(
            code=fault.code, reason=fault.reason, retryable=False, message=str(error), details={"field": error.field}
        ),
    )


def answer_of(data: bytes, request_id: str) -> Answer:
    """Returns the answer to the request of that id.

    Raises:
        ContractBroken: it is none; names the field.
    """
    try:
        answer = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractBroken(_field_of(str(error)), f"it is no answer of contract {VERSION}: {error}") from None
    if answer.tool_contract_version != VERSION:
        raise ContractBroken("tool_contract_version", f"its version is {answer.tool_contract_version[:40]!r}")
    if answer.request_id != request_id:
        raise ContractBroken("request_id", "it answers another request")
    if answer.status != "ok" and (answer.error is None or not answer.error.code):
        raise ContractBroken("error.code", f"its status is {answer.status!r}, and it says no code")
    return answer


def answered(name: str, data: bytes, request_id: str, hide: Callable[[str], str] = str) -> ToolResult:
    """Returns what an answer to the request of that id comes to; one that is none has broken the contract. `hide` takes
    secrets out of texts that are cut.
    """
    try:
        return result_of(name, answer_of(data, request_id), hide)
    except ContractBroken as error:
        text = f"{name!r} broke the contract: {error}"
        return ToolResult(text, fault_of("runtime_policy_invalid"), {"field": error.field})


def result_of(name: str, answer: Answer, hide: Callable[[str], str] = str) -> ToolResult:
    """Returns what an answer comes to: the text that the model reads, and why there is none. `hide` takes secrets
    out of texts that are cut.
    """
    if answer.status == "ok":
        return ToolResult(text_of(answer.output))
    fault = answer.error
    assert fault is not None  # `answer_of` lets nothing else through
    error = fault_of(fault.code, fault.reason, denied=answer.status == "denied", retryable=fault.retryable)
    return ToolResult(f"{name!r} failed: {told(error, fault.message, fault.details, hide)}", error)


def text_of(output: dict[str, Any]) -> str:
    """Returns what the model reads of an output: its `result`, or all of it where there is none."""
    value = output.get("result", output)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _field_of(words: str) -> str:
    """Returns the field that a decoder complains of."""
    _, found, path = words.rpartition("`$")
    return path.rstrip("`").lstrip(".") if found else ""
