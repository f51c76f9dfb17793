"""Responses: answers that are kept, and can be asked for, gone on with, and told again from any event.

Purpose: the routes of OpenAI's Responses.
Knows: what all protocols share (`turns`), the wire of this one.
Must not know: the other protocols.
Start reading at: `creating.py`, then `stored.py`.
"""

from __future__ import annotations

from holdfast.server.doors.models.responses.creating import ROUTES

__all__ = ("ROUTES",)
