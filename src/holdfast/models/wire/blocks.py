"""The blocks of one answer, put together from their pieces.

Blocks may be open at the same time; an index says which one a piece belongs to, and an index that is used again means
a new block. Pieces of a kind that does not belong to their block say nothing. Kinds of block nobody here knows are
kept as nothing, so that the rest of the answer is read.

Invariants: the deltas joined are the message, so words of a block are held back while one of its kind that began
earlier is open; every call gets an id that is not empty, that
no other call of the answer or of the conversation has, and that depends on nothing but those two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from io import StringIO
from typing import final

from holdfast.models.wire.messages.shapes import Block, BlockDelta
from holdfast.types import CallDelta, CallId, Delta, Part, Text, TextDelta, Thinking, ThinkingDelta, ToolCall

__all__ = ("Blocks",)

_BLOCK_COST = 256
"""Characters a block counts for besides its own, so that empty blocks without number are bounded too."""


_SAID: Mapping[str, type[TextDelta | ThinkingDelta]] = {"text": TextDelta, "thinking": ThinkingDelta}
"""What the pieces of a block become that people read."""


class _Open:
    """One block so far."""

    __slots__ = ("held", "id", "input", "is_over", "kind", "name", "place", "redacted", "signature", "text")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.text = StringIO()
        """Words, reasoning or arguments."""
        self.held: list[str] = []
        """What of it was not said yet, because an earlier block of its kind is open."""
        self.is_over = False
        self.signature = ""
        self.redacted = ""
        self.id = CallId("")
        self.name = ""
        self.input = ""
        """Arguments that came with the beginning, to be taken when no others come."""
        self.place = 0
        """Which of the calls it is."""

    def part(self) -> Part | None:
        text = self.text.getvalue()
        if self.kind == "text":
            return Text(text) if text else None
        if self.kind == "tool_use":
            return ToolCall(self.id, self.name, text)
        if self.kind == "redacted_thinking":
            return Thinking("", redacted=self.redacted) if self.redacted else None
        if self.kind == "thinking":
            return Thinking(text, self.signature) if text or self.signature else None
        return None


@final
class Blocks:
    """Collects the blocks of one answer."""

    __slots__ = ("_all", "_by_index", "_name_of", "_open", "_taken", "_turn", "_unended", "_used", "calls", "size")

    def __init__(self, turn: int, taken: AbstractSet[str], name_of: Callable[[str], str]) -> None:
        self._turn = turn
        self._taken = taken
        self._name_of = name_of
        self._used: set[str] = set()
        self._all: list[_Open] = []
        self._unended: list[_Open] = []
        """Those that began since all were ended: ending all again and again must cost nothing."""
        self._by_index: dict[int, _Open] = {}
        self._open: dict[str, deque[_Open]] = {kind: deque() for kind in _SAID}
        """Those that are open, or wait for one that is, in their order."""
        self.calls = 0
        """How many of them are calls."""
        self.size = 0
        """How much they hold, in characters, rounded up for each block."""

    def begin(self, index: int, begun: Block, out: list[Delta]) -> None:
        """Opens a block and adds what it already says to `out`."""
        block = _Open(begun.type)
        self._by_index[index] = block
        self._all.append(block)
        self._unended.append(block)
        if block.kind in _SAID:
            self._open[block.kind].append(block)
        self.size += _BLOCK_COST
        if begun.type == "tool_use":
            self._call(block, begun, out)
            return
        if begun.type == "redacted_thinking":
            block.redacted = begun.data or ""
            self.size += len(block.redacted)
            return
        self._write(block, BlockDelta(begun.type + "_delta", begun.text, None, begun.thinking, begun.signature), out)
        if begun.type == "thinking" and begun.signature:
            self._sign(block, begun.signature)

    def more(self, index: int, delta: BlockDelta, out: list[Delta]) -> bool:
        """Adds a piece to its block and what it says to `out`; False when there is no such block."""
        block = self._by_index.get(index)
        if block is None:
            return False
        if delta.type == "signature_delta" and block.kind == "thinking":
            self._sign(block, delta.signature or "")
        else:
            self._write(block, delta, out)
        return True

    def close(self, index: int, out: list[Delta]) -> None:
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

    def _write(self, block: _Open, delta: BlockDelta, out: list[Delta]) -> None:
        if block.kind == "tool_use" and delta.type == "input_json_delta":
            text = delta.partial_json or ""
            if text:
                out.append(CallDelta(block.place, block.id, "", text))
        elif block.kind == "text" and delta.type == "text_delta":
            text = delta.text or ""
            self._say(block, text, out)
        elif block.kind == "thinking" and delta.type == "thinking_delta":
            text = delta.thinking or ""
            self._say(block, text, out)
        else:
            return
        block.text.write(text)
        self.size += len(text)

    def _say(self, block: _Open, text: str, out: list[Delta]) -> None:
        if not text:
            return
        if self._open[block.kind][0] is not block:
            block.held.append(text)
        else:
            out.append(_SAID[block.kind](text))

    def _sign(self, block: _Open, signature: str) -> None:
        self.size += len(signature) - len(block.signature)
        block.signature = signature

    def _call(self, block: _Open, begun: Block, out: list[Delta]) -> None:
        block.place = self.calls
        block.id = CallId(self._free_id(begun.id or ""))
        block.name = self._name_of(begun.name or "")
        given = bytes(begun.input)
        block.input = "{}" if given in (b"", b"null") else given.decode("utf-8", "replace")
        self._used.add(block.id)
        self.calls += 1
        self.size += len(block.id) + len(block.name) + len(block.input)
        out.append(CallDelta(block.place, block.id, block.name, ""))

    def _settle(self, block: _Open, out: list[Delta]) -> None:
        if block.is_over:
            return
        block.is_over = True
        if block.kind == "tool_use" and not block.text.tell():
            block.text.write(block.input)
            out.append(CallDelta(block.place, block.id, "", block.input))
        if block.kind in _SAID:
            waiting = self._open[block.kind]
            while waiting and waiting[0].is_over:
                waiting.popleft()
                if waiting and waiting[0].held:
                    out.append(_SAID[block.kind]("".join(waiting[0].held)))

    def _free_id(self, given: str) -> str:
        id, tries = given, 0
        while not id or id in self._used or id in self._taken:
            id = f"call_{self._turn}_{self.calls}" + (f"_{tries}" if tries else "")
            tries += 1
        return id
