"""How answers, results and figures look: cut where they may be cut, drawn once, and harmless."""

from __future__ import annotations

import gc
import io
import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from holdfast.cli.rendering.answer import Answer
from holdfast.cli.rendering.blocks import Block, Blocks
from holdfast.cli.rendering.cards import card
from holdfast.types import CallId, ToolCall, ToolError, ToolResult

PIECES = ["# Head\n", "some *words*", "\n", "\n\n", "- item\n", "  more\n", "1. one\n", "```py\n", "x = 1\n", "```\n"]
MORE = ["| a |\n|---|\n| 1 |\n", "> quote\n", "    code\n", "~~~\n", "\r\n", "\x1b[2J", "---\n"]


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, highlight=False)


def written(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def blocks(text: str, cuts: list[int]) -> list[Block]:
    into = Blocks()
    found: list[Block] = []
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for begin, end in pairwise(places):
        found += into.feed(text[begin:end])
    return found + into.end()


@pytest.mark.requirement("cli:streaming-markdown")
@given(st.lists(st.sampled_from(PIECES + MORE), max_size=40), st.lists(st.integers(0, 2000), max_size=30))
@settings(max_examples=200, deadline=None)
def test_blocks_do_not_depend_on_how_the_text_arrives_and_lose_nothing(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    found = blocks(text, cuts)
    assert found == blocks(text, [])
    assert "".join("".join(block.text for block in found).split()) == "".join(text.split())


@pytest.mark.requirement("cli:streaming-markdown")
def test_what_is_finished_is_drawn_at_once_and_what_is_open_is_not() -> None:
    on = console()
    answer = Answer(on)
    answer.feed("First paragraph.\n\n")
    assert "First" not in written(on)  # whether it goes on is known when the next line begins
    answer.feed("Second par")
    assert "First paragraph." in written(on)
    assert "Second" not in written(on)
    answer.feed("agraph\n\nThird")
    assert written(on).count("First paragraph.") == 1
    assert written(on).count("Second paragraph") == 1
    assert [line.plain for line in answer.preview(5)] == ["Third"]
    answer.finish("First paragraph.\n\nSecond paragraph\n\nThird **one**.")
    assert re.sub(r"\x1b\[[0-9;]*m", "", written(on)) == "\nFirst paragraph.\n\nSecond paragraph\n\nThird one.\n"


@pytest.mark.requirement("cli:streaming-markdown")
def test_an_answer_that_starts_again_is_drawn_once_and_another_one_is_said_to_be_one() -> None:
    on = console()
    answer = Answer(on)
    answer.feed("One.\n\nTwo.\n\nThr")
    answer.restart()
    for piece in ("One.", "\n\nTw", "o.\n\nThree."):
        answer.feed(piece)
    answer.finish("One.\n\nTwo.\n\nThree.")
    assert [written(on).count(word) for word in ("One.", "Two.", "Three.", "again")] == [1, 1, 1, 0]
    answer.feed("One.\n\nTwo.\n\nThr")
    answer.restart()
    answer.feed("On second thought.\n\n")
    answer.finish("On second thought.\n\nNo.")
    assert written(on).count("↻ the answer starts again") == 1
    assert written(on).count("On second thought.") == 1


@pytest.mark.requirement("cli:streaming-markdown")
def test_a_long_answer_takes_time_by_its_length_and_not_by_its_square() -> None:
    def took(size: int) -> float:
        text = (("Some **words** in a paragraph. " * 8 + "\n\n") * 1000)[:size]
        answer = Answer(console())
        began = time.process_time()
        for at in range(0, size, 7):
            answer.feed(text[at : at + 7])
        answer.finish(text)
        return time.process_time() - began

    took(5_000)
    gc.collect()
    gc.disable()  # one look at the objects of all tests before takes longer than the answer
    try:
        small, large = (min(took(size) for _ in range(3)) for size in (25_000, 100_000))
    finally:
        gc.enable()
    assert large < small * 4 * 3  # three times as much as linear would be is noise; sixteen times is a square


def result(ui: str, content: str, **facts: object) -> ToolResult:
    return ToolResult(content=content, metadata={"ui": ui, **facts})


def lines(given: ToolResult, call: ToolCall | None = None, *, roomy: bool = True) -> list[str]:
    return [line.plain for line in card(given, call, roomy=roomy)]


DIFF = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"


@pytest.mark.requirement("cli:tool-cards")
def test_each_kind_of_result_has_its_card_and_what_is_unknown_shows_its_first_lines() -> None:
    call = ToolCall(CallId("c"), "write", '{"path": "a.md", "content": "# A\\nb"}')
    many = "\n".join(str(number) for number in range(30))
    assert lines(result("terminal", f"{many}\n[exit code 0, 1 s]"))[:2] == ["… 25 lines above", "25"]
    assert lines(result("code", "x", lineCount=12, offset=1, language="python")) == ["12 lines · python"]
    assert lines(result("code", "x", lineCount=1, offset=7)) == ["1 line from line 7"]
    assert lines(result("diff", "ok", diff=DIFF)) == ["+1 -1", " one", "-two", "+three"]
    assert lines(result("file-created", "ok", size=5, language="markdown"), call) == [
        "5 bytes · markdown",
        "+# A",
        "+b",
    ]
    assert lines(result("file-tree", "a\nb\n", entryCount=2)) == ["2 entries", "a", "b"]
    found = lines(result("search-results", "a.py:3:  hit\nb.py:9:  hit", matchCount=2))
    assert found == ["2 matches", "a.py:3: hit", "b.py:9: hit"]
    page = result("web-fetch", "<html>", url="https://x", status=200, contentType="text/html", size=6)
    assert lines(page) == ["200 · text/html · 6 bytes", "<html>"]
    assert lines(result("kubernetes-resources", "one\ntwo\nthree\nfour")) == ["one", "two", "… 2 more lines"]
    for ui in ("terminal", "code", "diff", "file-created", "file-tree", "search-results", "web-fetch", "other"):
        assert lines(result(ui, "said")) == ["said"], ui
        assert lines(result(ui, "")) == [], ui


@pytest.mark.requirement("cli:tool-cards", "cli:terminal-safe")
@given(st.sampled_from(["terminal", "diff", "file-tree", "search-results", "web-fetch", "x"]), st.text(max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_card_brings_a_control_character_to_the_terminal(ui: str, text: str) -> None:
    evil = text + "\x1b[2J\x07\r"
    error = ToolResult(content=evil, error=ToolError("x", "y"), metadata={"ui": ui})
    for given_ in (result(ui, evil, diff=DIFF + evil, status=evil, contentType=evil, finalUrl=evil), error):
        for roomy in (True, False):
            assert all(letter.isprintable() or letter == "\t" for line in lines(given_, roomy=roomy) for letter in line)
