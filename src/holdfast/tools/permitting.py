"""What a call may do without a person's word: the mode a person picked, against the call's effect.

    mode           nothing changes    workspace alone    anything outside
    read-only      runs               is denied          is denied
    ask            runs               is asked about     is asked about
    accept-edits   runs               runs               is asked about
    auto           runs               runs               runs

What a person answers is bound to the digest of the call as it was asked about: tool, arguments, effect, the mode, and
the version of this table. When one of them is another by the time the call is admitted again, it is asked again.

Not here: roles, scopes, lists of tools (they come before this, and can only forbid).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.types import Digest, Effect, Mode, Outside, ToolCall, ToolSpec, digest_of

__all__ = ("Rules", "bound_to", "judge")

_VERSION = 1


class Rules(msgspec.Struct, frozen=True, gc=False):
    """What a run's user decided beforehand."""

    mode: Mode = "auto"
    unattended: bool = False
    """Whether nobody can be asked."""
    effects: dict[str, Outside] = {}
    """What calls of a tool do outside, by its name, where the user knows better."""


def judge(mode: Mode, effect: Effect) -> Literal["allow", "ask", "deny"]:
    """Returns what becomes of a call with this effect."""
    if mode == "auto" or (effect.outside == "none" and not effect.workspace):
        return "allow"
    if mode == "read-only":
        return "deny"
    return "allow" if mode == "accept-edits" and effect.outside == "none" else "ask"


def bound_to(name: str, call: ToolCall, spec: ToolSpec, mode: Mode, effect: Effect) -> Digest:
    """Returns what an answer about a call is bound to; `name` tells the call from every other of its session."""
    return digest_of(
        msgspec.json.encode((name, call.name, call.arguments, spec.reference, effect, mode, _VERSION), order="sorted")
    )
