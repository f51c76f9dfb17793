"""What a program may want to be told of, each of it optional: a runtime without any does none of this."""

from __future__ import annotations

import msgspec

from holdfast.runtime.delivering.auditing import Audit
from holdfast.runtime.delivering.port import Function
from holdfast.tools.hooks.port import ToolHooks

__all__ = ("Hooks",)


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """Functions that are told what happens, or asked. What they raise is kept from every run."""

    audit: Audit | None = None
    """Is told every event of every session of the tenant: each at least once, in the order of the log, also what
    happened before a crash."""
    delivery: Function | None = None
    """Is handed the result of every run that this runtime starts, at least once for each."""
    tools: ToolHooks | None = None
    """Are asked about every tool call of every run that is driven here, before and after it; these may refuse it."""
