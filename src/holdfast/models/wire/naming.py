"""Names and ids as the protocol takes them, and back.

A tool's name may hold what the protocol refuses; then it is sent under another name, which no other tool on offer
has, and comes back as it was. A call's id that came from another provider is sent as one that is allowed. Both depend
on nothing but the names: the same request gives the same bytes in every process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import final

__all__ = ("Names", "sent_id")

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OTHER = re.compile(r"[^a-zA-Z0-9_-]+")
_LONGEST_NAME = 128


@final
class Names:
    """The names of the tools on offer."""

    __slots__ = ("_own", "_sent")

    def __init__(self, names: Iterable[str] = ()) -> None:
        names = tuple(names)
        taken = {name for name in names if _NAME.fullmatch(name)}
        self._sent: dict[str, str] = {}
        for name in names:
            if name not in taken and name not in self._sent:
                self._sent[name] = _free(_fitting(name), taken)
                taken.add(self._sent[name])
        self._own = {sent: name for name, sent in self._sent.items()}

    def __eq__(self, other: object) -> bool:
        """Whether both send every name alike."""
        return isinstance(other, Names) and self._sent == other._sent

    __hash__ = None  # type: ignore[assignment] - compared, never kept in a set

    def sent(self, name: str) -> str:
        """Returns the name under which a tool, on offer or not, is sent."""
        return self._sent.get(name) or (name if _NAME.fullmatch(name) else _fitting(name))

    def own(self, name: str) -> str:
        """Returns the name of the tool that the server calls so."""
        return self._own.get(name, name)


def sent_id(id: str) -> str:
    """Returns the id under which a call is sent."""
    if _ID.fullmatch(id):
        return id
    return f"{_OTHER.sub('_', id)[:40]}_{hashlib.sha256(id.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _fitting(name: str) -> str:
    return _OTHER.sub("_", name).strip("_")[:_LONGEST_NAME] or "tool"


def _free(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        end = f"_{number}"
        free = name[: _LONGEST_NAME - len(end)] + end
        number += 1
    return free
