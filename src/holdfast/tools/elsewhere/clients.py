"""Tools that whoever asked runs itself: a call of one is handed out, and what it came to is brought with an answer.

The run is parked meanwhile, as with every wait. Whoever listens to it finds the calls in its log (`tool.waiting`), and
answers under the token of each; it may also never come back, which a limit of time ends.
"""

from __future__ import annotations

from typing import Any

from holdfast.tools.binding import Tool, ToolContext
from holdfast.types import Effect, ToolSpec, Wait

__all__ = ("CLIENT", "client_tool", "handed_out")

CLIENT = "client:"
"""What references of such tools begin with: they are made again from the agent's spec."""
_UNBOUNDED = 2**31


def client_tool(name: str, description: str, parameters: dict[str, Any]) -> Tool:
    """Returns a tool of which a call is handed out; its arguments go along as the model wrote them, and what comes back
    is read whole.
    """
    return handed_out(
        ToolSpec(
            name=name,
            description=description,
            parameters=parameters,
            effect=Effect(outside="none"),  # to hand it out does nothing; what comes of it is not ours
            reference=f"{CLIENT}{name}",
            max_output=_UNBOUNDED,
        )
    )


def handed_out(spec: ToolSpec) -> Tool:
    """Returns the tool of a spec that was read from the log."""
    return Tool(spec=spec, parse=_as_it_is, run=_hand_out, tier="direct")


async def _hand_out(arguments: Any, context: ToolContext) -> Wait:
    return Wait(context.key, "callback", subject=CLIENT)


def _as_it_is(data: bytes) -> bytes:
    return data
