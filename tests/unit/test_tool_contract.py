"""Contract v1: what a request and an answer must have, and the line of text that an error is told in."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tools.contract.checking import ContractBroken, answer_of, answered, refusal_of, request_of
from holdfast.tools.contract.messages import Asked, Request
from holdfast.tools.contract.taxonomy import TAXONOMY, fault_of
from holdfast.tools.contract.wording import Told, shortened, told, told_in
from holdfast.tools.results import failure
from holdfast.types import ToolError

GOOD: dict[str, Any] = {"tool_contract_version": "v1", "request_id": "r1", "tool": {"name": "weather"}, "input": {}}
SAID: dict[str, Any] = {"tool_contract_version": "v1", "request_id": "r1", "status": "ok", "output": {"result": "x"}}


def changed(whole: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({name: value for name, value in (whole | fields).items() if value != "gone"}).encode()


@pytest.mark.requirement("tools:contract-envelope")
@pytest.mark.parametrize(
    ("data", "field", "request_id"),
    [
        (changed(GOOD, tool_contract_version="v2"), "tool_contract_version", "r1"),
        (changed(GOOD, tool_contract_version="gone"), "tool_contract_version", "r1"),
        (changed(GOOD, request_id="gone"), "request_id", ""),
        (changed(GOOD, request_id=" "), "request_id", ""),
        (changed(GOOD, request_id=7), "request_id", ""),
        (changed(GOOD, tool="gone"), "tool.name", "r1"),
        (changed(GOOD, tool={}), "tool.name", "r1"),
        (changed(GOOD, tool={"name": ""}), "tool.name", "r1"),
        (changed(GOOD, input=[1]), "input", "r1"),
        (changed(GOOD, attempt=0), "attempt", "r1"),
        (b"\xff", "", ""),
        (b"[]", "tool_contract_version", ""),
        (b"[" * 100_000, "", ""),
    ],
)
def test_a_request_that_is_none_is_refused_with_its_field(data: bytes, field: str, request_id: str) -> None:
    with pytest.raises(ContractBroken) as error:
        request_of(data)
    said = json.loads(msgspec.json.encode(refusal_of(error.value)))
    assert (said["status"], said["request_id"]) == ("error", request_id or "")
    assert said["error"]["code"] == "invalid_input"
    assert said["error"]["reason"] == "tool_invalid_input"
    assert said["error"]["retryable"] is False
    assert said["error"]["details"] == {"field": field}


@pytest.mark.requirement("tools:contract-envelope")
def test_a_request_that_was_written_is_read() -> None:
    request = Request(request_id="r1", tool=Asked(name="weather"), input={"a": [1, None]}, attempt=2)
    assert request_of(msgspec.json.encode(request)) == request
    assert request_of(changed(GOOD, newer={"than": "we"})).tool.name == "weather"


@pytest.mark.requirement("tools:contract-envelope")
@pytest.mark.parametrize(
    ("data", "field"),
    [
        (changed(SAID, tool_contract_version="v2"), "tool_contract_version"),
        (changed(SAID, request_id="r2"), "request_id"),
        (changed(SAID, status="success"), "status"),
        (changed(SAID, status="error"), "error.code"),
        (changed(SAID, status="error", error={"code": ""}), "error.code"),
        (changed(SAID, output="text"), "output"),
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_an_answer_that_is_none_names_its_field(data: bytes, field: str) -> None:
    with pytest.raises(ContractBroken) as error:
        answer_of(data, "r1")
    assert error.value.field == field
    result = answered("weather", data, "r1")
    assert result.error == fault_of("runtime_policy_invalid")
    assert result.metadata == {"field": field}


@pytest.mark.requirement("tools:error-taxonomy")
@pytest.mark.parametrize("code", TAXONOMY)
def test_an_answer_that_says_only_a_code_means_what_the_table_says(code: str) -> None:
    kind = TAXONOMY[code]
    result = answered("weather", changed(SAID, status="error", error={"code": code}), "r1")
    assert result.error == ToolError(code, kind.reason, kind.status, retryable=kind.retryable) == failure(code)


@pytest.mark.requirement("tools:error-taxonomy")
def test_what_a_tool_says_itself_of_a_retry_counts_and_a_code_nobody_knows_is_a_failure() -> None:
    fault = {"code": "quota", "reason": "monthly", "retryable": False, "details": {"b": 1, "a": [2]}}
    result = answered("weather", changed(SAID, status="denied", error=fault), "r1")
    assert result.error == ToolError("execution_failed", "monthly", "denied", retryable=False)
    assert result.content.endswith('retryable=false message="" a=[2] b=1')


TEXT = st.text(max_size=60) | st.sampled_from(["a=b", '"', "a b", " a", "x  y", "tool_code=timeout", "\n", "", "a\\"])


@pytest.mark.requirement("contract:error-text")
@given(
    TEXT,
    TEXT,
    st.sampled_from(["error", "denied"]),
    st.booleans(),
    TEXT,
    st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.lists(TEXT, max_size=2), max_size=4),
)
def test_whatever_an_error_says_its_line_is_read_back(
    code: str, reason: str, status: Any, retryable: bool, message: str, details: dict[str, Any]
) -> None:
    error = ToolError(code, reason, status, retryable=retryable)
    line = told(error, message, details)
    assert "\n" not in line
    assert told_in(line) == told_in(f"'weather' failed: {line}") == shortened(error, message, details)


@pytest.mark.requirement("contract:error-text")
@given(st.text() | st.builds(lambda more: f"tool_status=error {more}", TEXT))
def test_no_text_makes_the_reader_of_lines_stumble(text: str) -> None:
    assert isinstance(told_in(text), Told | None)


@pytest.mark.requirement("contract:error-text")
def test_a_line_is_words_in_a_known_order() -> None:
    line = told(fault_of("timeout"), "too slow", {"z": 1, "host": "a 1"})
    assert line == (
        "tool_status=error tool_code=timeout tool_reason=tool_execution_timeout retryable=true "
        "message=too slow host=a 1 z=1"
    )
    assert len(told(fault_of("timeout"), "x" * 9999, {str(n): "y" * 9999 for n in range(99)})) < 22 * 420
