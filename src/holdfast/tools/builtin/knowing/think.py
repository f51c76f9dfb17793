"""The tool for a thought: it does nothing, and what was thought stands in the call."""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.tools.declaring import tool
from holdfast.types import Governance, ToolResult

__all__ = ("think",)


@tool(effect="none", tier="direct", reference="builtin:think", governance=Governance(risk="low", operations=("read",)))
async def think(thought: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]) -> ToolResult:
    """Think something through before you go on: weigh what you found, check a plan against what was asked. It changes
    nothing and finds out nothing new.

    Args:
        thought: What you think.
    """
    return ToolResult("Noted. Go on.", metadata={"ui": "thought", "length": len(thought)})
