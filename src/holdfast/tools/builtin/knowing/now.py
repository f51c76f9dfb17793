"""The tool that tells the time, by the run's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import msgspec

from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.declaring import tool
from holdfast.types import Governance, ToolResult

__all__ = ("now",)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@tool(effect="none", tier="direct", reference="builtin:now", governance=Governance(risk="low", operations=("read",)))
def now(
    context: ToolContext, timezone: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "UTC"
) -> ToolResult:
    """Tell the date, the weekday and the time.

    Args:
        context: Where the call runs.
        timezone: Whose time: an IANA name such as Europe/Berlin.
    """
    metadata = {"ui": "clock", "timezone": timezone}
    try:
        zone = UTC if timezone.upper() == "UTC" else ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):  # unknown, no name of a zone, or a folder of them
        text = (
            f"There is no time zone {timezone!r}: give an IANA name such as Europe/Berlin or America/New_York, or UTC."
        )
        raise ToolFailure(text, code="invalid_input", metadata=metadata) from None
    # Computed from the epoch: `fromtimestamp` takes a float, which cannot hold every microsecond.
    there = (_EPOCH + timedelta(microseconds=context.now())).astimezone(zone)
    said = there.isoformat(timespec="seconds")
    return ToolResult(f"{_DAYS[there.weekday()]}, {said} ({timezone})", metadata={**metadata, "time": said})
