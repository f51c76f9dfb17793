"""Agents whose model writes scripts, for processes that are killed in the middle of one."""

from __future__ import annotations

import os
from pathlib import Path

from tests.running import MODEL

from holdfast import Agent, tool

__all__ = ("AGENT", "CODE")

CODE = """
said = [call("mark", name="a")]
said.append(llm_call("one"))
said += [each["text"] for each in llm_batch(["two", "three", "four"])]
said.append(call("mark", name="b"))
said.append(llm_call("five"))
said.append(call("stumble"))
import random
result = said + [random.random()]
"""


@tool
def mark(name: str) -> str:
    """Writes down that it was called; not to be done twice."""
    with Path(os.environ["MARKS"]).open("a") as file:
        file.write(f"{name}\n")
    return f"marked {name}"


@tool(effect="none")
def stumble() -> str:
    """Dies, once."""
    stone = Path(os.environ["STONE"])
    if stone.exists():
        stone.unlink()
        os._exit(9)
    return "walked"


AGENT = Agent(MODEL, tools=["script", mark, stumble])
