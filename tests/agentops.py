"""The event protocol as its clients know it: a schema of every type, written from its description, and its grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import jsonschema

__all__ = ("KINDS", "check_events", "check_order")

_STRING, _INT, _BOOL = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_SIX = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "reasoning_tokens",
    "cache_creation_tokens",
    "cache_read_tokens",
)
_USAGE = {
    "type": "object",
    "properties": dict.fromkeys(_SIX, _INT),
    "required": list(_SIX),
    "additionalProperties": False,
}
_ELEVEN = (
    "context_window",
    "budget_tokens",
    "system_prompt_tokens",
    "tool_tokens",
    "memory_context_tokens",
    "conversation_tokens",
    "prompt_tokens",
    "actual_input_tokens",
    "actual_output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
)
_BUDGET = {
    "type": "object",
    "properties": dict.fromkeys(_ELEVEN, _INT),
    "required": list(_ELEVEN),
    "additionalProperties": False,
}
_FINISH = {"enum": ["stop", "length", "content-filter", "tool-calls", "error", "other", "unknown"]}
_QUESTION = {
    "type": "object",
    "properties": {
        "header": _STRING,
        "question": _STRING,
        "options": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"label": _STRING, "description": _STRING},
                "required": ["label"],
            },
        },
        "multiple": _BOOL,
    },
    "required": ["header", "question"],
    "additionalProperties": False,
}
_BLOCK = {"id": _STRING}
_MORE = {"id": _STRING, "delta": _STRING}
_STRINGS = {"type": "array", "items": _STRING}

_FIELDS: dict[str, dict[str, Any]] = {
    "agent_start": {
        "session_id": _STRING,
        "prompt?": _STRING,
        "internal?": _BOOL,
        "source?": _STRING,
        "trace_id?": _STRING,
        "context_budget?": _BUDGET,
    },
    "agent_finish": {"session_id": _STRING, "total_usage": _USAGE, "step_count": _INT, "model": _STRING},
    "agent_error": {"session_id": _STRING, "error": _STRING, "retryable": _BOOL},
    "step_start": {"step_number": _INT, "session_id": _STRING},
    "step_finish": {
        "step_number": _INT,
        "session_id": _STRING,
        "usage": _USAGE,
        "finish_reason": _FINISH,
        "tool_call_count": _INT,
        "context_budget?": _BUDGET,
    },
    **{f"{kind}_{end}": _BLOCK for kind in ("text", "reasoning") for end in ("start", "end")},
    "text_delta": _MORE,
    "reasoning_delta": _MORE,
    "tool_input_start": {"id": _STRING, "tool_name": _STRING},
    "tool_input_delta": _MORE,
    "tool_input_end": _BLOCK,
    "tool_call": {"id": _STRING, "tool_name": _STRING, "input": _STRING, "provider_executed": _BOOL},
    "tool_result": {
        "id": _STRING,
        "tool_name": _STRING,
        "output": _STRING,
        "is_error": _BOOL,
        "metadata?": _STRING,
        "media_type?": _STRING,
        "data?": _STRING,
    },
    "source": {"id": _STRING, "source_type": _STRING, "url": _STRING, "title": _STRING},
    "warnings": {"warnings": _STRINGS},
    "stream_finish": {"usage": _USAGE, "finish_reason": _FINISH},
    "permission_asked": {
        "id": _STRING,
        "session_id": _STRING,
        "tool_name": _STRING,
        "input": _STRING,
        "description": _STRING,
    },
    "question_asked": {
        "id": _STRING,
        "session_id": _STRING,
        "questions": {"type": "array", "items": _QUESTION, "minItems": 1},
    },
    "session_idle": {"session_id": _STRING},
    "delegation.single": {"groupId": _STRING, "runName": _STRING, "timeout": _STRING, "parentAgent": _STRING},
    "delegation.fan_out": {
        "groupId": _STRING,
        "count": _INT,
        "timeout": _STRING,
        "runNames": _STRINGS,
        "parentAgent": _STRING,
    },
    "delegation.run_completed": {
        "groupId": _STRING,
        "runName": _STRING,
        "childAgent": _STRING,
        "phase": _STRING,
        "duration": _STRING,
        "remaining": _INT,
        "parentAgent": _STRING,
    },
    "delegation.all_completed": {
        "groupId": _STRING,
        "single": _BOOL,
        "succeeded": _INT,
        "failed": _INT,
        "totalDuration": _STRING,
        "parentAgent": _STRING,
    },
    "delegation.timeout": {"groupId": _STRING, "completed": _INT, "timedOut": _INT, "parentAgent": _STRING},
    "delegation.result": {
        "groupId": _STRING,
        "single": _BOOL,
        "timedOut": _BOOL,
        "totalDuration": _STRING,
        "succeeded": _INT,
        "failed": _INT,
        "runs": {"type": "object"},
        "parentAgent": _STRING,
    },
    "permission_replied": {"id": _STRING, "response": _STRING, "session_id?": _STRING},
    "question_replied": {"id": _STRING, "answers": {"type": "array"}, "session_id?": _STRING},
    "session_status": {"session_id": _STRING, "status": {"enum": ["idle", "busy", "waiting"]}},
    "text_reset": {"session_id": _STRING, "step_number": _INT, "reason": _STRING},
}


KINDS = tuple(_FIELDS)
"""Every type."""


def _schema(kind: str) -> dict[str, Any]:
    fields = _FIELDS[kind]
    return {
        "type": "object",
        "properties": {
            "type": {"const": kind},
            "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
            **{name.rstrip("?"): schema for name, schema in fields.items()},
        },
        "required": ["type", "timestamp", *(name for name in fields if not name.endswith("?"))],
        "additionalProperties": False,
    }


def check_events(events: Sequence[dict[str, Any]]) -> None:
    """Raises where an event is none of the protocol."""
    for event in events:
        jsonschema.validate(event, _schema(event["type"]))
        if event["type"] == "tool_result" and "metadata" in event:
            json.loads(event["metadata"])
        if event["type"] == "tool_call":
            json.loads(event["input"])


_LETTERS = {
    "agent_start": "A",
    "agent_finish": "F",
    "agent_error": "E",
    "step_start": "S",
    "step_finish": "s",
    "text_start": "t",
    "text_delta": "d",
    "text_end": "u",
    "reasoning_start": "r",
    "reasoning_delta": "e",
    "reasoning_end": "q",
    "tool_input_start": "i",
    "tool_input_delta": "j",
    "tool_input_end": "k",
    "tool_call": "c",
    "source": "o",
    "warnings": "w",
    "stream_finish": "f",
    "tool_result": "x",
    "text_reset": "R",
    "session_idle": "Z",
}
_BLOCKS = r"(?:td*u|re*q|ij*k|c|o|w|R)*"
_TURN = re.compile(rf"A(?:S{_BLOCKS}fx*s)*(?:S{_BLOCKS}(?:fx*)?)?[FE]Z")


def check_order(events: Sequence[dict[str, Any]]) -> None:
    """Raises where the events of one prompt do not follow the grammar; gates and delegations may stand anywhere."""
    letters = "".join(_LETTERS.get(event["type"], "") for event in events)
    assert _TURN.fullmatch(letters), letters
