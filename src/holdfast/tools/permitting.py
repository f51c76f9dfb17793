"""What a call may do without a person's word: the mode a person picked, against the call's effect.

    mode           nothing changes    workspace alone    anything outside    only sends
    read-only      runs               is denied          is denied           is asked about
    ask            runs               is asked about     is asked about      is asked about
    accept-edits   runs               runs               is asked about      is asked about
    auto           runs               runs               runs                runs

What a person answers is bound to the digest of the call as it was asked about: tool, arguments, effect, the mode, the
rule of a policy or a hook that has it asked about, and the version of this table. When one of them is another by the
time the call is admitted again, it is asked again.

Not here: roles, scopes, lists of tools (`authorising/`, which can only forbid, or have more asked about).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.types import Digest, Effect, Mode, Outside, ToolCall, ToolSpec, digest_of

__all__ = ("Rules", "bound_to", "granted", "in_short", "judge")

_VERSION = 3
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


def granted(spec: ToolSpec, effect: Effect, rule: str = "") -> Digest:
    """Returns what `always` allows: this tool, not another one that an agent calls the same, with this effect, and as
    far as this `rule` goes that has it asked about.
    """
    return digest_of(msgspec.json.encode((spec.name, spec.reference, effect, rule, _VERSION)))


def in_short(arguments: str) -> str:
    """Returns a call's arguments for a person's eye: every one of them, of long ones the beginning and the end, and
    what nobody would see, or would see elsewhere, by its number.
    """
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
    if left_out > 0:
        text = f"{text[:_SHOWN]} [… {left_out} characters …] {text[-_SHOWN:]}"
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


def bound_to(name: str, call: ToolCall, spec: ToolSpec, mode: Mode, effect: Effect, rule: str = "") -> Digest:
    """Returns what an answer about a call is bound to; `name` tells the call from every other of its session."""
    bound = (name, call.name, call.arguments, spec.reference, effect, mode, rule, _VERSION)
    return digest_of(msgspec.json.encode(bound, order="sorted"))
