"""The pictures of terminals in the documents: small, plain, used, and what the program draws today."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from tests.docs.capturing import CAPTURES, capture_chat, capture_question, capture_review, capture_watch
from tests.docs.playing import ROOT
from tests.docs.test_documents import DOCUMENTS

MOST = 32 * 1024
"""Bytes of a picture."""
VARYING = re.compile(r"\b(\d+ min )?\d+(\.\d+)?\s?(ms|s)\b|\b\d\d:\d\d:\d\d(\.\d{3})?\b|\b[0-9a-f]{8,16}(-\d+)?\b")


def said(picture: str) -> list[str]:
    """Returns the words of a picture, in order, without times, tokens, frames and scroll bars."""
    words = [element.text or "" for element in ElementTree.fromstring(picture).iter() if element.tag.endswith("}text")]
    told = [VARYING.sub("<time>", " ".join(text.split())).strip("─│╭╮╰╯ ") for text in words]
    return [text for text in told if re.search(r"\w", text)]


@pytest.mark.requirement("repo:captures")
def test_captures_are_small_plain_and_used() -> None:
    shown = "\n".join((ROOT / name).read_text("utf-8") for name in DOCUMENTS)
    files = sorted(CAPTURES.iterdir())
    assert [file.name for file in files] == ["chat.svg", "question.svg", "review.svg", "watch.svg"]
    for file in files:
        text = file.read_text("utf-8")
        assert f"captures/{file.name})" in shown
        assert len(text.encode()) <= MOST
        assert {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()} <= {
            "svg",
            "title",
            "g",
            "rect",
            "circle",
            "text",
        }
        assert re.findall(r"url\(|href|@import", text) == []


@pytest.mark.requirement("repo:captures")
def test_the_capture_of_a_talk_is_what_is_drawn_today() -> None:
    assert said(capture_chat()) == said((CAPTURES / "chat.svg").read_text("utf-8"))


@pytest.mark.requirement("repo:captures")
def test_the_capture_of_questions_is_what_is_drawn_today() -> None:
    assert said(capture_question()) == said((CAPTURES / "question.svg").read_text("utf-8"))


@pytest.mark.requirement("repo:captures")
def test_the_capture_of_a_review_is_what_is_drawn_today() -> None:
    assert said(capture_review()) == said((CAPTURES / "review.svg").read_text("utf-8"))


@pytest.mark.requirement("repo:captures")
async def test_the_capture_of_the_watching_screen_is_what_is_drawn_today() -> None:
    assert said(await capture_watch()) == said((CAPTURES / "watch.svg").read_text("utf-8"))
