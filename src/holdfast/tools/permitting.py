"""What a call may do without a person's word: the mode a person picked, against the call's effect.

    mode           nothing changes    workspace alone    anything outside    only sends
    read-only      runs               is denied          is denied           is asked about
    ask            runs               is asked about     is asked about      is asked about
    accept-edits   runs               runs               is asked about      is asked about
    auto           runs               runs               runs                runs

What a person answers is bound to the digest of the call as it was asked about: tool, arguments, effect, the mode, and
the version of this table. When one of them is another by the time the call is admitted again, it is asked again.

Not here: roles, scopes, lists of tools (they come before this, and can only forbid).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.types import Digest, Effect, Mode, Outside, ToolCall, ToolSpec, digest_of

__all__ = ("Rules", "bound_to", "granted", "in_short", "judge")

_VERSION = 2
_SHOWN = 400
"""Characters of each end of a long argument that a person gets to read at once."""


class Rules(msgspec.Struct, frozen=True, gc=False):
    """What a run's user decided beforehand."""

    mode: Mode = "auto"
    unattended: bool = False
    """Whether nobody can be asked."""
    effects: dict[str, Outside] = {}
    """What calls of a tool do outside, by its name, where the user knows better."""
    patience: float | None = None
    """Seconds a person has to answer; None for ever."""


def judge(mode: Mode, effect: Effect) -> Literal["allow", "ask", "deny"]:
    """Returns what becomes of a call with this effect."""
    changes = effect.workspace or effect.outside != "none"
    if mode == "auto" or not (changes or effect.sends):
        return "allow"
    if mode == "read-only" and changes:
        return "deny"
    return "allow" if mode == "accept-edits" and effect.outside == "none" and not effect.sends else "ask"


def granted(spec: ToolSpec, effect: Effect) -> Digest:
    """Returns what `always` allows: this tool, not another one that an agent calls the same, and with this effect."""
    return digest_of(msgspec.json.encode((spec.name, spec.reference, effect, _VERSION)))


def in_short(arguments: str) -> str:
    """Returns a call's arguments for a person's eye: every one of them, of long ones the beginning and the end."""
    try:
        given = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return _ends(arguments)
    return ", ".join(
        f"{_ends(name)}: {_ends(value if isinstance(value, str) else msgspec.json.encode(value).decode())}"
        for name, value in given.items()
    )


def _ends(text: str) -> str:
    left_out = len(text) - 2 * _SHOWN
    return text if left_out <= 0 else f"{text[:_SHOWN]} [… {left_out} characters …] {text[-_SHOWN:]}"


def bound_to(name: str, call: ToolCall, spec: ToolSpec, mode: Mode, effect: Effect) -> Digest:
    """Returns what an answer about a call is bound to; `name` tells the call from every other of its session."""
    return digest_of(
        msgspec.json.encode((name, call.name, call.arguments, spec.reference, effect, mode, _VERSION), order="sorted")
    )
