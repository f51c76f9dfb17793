"""The tool that computes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.tools.builtin.knowing.arithmetic import LONGEST, evaluate
from holdfast.tools.declaring import tool
from holdfast.types import Governance, ToolResult

__all__ = ("calculator",)


@tool(
    effect="none",
    tier="direct",
    reference="builtin:calculator",
    governance=Governance(risk="low", operations=("read",)),
)
async def calculator(expression: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST)]) -> ToolResult:
    """Compute an expression exactly as Python does: whole numbers and decimals, + - * / // % **, parentheses, pi, e,
    tau, and functions such as sqrt, log, sin, floor, round, gcd, factorial. Use it instead of computing in your head.

    Args:
        expression: For example `150 * 223.48` or `sqrt(2) * (1 + 3)`.
    """
    value = str(evaluate(expression))
    return ToolResult(value, metadata={"ui": "calculation", "expression": expression, "value": value})
