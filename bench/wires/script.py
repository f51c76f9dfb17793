"""What is asked and what is answered, in plain values, so that floors and server agree without sharing code.

Standard library only: floors must not load Holdfast.
"""

import os
from typing import NamedTuple

__all__ = (
    "ABOUT",
    "CALL",
    "CASE",
    "EARLIER",
    "INSTRUCTIONS",
    "KEY",
    "MODEL",
    "PIECE",
    "PROMPT",
    "RESULT",
    "SCHEMA",
    "TEXT",
    "TOKEN",
    "TOOL",
    "USAGE",
    "Answer",
    "Call",
    "base",
    "expected",
    "signs",
    "with_tools",
)


class Call(NamedTuple):
    """A call, whole or so far."""

    id: str
    name: str
    arguments: str


class Answer(NamedTuple):
    """All of an answer."""

    text: str
    calls: list[Call]
    usage: tuple[int, int]
    """Tokens of the input and of the output."""


CASE = os.environ.get("CASE", "stream1000")

MODEL = "stub"
KEY = "stub"
INSTRUCTIONS = "You add."
PROMPT = "go"
TOOL, ABOUT = "add", "Add."
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
EARLIER = Call("call_1", TOOL, '{"a":1,"b":1}')
"""The call in the history of a tool step."""
RESULT = "2"
CALL = Call("call_2", TOOL, '{"a":2,"b":1}')
"""The call that it asks for."""
TOKEN = 7
"""Characters of each token of a text, so that pieces of that length are the tokens."""
TEXT = "".join([f"tok{i:03} " for i in range(1000)])
PIECE = 4
"""Characters of arguments in one event."""
USAGE = (100, 20)


def base(wire: str) -> str:
    """The address of a wire in this case, without what the protocol itself adds."""
    return f"{os.environ['STUB']}/{CASE}/{wire}"


def with_tools() -> bool:
    """Whether this case is a tool step."""
    return CASE != "stream1000"


def signs() -> bool:
    """Whether requests are signed in this case, where a protocol knows that."""
    return CASE == "signed"


def expected() -> Answer:
    """What the server says in this case."""
    return Answer("", [CALL], USAGE) if with_tools() else Answer(TEXT, [], USAGE)
