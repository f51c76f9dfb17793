"""Five hundred tools that really are there, in this process and in any other."""

from __future__ import annotations

from holdfast import tool
from holdfast.tools.binding import Tool

__all__ = ("CALLED", "TOOLS")

CALLED: list[str] = []
"""What was called in this process, with its argument."""
_VERBS = ("create", "update", "delete", "list", "read", "search", "assign", "close", "archive", "export")
_NOUNS = (
    "issue ticket invoice customer order shipment user group channel message calendar event repository branch commit "
    "pipeline build deployment server database table row bucket file folder document sheet slide contact lead deal "
    "campaign email template report dashboard metric alert incident runbook secret policy role token webhook zone "
    "domain certificate queue topic"
)


def _made(verb: str, noun: str) -> Tool:
    name = f"{verb}_{noun}"

    async def run(identifier: str, note: str = "") -> str:
        CALLED.append(f"{name} {identifier}")
        return f"{name} did {identifier} {note}".strip()

    return tool(
        name=name,
        description=(
            f"{verb.title()} {noun}s of the workspace. Takes the identifier of the {noun} and returns what became of "
            "it. The note is kept with it."
        ),
        effect="none",
        reference=f"{__name__}:{name}",
    )(run)


TOOLS: tuple[Tool, ...] = tuple(_made(verb, noun) for noun in _NOUNS.split() for verb in _VERBS)
globals().update({each.spec.name: each for each in TOOLS})
