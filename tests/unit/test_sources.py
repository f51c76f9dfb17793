"""What stands under an answer: steps of the provider, and sources."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.rendering.answer import below, sources_of, written_below
from holdfast.types import AssistantMessage, Citation, ProviderStep, Text

A, B = "https://example.com/a", "https://example.com/b"


def answer(*parts: Text | ProviderStep) -> AssistantMessage:
    return AssistantMessage(parts, "anthropic/x")


def cited(*citations: Citation) -> AssistantMessage:
    return answer(Text("words", citations=citations))


@pytest.mark.requirement("choosing:sources")
def test_a_source_is_numbered_once_in_the_order_of_the_words_whoever_cites_it_again() -> None:
    message = answer(
        Text("one", citations=(Citation(B, "", "b"), Citation(A, "A page"))),
        Text("two", citations=(Citation(A, "Another title"), Citation(B, "B page"))),
    )
    assert sources_of(message) == [(B, "B page"), (A, "A page")]
    assert [line.plain for line in below(message)] == [f"[1] B page ({B})", f"[2] A page ({A})"]
    assert written_below(message) == f"1. [B page]({B})\n2. [A page]({A})"


@pytest.mark.requirement("choosing:sources")
def test_what_the_provider_did_is_a_line_each_and_its_records_are_none() -> None:
    message = answer(
        ProviderStep("web_search", "{}", "price of bolts"),
        ProviderStep("web_search_tool_result", "{}"),
        ProviderStep("code_execution", "{}"),
        Text("words", citations=(Citation("guide.pdf", "Guide"),)),
    )
    assert [line.plain for line in below(message)] == [
        'web_search  "price of bolts"',
        "code_execution",
        "[1] Guide (guide.pdf)",
    ]
    assert written_below(message) == 'web_search  "price of bolts"\ncode_execution\n\n1. Guide'
    assert below(answer(Text("words"))) == []
    assert written_below(answer(Text("words"))) == ""


@pytest.mark.requirement("choosing:sources")
@pytest.mark.parametrize(
    "source", ["javascript:alert(1)", "file:///etc/passwd", "https://[", "doc-7", "https://a\x1b]8"]
)
def test_only_an_address_of_the_web_becomes_a_link(source: str) -> None:
    assert "](" not in written_below(cited(Citation(source, "T")))


@pytest.mark.requirement("choosing:sources")
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_nothing_a_stranger_calls_a_source_acts_on_a_terminal_or_is_markdown(
    title: str, path: str, name: str, about: str
) -> None:
    evil = "\x1b]8;;x\x07\x9b2J\u202e](https://evil.example) \n# "
    message = answer(
        ProviderStep(name + evil, "{}", about + evil),
        Text("words", citations=(Citation(f"https://example.com/{path}", title + evil), Citation(title + evil, ""))),
    )
    for line in [*(each.plain for each in below(message)), *written_below(message).split("\n")]:
        assert line.isprintable()
    listed = [line for line in written_below(message).split("\n") if re.match(r"\d+\. ", line)]
    for line in listed:  # no link but our own, which ends the line
        assert len(re.findall(r"(?<!\\)\]\(", line)) <= 1
        assert not re.search(r"(?<!\\)\]\(https://evil", line)


@pytest.mark.requirement("choosing:sources")
def test_many_sources_and_endless_titles_stay_a_glance() -> None:
    many = cited(*(Citation(f"https://example.com/{number}", "t" * 10_000) for number in range(5000)))
    assert len(below(many)) == 41
    assert below(many)[-1].plain == "and 4,960 sources more"
    assert len(written_below(many)) < 10_000
