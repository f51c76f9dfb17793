"""The answers a run understands, and what a person is told about each."""

from __future__ import annotations

__all__ = ("ALWAYS", "DENY", "ONCE", "SAID", "UNASKED")

ONCE, ALWAYS, DENY = "once", "always", "deny"
"""A reason may stand behind the last one and a colon."""
UNASKED = "nobody could be asked"
"""The reason of a no that no person gave."""

SAID = {ONCE: ("✓ allowed once", "green"), ALWAYS: ("✓ allowed from now on", "green")}
"""What a person is told who allowed a call, and its colour."""
