"""The live end of a session: events in order, deltas in their place, and the answer so far for whoever is late."""

from __future__ import annotations

from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.running import soon

from holdfast.engine.events import AbortRequested
from holdfast.journal.tail import Tail, coalesce
from holdfast.types import (
    CallDelta,
    Delta,
    Event,
    EventId,
    Lagged,
    Reset,
    StreamId,
    TenantId,
    TextDelta,
    ThinkingDelta,
)

STREAM = StreamId("local/s")


def event(seq: int) -> Event:
    return Event(
        seq=seq, id=EventId(str(seq)), type="x.y", at=0, epoch=1, tenant=TenantId("local"), data=AbortRequested()
    )


def text(said: str) -> list[Delta]:
    return [TextDelta(letter) for letter in said]


def shown(items: list[Event | Delta]) -> list[int | str]:
    """Returns sequence numbers of events, words of deltas, and the names of everything else."""
    return [
        item.seq if isinstance(item, Event) else item.text if isinstance(item, TextDelta) else item.type
        for item in items
    ]


@pytest.mark.requirement("journal:tail-partial-then-deltas")
async def test_a_reader_that_joins_in_mid_answer_gets_what_was_said_once_and_then_the_rest() -> None:
    tail = Tail(STREAM, 0)
    tail.commit([event(1)])
    tail.publish(text("Hel"), 1)
    reader, partial = tail.join()
    tail.publish(text("lo"), 1)
    assert partial == [TextDelta("Hel")]
    assert shown(await soon(reader.take())) == ["l", "o"]


@pytest.mark.requirement("journal:tail-partial-then-deltas")
async def test_what_became_durable_is_no_longer_part_of_the_answer_so_far() -> None:
    tail = Tail(STREAM, 0)
    tail.publish(text("Hello"), 0)
    tail.commit([event(1)])
    assert tail.join()[1] == []


async def test_deltas_are_never_seen_before_the_events_that_came_before_them() -> None:
    tail = Tail(STREAM, 3)
    reader, _ = tail.join()
    tail.publish(text("a"), 5)
    tail.publish(text("b"), 5)
    late, partial = tail.join()
    assert partial == []
    tail.commit([event(4)])
    assert shown(await soon(reader.take())) == [4]
    tail.commit([event(5)])
    assert shown(await soon(reader.take())) == [5, "a", "b"]
    assert shown(await soon(late.take())) == [4, 5, "a", "b"]
    assert tail.join()[1] == [TextDelta("ab")]


async def test_deltas_that_waited_keep_their_place_when_their_answer_becomes_durable_with_what_was_before() -> None:
    tail = Tail(STREAM, 0)
    reader, _ = tail.join()
    tail.publish(text("ab"), 2)
    tail.commit([event(1), event(2), event(3), event(4)])
    assert shown(await soon(reader.take())) == [1, 2, "a", "b", 3, 4]
    assert tail.join()[1] == []
    assert tail.last == 4


async def test_the_deltas_of_several_answers_that_became_durable_together_each_keep_their_place() -> None:
    tail = Tail(STREAM, 0)
    reader, _ = tail.join()
    tail.publish(text("a"), 1)
    tail.publish(text("b"), 3)
    tail.reset("connection", 3)
    tail.publish(text("c"), 3)
    tail.publish(text("d"), 5)
    tail.commit([event(seq) for seq in range(1, 5)])
    assert shown(await soon(reader.take())) == [1, "a", 2, 3, "c", 4]
    tail.commit([event(5)])
    assert shown(await soon(reader.take())) == [5, "d"]
    assert tail.join()[1] == [TextDelta("d")]


@pytest.mark.requirement("journal:tail-reset")
async def test_an_answer_that_begins_again_is_taken_back_once() -> None:
    tail = Tail(STREAM, 0)
    reader, _ = tail.join()
    tail.publish(text("ab"), 0)
    tail.reset("connection", 0)
    tail.reset("connection", 0)
    tail.publish(text("c"), 0)
    assert shown(await soon(reader.take())) == ["a", "b", "reset", "c"]
    assert tail.join()[1] == [TextDelta("c")]


@pytest.mark.requirement("journal:tail-reset")
async def test_what_nobody_saw_needs_no_taking_back() -> None:
    tail = Tail(STREAM, 0)
    reader, _ = tail.join()
    tail.publish(text("ab"), 1)
    tail.reset("connection", 1)
    tail.publish(text("c"), 1)
    tail.commit([event(1)])
    assert shown(await soon(reader.take())) == [1, "c"]


@pytest.mark.requirement("journal:tail-reset")
async def test_half_an_answer_is_taken_back_when_the_tail_ends() -> None:
    tail = Tail(STREAM, 0)
    reader, _ = tail.join()
    tail.publish(text("half"), 0)
    tail.close()
    assert shown(await soon(reader.take()))[-1] == "reset"
    assert await soon(reader.take()) == []
    assert tail.closed


@pytest.mark.requirement("journal:tail-deltas-without-id")
def test_deltas_carry_no_number_and_are_not_among_the_events_that_are_kept() -> None:
    tail = Tail(STREAM, 0)
    for kind in (TextDelta, ThinkingDelta, CallDelta, Reset, Lagged):
        assert "seq" not in kind.__struct_fields__
        assert "id" not in kind.__struct_fields__ or kind is CallDelta  # a call's own id
    tail.publish(text("ab"), 0)
    tail.commit([event(1)])
    tail.publish(text("ab"), 1)
    assert shown(list(tail.recent)) == [1]


def test_no_more_than_a_bound_of_events_is_kept_and_the_count_stays_right() -> None:
    tail = Tail(STREAM, 100)
    for seq in range(101, 10_101):
        tail.commit([event(seq)])
        assert len(tail.recent) <= 2049
    assert tail.last == 10_100
    assert [kept.seq for kept in tail.recent] == list(range(tail.after + 1, 10_101))


DELTAS = st.lists(
    st.one_of(
        st.builds(TextDelta, st.text(max_size=3)),
        st.builds(ThinkingDelta, st.text(max_size=3)),
        st.builds(lambda index, args: CallDelta(index, f"c{index}", "f", args), st.integers(0, 2), st.text(max_size=3)),
    ),
    max_size=40,
)


@given(DELTAS)
def test_joined_deltas_say_the_same_and_no_two_neighbours_of_one_kind_are_left(deltas: list[Delta]) -> None:
    def said(of: list[Delta]) -> tuple[str, str, dict[int, str]]:
        calls: dict[int, str] = {}
        for delta in of:
            if isinstance(delta, CallDelta):
                calls[delta.index] = calls.get(delta.index, "") + delta.arguments
        texts = "".join(delta.text for delta in of if isinstance(delta, TextDelta))
        return texts, "".join(delta.text for delta in of if isinstance(delta, ThinkingDelta)), calls

    joined = coalesce(deltas)
    assert said(joined) == said(deltas)
    kinds = [(type(delta), delta.index if isinstance(delta, CallDelta) else 0) for delta in joined]
    assert all(one != other for one, other in pairwise(kinds))
    assert coalesce(joined) == joined


def test_joining_a_long_answer_costs_no_more_per_delta_than_joining_a_short_one() -> None:
    began = process_time()
    assert coalesce([TextDelta("x" * 20)] * 50_000) == [TextDelta("x" * 1_000_000)]
    assert process_time() - began < 1, "joining one by one takes several seconds"
