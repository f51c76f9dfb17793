"""Names and ids as providers take them, and back.

A tool's name may hold what the protocol refuses; then it is sent under another name, which no other tool on offer
has, and comes back as it was. A call's id that came from another provider is sent as one that is allowed. Both depend
on nothing but the names: the same request gives the same bytes in every process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import final

__all__ = ("LONGEST_NAME", "Names", "free_id", "sent_id")

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OTHER = re.compile(r"[^a-zA-Z0-9_-]+")
_NO_START = "0123456789-"
LONGEST_NAME = 64
"""Characters of a tool's name that every provider takes; some take more."""


@final
class Names:
    """The names of the tools on offer."""

    __slots__ = ("_lead", "_longest", "_own", "_sent")

    def __init__(self, names: Iterable[str] = (), longest: int = LONGEST_NAME, lead: str = "") -> None:
        """Takes the names on offer; `longest` is how many characters the provider takes.

        Where a name has to begin with a letter or an underscore, `lead` goes before one that does not.
        """
        names = tuple(names)
        self._longest = longest
        self._lead = lead
        taken = {name for name in names if self._is_fit(name)}
        self._sent: dict[str, str] = {}
        for name in names:
            if name not in taken and name not in self._sent:
                self._sent[name] = _free(self._fitting(name), taken, longest)
                taken.add(self._sent[name])
        self._own = {sent: name for name, sent in self._sent.items()}

    def __eq__(self, other: object) -> bool:
        """Whether both send every name alike."""
        return isinstance(other, Names) and self._sent == other._sent

    __hash__ = None  # type: ignore[assignment] - compared, never kept in a set

    def sent(self, name: str) -> str:
        """Returns the name under which a tool, on offer or not, is sent."""
        return self._sent.get(name) or (name if self._is_fit(name) else self._fitting(name))

    def own(self, name: str) -> str:
        """Returns the name of the tool that the server calls so."""
        return self._own.get(name, name)

    def _is_fit(self, name: str) -> bool:
        if len(name) > self._longest or _NAME.fullmatch(name) is None:
            return False
        return not self._lead or name[0] not in _NO_START

    def _fitting(self, name: str) -> str:
        fit = _OTHER.sub("_", name).strip("_") or "tool"
        return (self._lead + fit if fit[0] in _NO_START else fit)[: self._longest]


def free_id(given: str, used: AbstractSet[str], taken: AbstractSet[str], turn: int, place: int) -> str:
    """Returns the id of an answer's call: the one that a server gave, or where that is none, or is used in the answer
    or taken in the conversation, one made of the turn and the call's place in it.
    """
    id, tries = given, 0
    while not id or id in used or id in taken:
        id = f"call_{turn}_{place}" + (f"_{tries}" if tries else "")
        tries += 1
    return id


def sent_id(id: str, longest: int = 64) -> str:
    """Returns the id under which a call is sent, of at most so many characters, 18 or more."""
    if len(id) <= longest and _ID.fullmatch(id):
        return id
    begin = _OTHER.sub("_", id)[: min(40, longest - 17)]
    return f"{begin}_{hashlib.sha256(id.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _free(name: str, taken: set[str], longest: int) -> str:
    number, free = 2, name
    while free in taken:
        end = f"_{number}"
        free = name[: longest - len(end)] + end
        number += 1
    return free
