"""A conversation as another model can read it, and an answer that another model goes on with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.port import ModelRequest
from holdfast.models.routing.fitting import Fitting, Reader, fit
from holdfast.models.routing.pairing import NO_RESULT, is_paired, pair
from holdfast.models.routing.seams import Came, Seam, came, can_continue
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Citation,
    Delta,
    Document,
    Image,
    Message,
    OutputShape,
    Part,
    ProviderStep,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)

ME = Reader("anthropic/me")
BLIND = Reader("groq/blind", images=False, pdfs=False)
PNG = Image("image/png", b"12345", "plot.png")
PDF = Document("application/pdf", b"%PDF", "")


def call(id: str, signature: str = "") -> ToolCall:
    return ToolCall(CallId(id), "look", "{}", signature)


def said(*parts: Part, model: str = "openai/other") -> AssistantMessage:
    return AssistantMessage(parts, model)


def asked(text: str = "go") -> UserMessage:
    return UserMessage((Text(text),))


def result(id: str, content: str = "ok") -> ToolMessage:
    return ToolMessage(CallId(id), "look", content)


_ids = st.sampled_from(["a", "b", "c", "d"])
_words = st.sampled_from(["", " ", "x", "two words"])
_signs = st.sampled_from(["", "sig"])
_part = st.one_of(
    st.builds(Text, _words, _signs, st.sampled_from([(), (Citation("https://a"),)])),
    st.builds(Thinking, _words, _signs),
    st.builds(Thinking, st.just(""), st.just(""), st.just("sealed")),
    st.builds(call, _ids, _signs),
    st.builds(ProviderStep, st.just("web_search"), st.just("{}"), _words),
)
_message = st.one_of(
    st.builds(UserMessage, st.lists(st.sampled_from([Text("hi"), PNG, PDF]), min_size=1, max_size=3).map(tuple)),
    st.builds(
        AssistantMessage,
        st.lists(_part, max_size=5).map(tuple),
        st.sampled_from(["anthropic/me", "openai/other", "groq/blind"]),
    ),
    st.builds(result, _ids, st.sampled_from(["1", "2"])),
)
_history = st.lists(_message, max_size=12)


def unread(messages: Sequence[Message], reader: Reader) -> list[object]:
    """Returns what only somebody else could read."""
    found: list[object] = []
    for message in messages:
        if isinstance(message, UserMessage):
            found += [each for each in message.parts if isinstance(each, Image) and not reader.images]
            found += [each for each in message.parts if isinstance(each, Document) and not reader.pdfs]
        if isinstance(message, AssistantMessage) and message.model != reader.model:
            found += [each for each in message.parts if isinstance(each, Thinking | ProviderStep) or each.signature]
            found += [each for each in message.parts if isinstance(each, Text) and each.citations]
    return found


@given(_history, st.sampled_from([ME, BLIND]))
@pytest.mark.requirement("models:handoff-pairs-and-signatures")
def test_each_call_has_one_result_and_nothing_is_left_that_only_another_model_could_read(
    history: list[Message], reader: Reader
) -> None:
    before = msgspec.json.encode(history)
    fitted = fit(history, reader)
    assert unread(fitted, reader) == []
    place = 0
    while place < len(fitted):
        message = fitted[place]
        place += 1
        assert not isinstance(message, ToolMessage)  # it would answer no call
        calls = message.calls if isinstance(message, AssistantMessage) else ()
        assert max(Counter(each.id for each in calls).values(), default=0) <= 1
        results = fitted[place : place + len(calls)]
        assert [each.call_id for each in results if isinstance(each, ToolMessage)] == [each.id for each in calls]
        place += len(calls)
    assert is_paired(fitted)
    assert fit(fitted, reader) == fitted  # once is enough
    assert msgspec.json.encode(history) == before  # and what was said stays as it was


@given(_history, st.lists(st.integers(1, 4), min_size=1), st.sampled_from([ME, BLIND]))
@pytest.mark.requirement("models:handoff-pairs-and-signatures")
def test_a_conversation_that_grows_is_fitted_as_if_it_had_come_whole(
    history: list[Message], steps: list[int], reader: Reader
) -> None:
    fitting, told = Fitting(reader), list[Message]()
    rest = list(history)
    for step in steps:
        new, rest = rest[:step], rest[step:]
        if told and new and isinstance(new[0], ToolMessage):
            told = list(told)  # only what the loop does: it asks when every call has its result
        told += new
        got = fitting.fit(told)
        assert unread(got, reader) == []
        assert is_paired(got)
        if is_paired(told) and not unread(told, reader) and got is not told:
            assert [each for each in got if isinstance(each, UserMessage)] == [
                each for each in told if isinstance(each, UserMessage)
            ]


def test_a_list_of_which_nothing_has_to_change_goes_on_as_the_same_list_and_only_what_is_new_is_looked_at() -> None:
    own = said(Thinking("hm", "sig"), call("a", "s"), model=ME.model)
    history: list[Message] = [asked(), own, result("a")]
    fitting = Fitting(ME)
    assert fitting.fit(history) is history
    history += [said(Text("plain words of another")), asked("more")]
    assert fitting.fit(history) is history

    class Watched(list[Message]):
        looked: ClassVar[list[object]] = []

        def __getitem__(self, key: object) -> object:  # type: ignore[override]
            self.looked.append(key)
            return super().__getitem__(key)  # type: ignore[call-overload]

    watched = Watched(history)
    fitting = Fitting(ME)
    fitting.fit(watched)
    watched.looked.clear()
    watched.append(asked("again"))
    assert fitting.fit(watched) is watched
    assert watched.looked == [4, slice(5, None), -1]  # the last that was known, and what came after it


def test_a_list_that_had_to_change_grows_at_its_end_so_that_encoders_keep_what_they_have() -> None:
    history: list[Message] = [asked(), said(Thinking("so"), Text("yes", "sig")), asked("and?")]
    fitting = Fitting(ME)
    first = fitting.fit(history)
    assert first == [asked(), said(Text("so"), Text("yes")), asked("and?")]
    kept = list(first)
    history += [said(call("a"), model=ME.model), result("a"), said(Thinking("", redacted="sealed"))]
    second = fitting.fit(history)
    assert second is first
    assert second[: len(kept)] == kept
    assert second[len(kept) :] == history[3:5]  # of the last nothing is left


@pytest.mark.requirement("models:handoff-pairs-and-signatures")
def test_words_stay_thinking_becomes_words_and_the_rest_goes() -> None:
    other = said(
        Thinking("I think", "sig"), Thinking("", redacted="sealed"), Thinking(" "),
        Text("hello", "sig", (Citation("u"),)),
        ProviderStep("web_search", '{"q":1}', "for cats"), ProviderStep("code", "{}"), call("x|1", "sig"),
    )  # fmt: skip
    fitted = fit([other, result("x|1")], ME)
    assert fitted == [
        said(Text("I think"), Text("hello"), Text("[web_search: for cats]"), call("x|1")), result("x|1")
    ]  # fmt: skip
    own = msgspec.structs.replace(other, model=ME.model)
    assert fit([own, result("x|1")], ME) == [own, result("x|1")]


@pytest.mark.requirement("models:handoff-orphan-calls")
@pytest.mark.parametrize("after", [said(Text("on")), asked("and now?"), None])
def test_calls_without_results_get_one_error_each_in_their_order_wherever_they_stand(after: Message | None) -> None:
    history = [asked(), said(call("b"), call("a"), call("c")), result("a"), *([] if after is None else [after])]
    missing = [ToolMessage(CallId(id), "look", NO_RESULT, True) for id in "bc"]
    assert pair(history) == [*history[:2], missing[0], result("a"), missing[1], *history[3:]]


@pytest.mark.requirement("models:handoff-orphan-calls")
def test_a_result_that_somebody_spoke_into_moves_up_and_one_that_comes_late_takes_its_place() -> None:
    told: list[Message] = [asked(), said(call("a"), call("b")), result("a"), asked("wait"), result("b"), result("b")]
    assert pair(told) == [*told[:3], result("b"), asked("wait")]
    fitting = Fitting(Reader("openai/other"))
    growing: list[Message] = told[:3]
    assert fitting.fit(growing)[-1] == ToolMessage(CallId("b"), "look", NO_RESULT, True)
    growing.append(result("b", "late"))
    assert fitting.fit(growing)[2:] == [result("a"), result("b", "late")]


def test_what_a_model_does_not_take_is_named_in_its_place() -> None:
    note = Document("text/plain", b"words", "note.txt")
    prompt = UserMessage((Text("look"), PNG, PDF, note))
    assert fit([prompt], ME) == [prompt]
    parts = [part.text for part in fit([prompt], BLIND)[0].parts if isinstance(part, Text)]  # type: ignore[union-attr]
    assert parts == [
        "look",
        "[image left out, as this model reads none: 'plot.png', image/png, 5 bytes]",
        "[document left out, as this model reads none: application/pdf, 4 bytes]",
    ]


def test_what_came_is_put_together_from_what_readers_saw() -> None:
    deltas: list[Delta] = [ThinkingDelta("so "), ThinkingDelta("so"), TextDelta("It "), TextDelta("is")]
    broke = came(deltas)
    assert broke == Came((Thinking("so so"), Text("It is")), False, 10)
    assert broke.is_open
    more = came([TextDelta(" é")], AssistantMessage(broke.parts, "p/a"))
    assert (more.parts, more.size) == ((Thinking("so so"), Text("It is é")), 3)
    for closed in ([ThinkingDelta("x")], [TextDelta(" \n")], [TextDelta("a"), ThinkingDelta("b"), TextDelta("c")],
                   [TextDelta("a"), CallDelta(0, "i", "look", "{")], []):  # fmt: skip
        assert not came(closed).is_open


@given(st.text("ab \n", min_size=1), st.text("ab \n"), st.integers(1, 3), st.booleans())
def test_an_answer_that_goes_on_is_one_answer_for_readers_and_for_the_log(
    first: str, second: str, size: int, thought: bool
) -> None:
    partial = AssistantMessage((*([Thinking("hm")] if thought else []), Text(first)), "p/a")
    seam = Seam(partial)
    sent = seam.request(ModelRequest(instructions="", messages=[asked()])).messages
    assert sent == [asked(), AssistantMessage((Text(first.rstrip()),), "p/a")]
    deltas: list[Delta] = [TextDelta(second[at : at + size]) for at in range(0, len(second), size)]
    shown = [each for delta in deltas for each in seam.trim([delta])]
    whole = seam.join(AssistantMessage((Text(second),) if second else (), "p/b", usage=Usage(1, 2)))
    assert whole.text == first + "".join(each.text for each in shown if isinstance(each, TextDelta))
    assert whole.text.startswith(first)
    assert [each.text for each in whole.parts if isinstance(each, Thinking)] == (["hm"] if thought else [])
    assert (whole.model, whole.usage) == ("p/b", Usage(1, 2))
    blanks = first[len(first.rstrip()) :]
    if second.startswith(blanks):
        assert whole.text == first.rstrip() + second  # as if one model had said it all


def test_a_request_that_has_to_begin_its_answer_itself_has_no_room_for_one_that_has_begun() -> None:
    request = ModelRequest(instructions="", messages=[])
    assert can_continue(request)
    assert can_continue(msgspec.structs.replace(request, thinking="off"))
    for field in ({"thinking": "low"}, {"must_call": ""}, {"output": OutputShape("x", {})}):
        assert not can_continue(msgspec.structs.replace(request, **field))


def test_signed_words_are_no_part_of_others() -> None:
    whole = Seam(AssistantMessage((Text("one "),), "p/a")).join(said(Text("two", "sig"), call("a")))
    assert whole.parts == (Text("one "), Text("two", "sig"), call("a"))
