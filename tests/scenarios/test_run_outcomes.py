"""How a run came out is what its caller reads, whatever it was: nobody has to catch it."""

from __future__ import annotations

import pytest
from tests.running import MODEL, of, scene, seen, soon

from holdfast import Agent, Limits, tool
from holdfast.engine.events import ToolWaiting
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Status
from holdfast.types import Wait


@tool(effect="unsafe")
async def pay() -> str:
    """Pays."""
    return "paid"


@tool(effect="none")
async def ask() -> Wait:
    """Asks somebody."""
    return Wait("t", prompt="Which colour?")


AGENT = Agent(MODEL, tools=[pay, ask], limits=Limits(model_retries=0))
ENDS = {
    # how it ends: the model's first turn, what is said to the run, its status, its denied calls
    "approved": (Turn(calls=[Call("pay")]), "approve", "completed", 0),
    "denied": (Turn(calls=[Call("pay")]), "deny", "completed", 1),
    "answered": (Turn(calls=[Call("ask")]), "answer", "completed", 0),
    "aborted": (Turn(calls=[Call("ask")]), "abort", "aborted", 0),
    "limited": (Turn("and", stop="length"), "", "limited", 0),
    "failed": (Turn("never", fault=Status(400)), "", "failed", 0),
}


@pytest.mark.requirement("errors:ends-of-runs-are-values")
@pytest.mark.parametrize("end", ENDS)
async def test_waiting_approval_and_every_end_are_read_and_raise_nothing(end: str) -> None:
    first, said, status, denied = ENDS[end]
    async with scene([first, "done"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        if said:
            await soon(seen(run, "tool.waiting"))
            (waiting,) = of(ToolWaiting, await s.log())
            told = {
                "approve": lambda: run.approve(waiting.wait.token),
                "deny": lambda: run.deny(waiting.wait.token, "no"),
                "answer": lambda: run.answer(waiting.wait.token, "blue"),
                "abort": run.abort,
            }
            await told[said]()
        result = await soon(run.result())
    assert (result.status, result.denied) == (status, denied)
