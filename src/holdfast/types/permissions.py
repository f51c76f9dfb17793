"""What a person lets an agent do without being asked."""

from __future__ import annotations

from typing import Literal

__all__ = ("MODES", "Mode")

Mode = Literal["read-only", "ask", "accept-edits", "auto"]
"""From strict to free: nothing that changes anything; every change is asked about; changes of the workspace, which can
be taken back, are not; nothing is."""

MODES: tuple[Mode, ...] = ("read-only", "ask", "accept-edits", "auto")
"""All of them, the strictest first."""
