"""The tool calls of one answer, put together from their pieces.

Servers differ in how they mark which call a piece belongs to: an index, an id, both in every piece, or nothing but
the order. A piece that names a function again goes on with its call unless it cannot: another id, or a call that
is already a whole JSON object.

Invariants: every call gets an id that is not empty, that no other call of the answer or of the conversation has,
and that depends on nothing but the conversation and the answer; it is the same in the deltas and in the message.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from io import StringIO

import msgspec

from holdfast.errors import AnswerTooLarge
from holdfast.models.wire.blocks import NO_LIMIT
from holdfast.models.wire.chat.shapes import Fragment
from holdfast.models.wire.naming import free_id
from holdfast.types import CallDelta, CallId, Delta, ToolCall

__all__ = ("Calls",)

_CALL_COST = 256
"""Characters a call counts for besides its own, so that empty calls without number are bounded too."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Call:
    __slots__ = ("arguments", "given", "id", "name", "pieces", "place")

    def __init__(self, place: int, given: str, id: str, name: str) -> None:
        self.place = place
        self.given = given
        """The id the server gave, perhaps none, perhaps one that is taken."""
        self.id = CallId(id)
        self.name = name
        self.arguments = StringIO()
        self.pieces = 0

    def is_whole(self) -> bool:
        """Whether the only piece so far is all there can be."""
        if self.pieces != 1:
            return False
        try:
            _object.decode(self.arguments.getvalue())
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        return True


class Calls:
    """Collects the calls of one answer."""

    __slots__ = ("_all", "_by_given", "_by_index", "_limit", "_name_of", "_taken", "_turn", "_used", "size")

    def __init__(
        self, turn: int, taken: AbstractSet[str], name_of: Callable[[str], str] = str, limit: int = NO_LIMIT
    ) -> None:
        """Collects; new ids are made of `turn` and none of `taken`, and `name_of` gives tools their own names.

        No call begins when there are more than `limit` characters: one chunk may begin any number of them.
        """
        self._limit = limit
        self._name_of = name_of
        self._turn = turn
        self._taken = taken
        self._used: set[str] = set()
        self._all: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_given: dict[str, _Call] = {}
        self.size = 0
        """How much they hold, in characters, rounded up for each call."""

    def add(self, fragments: list[Fragment], out: list[Delta]) -> None:
        """Takes one chunk's pieces and adds what they say to `out`."""
        for position, fragment in enumerate(fragments):
            function = fragment.function
            name = arguments = ""
            if function is not None:
                name = function.name or ""
                arguments = function.arguments or ""
                if not isinstance(arguments, str):
                    arguments = msgspec.json.encode(arguments).decode()
            if name or fragment.index is None:
                call = self._known(fragment, name, arguments, position)
            else:
                call = self._by_index.get(fragment.index)
            said = ""
            if call is None:
                call = self._open(fragment, name)
                said = self._name_of(name) if name else ""
            elif name and not call.name:
                call.name = name
                said = self._name_of(name)
            elif not arguments:
                continue
            if arguments:
                call.arguments.write(arguments)
                call.pieces += 1
                self.size += len(arguments)
            out.append(CallDelta(call.place, call.id, said, arguments))

    def parts(self) -> list[ToolCall]:
        """Returns the calls, in the order they began."""
        return [ToolCall(call.id, self._name_of(call.name), call.arguments.getvalue()) for call in self._all]

    def _known(self, fragment: Fragment, name: str, arguments: str, position: int) -> _Call | None:
        """Returns the call a piece goes on with; None when it begins one."""
        if fragment.index is not None:
            call = self._by_index.get(fragment.index)
        elif fragment.id:
            call = self._by_given.get(fragment.id)
            if call is None and not name and self._all:
                call = self._all[-1]
        elif name and position:
            return None
        else:
            call = self._all[-1] if self._all else None
        if call is not None and name and _begins_another(call, fragment.id or "", name, arguments):
            return None
        return call

    def _open(self, fragment: Fragment, name: str) -> _Call:
        given = fragment.id or ""
        place = len(self._all)
        call = _Call(place, given, free_id(given, self._used, self._taken, self._turn, place), name)
        self._all.append(call)
        self._used.add(call.id)
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        if given:
            self._by_given[given] = call
        self.size += len(given) + len(name) + _CALL_COST
        if self.size > self._limit:
            raise AnswerTooLarge(f"calls of more than {self._limit} characters; ask for a shorter answer")
        return call


def _begins_another(call: _Call, id: str, name: str, arguments: str) -> bool:
    if id and call.given and id != call.given:
        return True
    if call.name and name != call.name:
        return True
    return bool(arguments.strip()) and call.is_whole()
