"""What `read`, `write` and `edit` make of encodings, line ends and files that are no text, as a model meets them."""

from __future__ import annotations

import codecs
import io
import json
import re
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.builtin.texts.encodings import decode, encode
from holdfast.tools.builtin.texts.images import describe_image
from holdfast.tools.builtin.texts.paging import page_of, render_page
from holdfast.tools.builtin.texts.replacing import LineEnds, count_places, places_in, put
from holdfast.types import CallId, StreamId, ToolResult


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


async def use(space: Workspace, name: str, **arguments: Any) -> ToolResult:
    made = BUILTIN[name]
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=space)
    result = await made.run(made.parse(json.dumps(arguments).encode()), context)
    assert isinstance(result, ToolResult)
    json.dumps([result.content, result.metadata], ensure_ascii=False).encode()
    return result


async def fail(space: Workspace, name: str, **arguments: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await use(space, name, **arguments)
    json.dumps([str(caught.value), caught.value.metadata], ensure_ascii=False).encode()
    return caught.value


def change(old: str, new: str, **more: bool) -> dict[str, Any]:
    return {"oldText": old, "newText": new, **more}


# edit


@pytest.mark.requirement("tools:edit-everywhere")
async def test_every_occurrence_is_replaced_when_that_is_asked_for(space: Workspace) -> None:
    (space.root / "f").write_text("one two one\ntwo one\n")
    result = await use(space, "edit", path="f", edits=[change("one", "1", replaceAll=True), change("1\ntwo", "x")])
    assert (space.root / "f").read_text() == "1 two x 1\n"
    assert result.content == "Applied 2 edit(s) to f"
    assert (result.metadata["ui"], result.metadata["editCount"]) == ("diff", 2)
    await use(space, "edit", path="f", edits=[change("x", "x", replaceAll=True)])
    assert "not found" in str(await fail(space, "edit", path="f", edits=[change("gone", "x", replaceAll=True)]))
    (space.root / "f").write_text("aaaa")
    assert "set replaceAll" in str(await fail(space, "edit", path="f", edits=[change("aa", "b")]))
    await use(space, "edit", path="f", edits=[change("aa", "b", replaceAll=True)])
    assert (space.root / "f").read_text() == "bb"


async def test_an_edit_that_would_make_the_file_immense_is_refused(space: Workspace) -> None:
    (space.root / "f").write_text("a" * 1_000_000)
    error = await fail(space, "edit", path="f", edits=[change("a", "b" * 1000, replaceAll=True)])
    assert "would get longer" in str(error)
    assert (space.root / "f").stat().st_size == 1_000_000


@pytest.mark.parametrize(
    ("text", "encoding", "mark"),
    [
        ("é one\r\ntwo\r\n", "utf-8", codecs.BOM_UTF8),
        ("é one 😀\r\ntwo\r\n", "utf-16-le", codecs.BOM_UTF16_LE),
        ("é one\ntwo", "utf-16-be", codecs.BOM_UTF16_BE),
        ("é one\ntwo", "utf-32-le", codecs.BOM_UTF32_LE),
    ],
)
@pytest.mark.requirement("tools:encodings-kept")
async def test_a_marked_file_is_read_edited_and_written_in_its_encoding(
    space: Workspace, text: str, encoding: str, mark: bytes
) -> None:
    file = space.root / "f"
    file.write_bytes(mark + text.encode(encoding))
    assert (await use(space, "read", path="f")).content == text
    await use(space, "edit", path="f", edits=[change("one", "ö\nn"), change("two", "2")])
    ended = "ö\r\nn" if "\r" in text else "ö\nn"
    assert file.read_bytes() == mark + text.replace("one", ended).replace("two", "2").encode(encoding)
    result = await use(space, "write", path="f", content="\ufeffall é\n")
    assert file.read_bytes() == mark + "all é\n".encode(encoding)
    size = len(file.read_bytes())
    assert (result.content, result.metadata["size"]) == (f"Wrote {size} bytes to f", size)
    file.write_bytes(b"plain")
    await use(space, "write", path="f", content="é")
    assert file.read_bytes() == "é".encode()


@pytest.mark.parametrize(
    ("data", "old", "new", "result"),
    [
        (b"a\r\nb\nc\r\nd\r\n", "b\nc\nd", "x\ny", b"a\r\nx\ny\r\n"),
        (b"a\r\nb\nc\r\nd\r\n", "c\nd", "x\ny", b"a\r\nb\nx\r\ny\r\n"),
        (b"a\r\nb\nc\r\nd\r\n", "c", "x\ny", b"a\r\nb\nx\r\ny\r\nd\r\n"),
        (b"a\r\nb\nc\r\nd\r\n", "b", "x\ny", b"a\r\nx\ny\nc\r\nd\r\n"),
        (b"a\r\nb\nc\r\nd", "d", "x\r\ny", b"a\r\nb\nc\r\nx\r\ny"),
        (b"a\nb\r\nc", "c", "x\ny", b"a\nb\r\nx\r\ny"),
        (b"a\rb\r\n", "a\rb", "c", b"c\r\n"),
        (b"caf\xe9 one\n\xff\xfe", "one", "tw\u00f6", b"caf\xe9 tw\xc3\xb6\n\xff\xfe"),
        (b"a\0b", "b", "c", b"a\0c"),
    ],
)
@pytest.mark.requirement("tools:encodings-kept")
async def test_mixed_line_ends_and_bytes_that_are_no_text_stay(
    space: Workspace, data: bytes, old: str, new: str, result: bytes
) -> None:
    (space.root / "f").write_bytes(data)
    await use(space, "edit", path="f", edits=[change(old, new)])
    assert (space.root / "f").read_bytes() == result


async def test_what_only_begins_like_another_encoding_is_left_alone(space: Workspace) -> None:
    data = codecs.BOM_UTF16_LE + b"abc"
    (space.root / "f").write_bytes(data)
    assert "begins like utf-16-le" in str(await fail(space, "edit", path="f", edits=[change("a", "b")]))
    assert (space.root / "f").read_bytes() == data


@pytest.mark.parametrize("edits", [[change("a", "\ud800")], [change("\udcff", "b")]])
async def test_half_a_character_is_no_text_to_look_for_or_to_write(space: Workspace, edits: Any) -> None:
    (space.root / "f").write_bytes(b"a\xff")
    parse = BUILTIN["edit"].parse
    try:
        parse(json.dumps({"path": "f", "edits": edits}).encode())
    except ValueError:
        return  # refused before anything runs
    assert "half a character" in str(await fail(space, "edit", path="f", edits=edits))
    assert (space.root / "f").read_bytes() == b"a\xff"


async def test_a_missed_text_is_answered_with_the_lines_that_come_near(space: Workspace) -> None:
    (space.root / "f").write_text("def first(value):\n    pass\n\ndef second(value):\n    pass\ncaf\n")
    error = await fail(space, "edit", path="f", edits=[change("def frist(valeu):", "x")])
    assert "the nearest are line 1: 'def first(value):', line 4: 'def second(value):'" in str(error)


@given(st.binary(max_size=60))
@pytest.mark.requirement("tools:encodings-kept")
def test_every_file_is_made_of_its_text_again(data: bytes) -> None:
    for mark in (b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        try:
            text, encoding = decode(mark + data)
        except UnicodeDecodeError:
            assert mark not in (b"", codecs.BOM_UTF8) or data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            continue
        assert encode(text, encoding) == mark + data
        ends = LineEnds(text)
        assert ends.own(ends.plain(text)) == text


SIGNS = st.lists(st.sampled_from(["a", "b", "\n", "\r\n", "\r", "x"]), max_size=12).map("".join)


@given(SIGNS, SIGNS.filter(bool), SIGNS)
@pytest.mark.requirement("tools:encodings-kept")
def test_outside_of_what_is_replaced_nothing_changes(text: str, old: str, new: str) -> None:
    places = list(places_in(text, old))
    parts = [
        text[a:b]
        for a, b in zip([0, *(end for _, end in places)], [*(start for start, _ in places), None], strict=True)
    ]
    result = put(text, places, new)
    shape = re.escape(new).replace(re.escape("\n"), "\r?\n") if "\r\n" not in new else re.escape(new)
    assert re.fullmatch(shape.join(map(re.escape, parts)), result)
    assert all(text[start:end].replace("\r\n", "\n") == old.replace("\r\n", "\n") for start, end in places)
    assert count_places(text, old) == len(places)


@given(SIGNS, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))), SIGNS.filter(bool))
@pytest.mark.requirement("tools:encodings-kept")
def test_each_place_gets_the_line_ends_next_to_it(text: str, cuts: list[tuple[int, int]], new: str) -> None:
    marks = sorted({min(at, len(text)) for cut in cuts for at in cut})
    places = list(zip(marks[::2], marks[1::2], strict=False))
    expected, done = "", 0
    for start, end in places:
        feed = text.find("\n", start)
        feed = feed if feed >= 0 else text.rfind("\n", 0, start)
        windows = feed > 0 and text[feed - 1] == "\r" and "\r\n" not in new
        expected += text[done:start] + (new.replace("\n", "\r\n") if windows else new)
        done = end
    assert put(text, places, new) == expected + text[done:]


# read


def picture(width: int, height: int) -> bytes:
    """A whole PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(width)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.requirement("tools:read-images")
async def test_a_picture_is_named_with_its_kind_and_size(space: Workspace) -> None:
    data = picture(640, 480)
    (space.root / "p").write_bytes(data)
    assert f"'p' is a PNG image of 640 x 480 pixels, {len(data)} bytes," in str(await fail(space, "read", path="p"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a" + struct.pack("<HH", 3, 4), "GIF image of 3 x 4 pixels"),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc2\0\x11\x08" + struct.pack(">HH", 4, 3), "JPEG image of 3 x 4 pixels"),
        (b"\xff\xd8\xff\xe0\xff\xff", "JPEG image"),
        (b"\xff\xd8\xff", "JPEG image"),
        (b"RIFF....WEBPVP8X........" + b"\x02\0\0\x03\0\0", "WebP image of 3 x 4 pixels"),
        (b"RIFF....WEBPVP8L....\x2f" + struct.pack("<I", 2 | 3 << 14), "WebP image of 3 x 4 pixels"),
        (b"RIFF....WEBPVP8 ....abc\x9d\x01\x2a" + struct.pack("<HH", 3, 4), "WebP image of 3 x 4 pixels"),
        (b"BM....\0\0\0\0........" + struct.pack("<ii", 3, -4), "BMP image of 3 x 4 pixels"),
        (b"\x89PNG\r\n\x1a\n", "PNG image"),
        (b"BMW is no picture", ""),
        (b"\x7fELF", ""),
    ],
)
def test_pictures_are_told_by_their_first_bytes(data: bytes, words: str) -> None:
    assert describe_image(data) == words


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF....WEBP", b"\x89PNG\r\n\x1a\n"]),
)
def test_no_bytes_confuse_what_tells_pictures(data: bytes, start: bytes) -> None:
    describe_image(start + data)


def test_a_page_is_read_from_anything_that_gives_bytes() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 7))

    text = "".join(f"line {n} é\n" for n in range(3000))
    for source in (
        io.BytesIO(text.encode()),
        Trickle(text.encode()),
        Trickle(codecs.BOM_UTF16_BE + text.encode("utf-16-be")),
    ):
        page = page_of(source, offset=2990, limit=5, stop=threading.Event())
        assert page is not None
        assert render_page(page, 2990).startswith("line 2989 é\nline 2990 é\n")
        assert (len(page.lines), page.more) == (5, True)
    assert page_of(Trickle(b"x" * 5000 + b"\0"), offset=1, limit=1, stop=threading.Event()) is None


@pytest.mark.requirement("tools:read-bounded")
def test_a_source_without_end_has_an_end_when_it_is_told_to_stop_or_how_long_it_is() -> None:
    class Endless:
        def __init__(self, data: bytes, stop_after: int) -> None:
            self.data, self.left, self.stop = data, stop_after, threading.Event()

        def read(self, size: int, /) -> bytes:
            self.left -= 1
            if self.left == 0:
                self.stop.set()
            return (self.data * size)[:size]

    for data in (b"x", b"y\n"):
        endless = Endless(data, 50)
        page = page_of(endless, offset=10**12, limit=1, stop=endless.stop)
        assert page is not None
        assert (page.lines, endless.left) == ([], 0)
        bounded = Endless(data, -1)
        page = page_of(bounded, offset=10**12, limit=1, stop=bounded.stop, most=10_000_000)
        assert page is not None
        assert page.lines == []
