"""The kit of `holdfast.journal.port`: every sentence of its docstrings, as a check.

    async def make(clock: Clock) -> Journal: ...   # each call opens the same store again

    for check in CHECKS:
        await check(make)                          # on a store that is empty before each check

A check raises `AssertionError` in words. It knows no test framework; any can run it.
"""

from __future__ import annotations

from holdfast.testing.conformance.checking import Check, Make
from holdfast.testing.conformance.journal_appending import APPENDING
from holdfast.testing.conformance.journal_erasing import ERASING
from holdfast.testing.conformance.journal_owning import OWNING
from holdfast.testing.conformance.journal_posting import POSTING
from holdfast.testing.conformance.journal_racing import RACING
from holdfast.testing.conformance.journal_reading import READING

__all__ = ("CHECKS", "Check", "Make")

CHECKS: tuple[Check, ...] = (*OWNING, *APPENDING, *POSTING, *READING, *ERASING, *RACING)
"""Every check, the quick ones first."""
