"""Whether somebody hears what was said to a session, and the words of a command line as a log can hold them."""

from __future__ import annotations

import asyncio

from holdfast.runtime.speaking import Receipt

__all__ = ("heard", "said")

_MOMENT = 1.5
"""Seconds in which whoever drives a session, or waits for it, hears what was said."""


async def heard(receipt: Receipt) -> bool:
    """Returns whether whoever drives the session takes something up within a moment."""
    try:
        async with asyncio.timeout(_MOMENT):
            await receipt.committed()
    except TimeoutError:
        return False
    return True


def said(given: str) -> str:
    """Returns an argument as text that the log can hold: its bytes may be no UTF-8."""
    return given.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
