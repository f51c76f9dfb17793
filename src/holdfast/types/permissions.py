"""What a person lets an agent do without being asked, and what a tool says of itself to whoever decides about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import msgspec

from holdfast.errors import UsageError

__all__ = ("MODES", "OPERATIONS", "RISKS", "Governance", "Mode", "Operation", "Risk", "texts")

Mode = Literal["read-only", "ask", "accept-edits", "auto"]
"""From strict to free: nothing that changes anything; every change is asked about; changes of the workspace, which can
be taken back, are not; nothing is."""

MODES: tuple[Mode, ...] = ("read-only", "ask", "accept-edits", "auto")
"""All of them, the strictest first."""

Risk = Literal["low", "medium", "high", "critical"]
"""How bad a wrong call would be."""
RISKS: tuple[Risk, ...] = get_args(Risk)

Operation = Literal["read", "write", "delete", "admin"]
"""What kind of thing a tool does, for rules about kinds of things."""
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class Governance(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What is asked about a tool when somebody decides whether it may be given, shared or called.

    Raises:
        UsageError: a word is none that there is.
    """

    risk: Risk = "low"
    capabilities: tuple[str, ...] = ()
    """Words of its author's own, each of which an agent with roles needs a permission for: `capability:<word>`."""
    operations: tuple[Operation, ...] = ()
    """The classes of what it does; see `classes`."""
    author: Literal["anyone", "admin"] = "anyone"
    """Who may give it to an agent that is kept."""
    shareable: bool = True
    """Whether an agent that has it may be shown to others than its author."""
    agents: tuple[str, ...] = ()
    """The agents that may call it, by name; empty for all."""

    def __post_init__(self) -> None:
        for name in ("capabilities", "operations", "agents"):
            if type(given := getattr(self, name)) is not tuple:
                msgspec.structs.force_setattr(self, name, texts(name, given))
        if self.risk not in RISKS:
            raise UsageError(f"there is no risk {self.risk!r}: write {', '.join(RISKS)}")
        if wrong := [each for each in self.operations if each not in OPERATIONS]:
            raise UsageError(f"there is no class of operations {wrong[0]!r}: write {', '.join(OPERATIONS)}")
        if self.author not in ("anyone", "admin"):
            raise UsageError(f"nobody is an author of the kind {self.author!r}: write anyone or admin")

    @property
    def classes(self) -> tuple[Operation, ...]:
        """The classes of what it does; where it says none, it reads, or with a high or critical risk writes."""
        if self.operations:
            return self.operations
        return ("write",) if self.risk in ("high", "critical") else ("read",)


def texts(name: str, given: Any) -> tuple[str, ...]:
    """Returns texts that were given for `name`.

    Raises:
        UsageError: it is one text, which would be taken for its letters, or no list, or holds what is no text.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UsageError(f"{name} is a list of texts, and this is {given!r}: write ({given!r},)")
    found = tuple(given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - looked at next
    if wrong := [each for each in found if not isinstance(each, str) or not each]:  # pyright: ignore
        raise UsageError(f"{name} has {wrong[0]!r} among its texts: leave it out")
    return found  # pyright: ignore[reportUnknownVariableType] - texts, all of them
