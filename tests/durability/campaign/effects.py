"""Runs whose calls reach beyond the workspace: a shell, and a payment that goes by its key."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from holdfast import tool
from holdfast.testing import Call, ScriptRequest, Turn
from holdfast.testing.scripts import ScriptFunction
from holdfast.tools.binding import ToolContext
from holdfast.types import Effect

__all__ = ("LINES", "MARK", "PAY", "SCRIPTS", "UNKNOWN", "mark", "pay")

LINES = "lines.txt"
UNKNOWN = "Outcome unknown"
PAY = f"{__name__}:pay"
MARK = f"{__name__}:mark"
_SHELL = "echo once >> lines.txt"
_WAITING = f"{_SHELL}; sleep 600 & echo $$ $! > ready; read -r _ < gate; echo twice >> lines.txt"


@tool(effect="keyed")
def pay(book: str, context: ToolContext) -> str:
    """Pay once for each key, however often it is asked: the book only shows who asked.

    Args:
        book: Where to note that it was asked.
        context: Where the call runs.
    """
    with Path(book).open("a") as file:
        file.write(f"{context.key}\n")
    return "paid"


@tool(effect=Effect(workspace=True, outside="none"))
def mark(context: ToolContext) -> str:
    """Make a mark, in a file that nobody was told of before.

    Args:
        context: Where the call runs.
    """
    assert context.workspace is not None
    with (context.workspace.root / LINES).open("a") as file:
        file.write("once\n")
    return "marked"


def _once(call: Call) -> ScriptFunction:
    def say(request: ScriptRequest) -> Turn:
        if not request.answers:
            return Turn(calls=[call])
        if (request.last_result or "").startswith(UNKNOWN):
            return Turn("I look before I do it again.", [Call(name="read", arguments={"path": LINES})])
        return Turn(f"It says: {request.last_result}")

    return say


def _pay(request: ScriptRequest) -> Turn:
    if request.answers:
        return Turn(f"It is {request.last_result}.")
    # A model that is asked again gives its calls other ids.
    return Turn(calls=[Call(name="pay", arguments={"book": request.first_user_text}, id=f"call_{next(_ids)}")])


def _bash(command: str) -> Call:
    return Call(name="bash", arguments={"command": command})


_ids = count(1)
SCRIPTS: dict[str, ScriptFunction] = {
    "shell": _once(_bash(_SHELL)),
    "waiting": _once(_bash(_WAITING)),
    "mark": _once(Call(name="mark")),
    "pay": _pay,
}
"""By the names of trials."""
