"""What editing and reading cost at worst: time in proportion to the text, and an end when they are stopped."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.builtin.texts.replacing import Place, put
from holdfast.tools.builtin.texts.stored import pages_of
from holdfast.types import CallId, Digest, StreamId, ToolResult

MIB = 1 << 20


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


async def use(name: str, space: Workspace, stored: bytes = b"", **arguments: Any) -> ToolResult:
    async def load(digest: Digest) -> bytes:
        return stored

    made = BUILTIN[name]
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=space, stored=load)
    result = await made.run(made.parse(json.dumps(arguments).encode()), context)
    assert isinstance(result, ToolResult)
    return result


class Budget:
    """Processor time of all threads that what is inside may take, in seconds."""

    def __init__(self, most: float) -> None:
        self.most = most

    def __enter__(self) -> None:
        self.began = time.process_time()

    def __exit__(self, *raised: object) -> None:
        used = time.process_time() - self.began
        assert raised[0] is not None or used < self.most, f"{used:.1f} s of {self.most} s"


@pytest.mark.requirement("tools:edit-work-bounded")
@pytest.mark.parametrize("last", ["", "\r\n"])
async def test_replacing_everywhere_in_one_long_line_takes_the_time_of_its_length(space: Workspace, last: str) -> None:
    text = "var a=1;" * (3 * MIB // 8)
    (space.root / "min.js").write_text(text + last, newline="")
    with Budget(5):  # it took 20
        await use("edit", space, path="min.js", edits=[{"oldText": ";", "newText": ";\n", "replaceAll": True}])
    made = (space.root / "min.js").read_bytes().decode()
    assert made == text.replace(";", ";\r\n" if last else ";\n") + last


@pytest.mark.requirement("tools:edit-work-bounded")
async def test_looking_for_lines_with_other_line_ends_takes_the_time_of_the_text(space: Workspace) -> None:
    text = ("\n" * 4000 + "x") * 300
    (space.root / "f").write_bytes(f"{text}a\r\nb".encode())
    edits = [{"oldText": "\n" * 3999 + "xa\nb", "newText": "y\n"}]
    with Budget(5):  # a pattern tried 4,000 line ends at each of 1,200,000 places
        await use("edit", space, path="f", edits=edits)
    assert (space.root / "f").read_bytes() == f"{text[:-4000]}y\n".encode()


@pytest.mark.requirement("tools:edit-work-bounded")
async def test_a_text_that_stands_nowhere_is_looked_for_in_similar_lines_with_a_bound(space: Workspace) -> None:
    dice = random.Random(1)
    lines = ["".join(dice.choice("ab") for _ in range(199)) for _ in range(2000)]
    (space.root / "f").write_text("\n".join(lines))
    wanted = lines[1234][:100] + "c" + lines[1234][101:]
    with Budget(4), pytest.raises(ToolFailure, match=r"the nearest (is|are) line 1235: "):  # it took 13
        await use("edit", space, path="f", edits=[{"oldText": wanted, "newText": "x"}])
    (space.root / "f").write_text(" a\n" * 19_999)
    with Budget(4), pytest.raises(ToolFailure, match="not found"):
        await use("edit", space, path="f", edits=[{"oldText": "a\n" * 9_999 + "b", "newText": "x"}])


@pytest.mark.requirement("tools:edit-work-bounded")
async def test_an_edit_that_is_stopped_ends_and_changes_nothing(space: Workspace) -> None:
    (space.root / "f").write_text("ab" * MIB)
    edits = [{"oldText": "a", "newText": "c", "replaceAll": True}]
    call = asyncio.ensure_future(use("edit", space, path="f", edits=edits))
    for _ in range(3):
        await asyncio.sleep(0)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (space.root / "f").read_text() == "ab" * MIB


@pytest.mark.requirement("tools:edit-work-bounded")
def test_places_are_no_longer_filled_once_it_is_told_to_stop() -> None:
    stop, seen = threading.Event(), 0

    def places() -> Iterator[Place]:
        nonlocal seen
        for seen in range(1_000_000):
            if seen == 10_000:
                stop.set()
            yield seen, seen + 1

    put("a" * 1_000_000, places(), "b", stop)
    assert seen < 20_000


@pytest.mark.requirement("tools:output-overflow-blob")
async def test_a_long_line_that_is_kept_is_read_to_its_end_in_the_time_of_its_length(space: Workspace) -> None:
    data = b"0123456789abcdef" * MIB
    with Budget(2):  # it took 4
        result = await use("read", space, data, path="blob:x", offset=8000, limit=5)
    assert result.metadata["lineCount"] == 5
    with Budget(2):
        assert pages_of(b"\n" * (16 * MIB)).read() == b"\n" * (16 * MIB)


@pytest.mark.requirement("tools:output-overflow-blob")
@pytest.mark.parametrize("between", ["\n", "\f", "\u2028", "\r", "\r\n", ""])
async def test_all_of_what_is_kept_is_shown_however_its_lines_are_parted(space: Workspace, between: str) -> None:
    text = between.join(f"{number:04}" + "x" * (number % 2300) for number in range(0, 6000, 7))
    shown, offset = "", 1
    while True:
        result = await use("read", space, text.encode(), path="blob:x", offset=offset)
        page, _, note = result.content.partition("\n[lines ")
        assert "cut to" not in page
        shown += page
        offset += result.metadata["lineCount"]
        if not note:
            break
    assert shown.replace("\n", "") == text.replace("\n", "")


@pytest.mark.requirement("tools:output-overflow-blob")
def test_breaking_what_is_kept_ends_when_it_is_told_to_stop() -> None:
    stop = threading.Event()
    stop.set()
    assert pages_of(b"x" * MIB, stop).read() == b""
