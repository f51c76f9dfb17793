"""The tool that cites: only what the run has touched, so that no address is made up.

What was touched is what the log says: what `fetch` read, under the address it was asked for and the one that answered,
and what `web_search` found. A hit counts although nobody opened it: its title and snippet were read. What failed does
not count, nor what another session read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from holdfast.tools.binding import ToolContext
from holdfast.tools.builtin.knowing.addresses import place_of
from holdfast.tools.declaring import tool
from holdfast.types import Governance, ToolError, ToolResult

__all__ = ("cite",)

_REASON: Final = "url_not_in_run_history"


@tool(effect="none", tier="direct", reference="builtin:cite", governance=Governance(risk="low", operations=("read",)))
async def cite(
    context: ToolContext,
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=8192)],
    title: Annotated[str, msgspec.Meta(max_length=500)] = "",
    quote: Annotated[str, msgspec.Meta(max_length=4000)] = "",
) -> ToolResult:
    """Cite a source of what you say. It works only for an address that this run has fetched, or that a search of this
    run has found; for any other the answer is {"ok": false, "reason": "url_not_in_run_history"}: fetch it first.

    Args:
        context: Where the call runs.
        url: The address of the source.
        title: What the source is called.
        quote: The words of the source that you mean.
    """
    touched = context.touched
    # Most are cited as they were read; spellings are compared beside the event loop, since there may be thousands.
    if url not in touched and not await asyncio.to_thread(_has, tuple(touched), url):
        said = msgspec.json.encode({"ok": False, "reason": _REASON, "url": url}).decode()
        return ToolResult(said, ToolError("invalid_input", _REASON), {"ui": "citation", "url": url, "ok": False})
    cited = {"ok": True, "url": url, **({"title": title} if title else {}), **({"quote": quote} if quote else {})}
    return ToolResult(msgspec.json.encode(cited).decode(), metadata={"ui": "citation", **cited})


def _has(touched: Sequence[str], url: str) -> bool:
    place = place_of(url)
    return bool(place) and any(place_of(each) == place for each in touched)
