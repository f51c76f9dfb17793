"""The blocks of one answer, put together from their pieces, whatever the protocol calls them.

Blocks may be open at the same time; an index says which one a piece belongs to, and an index that is used again means
a new block. Pieces of a kind that does not belong to their block say nothing. Kinds of block nobody here knows are
kept as nothing, so that the rest of the answer is read.

Invariants: the deltas joined are the message, so words of a block are held back while one of its kind that began
earlier is open; every call gets an id that is not empty, that
no other call of the answer or of the conversation has, and that depends on nothing but those two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from collections.abc import Set as AbstractSet
from io import StringIO
from typing import Literal, final

from holdfast.errors import AnswerTooLarge
from holdfast.models.wire.naming import free_id
from holdfast.types import (
    CallDelta,
    CallId,
    Citation,
    Delta,
    Part,
    ProviderStep,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
)

__all__ = ("NO_LIMIT", "BlockKind", "Blocks")

NO_LIMIT = 2**62

BlockKind = Literal["text", "thinking", "redacted", "call", "step", "unknown"]

_BLOCK_COST = 256
"""Characters a block counts for besides its own, so that empty blocks without number are bounded too."""


_SAID: Mapping[str, type[TextDelta | ThinkingDelta]] = {"text": TextDelta, "thinking": ThinkingDelta}
"""What the pieces of a block become that people read."""


class _Open:
    """One block so far."""

    __slots__ = ("citations", "data", "given", "held", "id", "is_over", "kind", "name", "place", "signature", "text")

    def __init__(self, kind: BlockKind) -> None:
        self.kind: BlockKind = kind
        self.text = StringIO()
        """Words, reasoning, arguments, or what people see of a step."""
        self.held: list[str] = []
        """What of it was not said yet, because an earlier block of its kind is open."""
        self.is_over = False
        self.signature = ""
        self.data = ""
        """What only the provider can read."""
        self.citations: list[Citation] | None = None
        self.id = CallId("")
        self.name = ""
        self.given = ""
        """Arguments that came with the beginning, to be taken when no others come."""
        self.place = 0
        """Which of the calls it is."""

    def part(self) -> Part | None:
        text = self.text.getvalue()
        match self.kind:
            case "text":
                found = () if self.citations is None else tuple(dict.fromkeys(self.citations))
                return Text(text, self.signature, found) if text or self.signature else None
            case "call":
                return ToolCall(self.id, self.name, text, self.signature)
            case "thinking":
                return Thinking(text, self.signature) if text or self.signature else None
            case "redacted":
                return Thinking("", redacted=self.data) if self.data else None
            case "step":
                return ProviderStep(self.name, self.data, text) if self.data else None
            case "unknown":
                return None


@final
class Blocks:
    """Collects the blocks of one answer."""

    __slots__ = (
        "_all",
        "_by_index",
        "_limit",
        "_name_of",
        "_open",
        "_taken",
        "_turn",
        "_unended",
        "_used",
        "calls",
        "size",
    )

    def __init__(
        self, turn: int, taken: AbstractSet[str], name_of: Callable[[str], str] = str, limit: int = NO_LIMIT
    ) -> None:
        """Collects; new ids are made of `turn` and none of `taken`, and `name_of` gives tools their own names.

        No block begins when there are more than `limit` characters: one event may begin any number of them.
        """
        self._limit = limit
        self._turn = turn
        self._taken = taken
        self._name_of = name_of
        self._used: set[str] = set()
        self._all: list[_Open] = []
        self._unended: list[_Open] = []
        """Those that began since all were ended: ending all again and again must cost nothing."""
        self._by_index: dict[Hashable, _Open] = {}
        self._open: dict[str, deque[_Open]] = {kind: deque() for kind in _SAID}
        """Those that are open, or wait for one that is, in their order."""
        self.calls = 0
        """How many of them are calls."""
        self.size = 0
        """How much they hold, in characters, rounded up for each block."""

    def begin(self, index: Hashable, kind: BlockKind, *, name: str = "", data: str = "") -> None:
        """Opens a block; `name` and `data` are those of a step, or what is redacted."""
        block = self._begin(index, kind)
        block.name, block.data = name, data
        self.size += len(name) + len(data)
        if kind in _SAID:
            self._open[kind].append(block)

    def call(self, index: Hashable, id: str, name: str, out: list[Delta], given: str = "{}") -> None:
        """Opens a call and says so; without other arguments it has the `given` ones when it ends."""
        block = self._begin(index, "call")
        block.place = self.calls
        block.id = CallId(free_id(id, self._used, self._taken, self._turn, self.calls))
        block.name = self._name_of(name)
        block.given = given
        self._used.add(block.id)
        self.calls += 1
        self.size += len(block.id) + len(block.name) + len(given)
        out.append(CallDelta(block.place, block.id, block.name, ""))

    def has(self, index: Hashable) -> bool:
        """Whether a block with that index is open."""
        return index in self._by_index

    def more(self, index: Hashable, kind: BlockKind, text: str, out: list[Delta]) -> bool:
        """Adds a piece to its block, and what it says to `out`; False when there is no such block."""
        block = self._by_index.get(index)
        if block is None:
            return False
        if block.kind != kind or not text:
            return True
        if kind == "call":
            out.append(CallDelta(block.place, block.id, "", text))
        elif kind in _SAID:
            if self._open[kind][0] is not block:
                block.held.append(text)
            else:
                out.append(_SAID[kind](text))
        block.text.write(text)
        self.size += len(text)
        return True

    def sign(self, index: Hashable, signature: str) -> bool:
        """Gives a block what the provider wants back with it; False when there is no such block."""
        block = self._by_index.get(index)
        if block is not None:
            self.size += len(signature) - len(block.signature)
            block.signature = signature
        return block is not None

    def cite(self, index: Hashable, citation: Citation | None) -> None:
        """Adds where the words of a block come from; None adds nothing."""
        block = self._by_index.get(index)
        if block is not None and citation is not None:
            block.citations = block.citations or []
            block.citations.append(citation)
            self.size += len(citation.source) + len(citation.title) + len(citation.quote) + _BLOCK_COST

    def keep(self, index: Hashable, data: str) -> None:
        """Gives a step, or what is redacted, the whole of what the provider wants back."""
        block = self._by_index.get(index)
        if block is not None:
            self.size += len(data) - len(block.data)
            block.data = data

    def close(self, index: Hashable, out: list[Delta]) -> None:
        """Ends a block; arguments that came whole are said now that it is known that no others come."""
        block = self._by_index.pop(index, None)
        if block is not None:
            self._settle(block, out)

    def close_all(self, out: list[Delta]) -> None:
        """Ends what a server left open."""
        self._by_index.clear()
        for block in self._unended:
            self._settle(block, out)
        self._unended.clear()

    def parts(self) -> tuple[Part, ...]:
        """Returns what the blocks say, in the order they began."""
        return tuple([part for block in self._all if (part := block.part()) is not None])

    def _begin(self, index: Hashable, kind: BlockKind) -> _Open:
        block = _Open(kind)
        self._by_index[index] = block
        self._all.append(block)
        self._unended.append(block)
        self.size += _BLOCK_COST
        if self.size > self._limit:
            raise AnswerTooLarge(f"an answer of more than {self._limit} characters; ask for a shorter one")
        return block

    def _settle(self, block: _Open, out: list[Delta]) -> None:
        if block.is_over:
            return
        block.is_over = True
        if block.kind == "call" and not block.text.tell():
            block.text.write(block.given)
            out.append(CallDelta(block.place, block.id, "", block.given))
        if block.kind in _SAID:
            waiting = self._open[block.kind]
            while waiting and waiting[0].is_over:
                waiting.popleft()
                if waiting and waiting[0].held:
                    out.append(_SAID[block.kind]("".join(waiting[0].held)))
