"""Agents whose runs park again and again: for an answer, for a person's word, for a child that waits itself."""

from __future__ import annotations

from holdfast import Agent, Limits, Wait, tool

__all__ = ("AGENT", "LIMITS", "MODE")


@tool(effect="none")
async def ask(token: str) -> Wait:
    """Asks the other process."""
    return Wait(token, "callback")


@tool(effect="keyed")
async def pay(token: str) -> str:
    """Does what a person has to allow."""
    return f"paid {token}"


HELPER = Agent("openai/helper", name="helper", tools=[ask])
AGENT = Agent("openai/scripted", tools=[ask, pay, HELPER.as_tool("help")])
LIMITS = Limits(steps=None, children=1_000_000)
MODE = "accept-edits"
