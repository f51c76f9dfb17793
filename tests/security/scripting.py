"""Scripts as a model writes them, run as calls of the tool."""

from __future__ import annotations

import json
from typing import Any

from tests.running import MODEL, Scene, of, soon

from holdfast import Agent, tool
from holdfast.engine.events import ToolFinished
from holdfast.testing import Call, Turn

__all__ = ("DONE", "RAN", "double", "outer", "pay", "scripted", "told")

RAN: list[str] = []
DONE = Turn(text="done")


@tool(effect="none")
async def double(number: int) -> int:
    """Doubles a number."""
    RAN.append(f"double {number}")
    return number * 2


@tool
async def pay(sum: int) -> str:
    """Pays a sum."""
    RAN.append(f"pay {sum}")
    return f"paid {sum}"


def scripted(code: str, **more: Any) -> Turn:
    """Returns an answer that runs a script."""
    return Turn(calls=[Call("script", {"code": code, **more})])


def outer(log: Any) -> dict[str, Any]:
    """Returns what a script came to, as the log has it."""
    return json.loads([each for each in of(ToolFinished, log) if each.nested is None][-1].result.content)


async def told(scene: Scene, **more: Any) -> dict[str, Any]:
    """Returns what the script of the first turn came to."""
    agent = Agent(MODEL, tools=["script", double, pay])
    run = await scene.runtime.start(agent, "go", session="s", **more)
    result = await soon(run.result(), 20)
    assert result.status == "completed", result
    return outer(await scene.log())
