"""Answers that came before they were waited for: what is kept of them is counted, and never added up again."""

from __future__ import annotations

import msgspec
import pytest
from tests.running import answer, opened, told

from holdfast.engine import turns
from holdfast.engine.events import RunFinished, RunStarted, ToolWaiting, WaitResolved
from holdfast.engine.folding import fold, replay
from holdfast.engine.turns import too_early
from holdfast.types import CallId, Payload, Wait

MANY = 4096


def early(number: int, size: int = 10) -> WaitResolved:
    return WaitResolved(f"e{number:04}", "x" * size)


@pytest.mark.requirement("engine:early-answers-bounded")
def test_whether_an_answer_can_be_kept_is_found_without_looking_at_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted, bytes_of = list[int](), turns._bytes
    monkeypatch.setattr(turns, "_bytes", lambda data: counted.append(1) or bytes_of(data))
    state = replay(told(*opened(), answer("", "f")))
    events = told(*[early(number) for number in range(MANY)])
    for event in events:
        assert isinstance(event.data, WaitResolved)
        assert not too_early(state, event.data)
        fold(state, event)
    assert too_early(state, early(MANY)), "so many are kept, and no more"
    assert len(counted) <= 3 * MANY


@pytest.mark.requirement("engine:early-answers-bounded")
@pytest.mark.parametrize("last", [ToolWaiting(CallId("c0"), Wait("e0001")), None], ids=["waited for", "run over"])
def test_what_is_not_kept_any_more_leaves_room_for_others(last: Payload | None) -> None:
    third = 6 * 1024 * 1024
    kept: list[Payload] = [early(1, third), early(2, third)]
    state = replay(told(*opened(), answer("", "f", "f"), *kept))
    assert too_early(state, early(3, third))
    prompt, begun = opened()
    assert isinstance(begun, RunStarted)
    over = [RunFinished("aborted"), prompt, msgspec.structs.replace(begun, input=7)]
    state = replay(told(*opened(), answer("", "f", "f"), *kept, *([last] if last else over)))
    assert not too_early(state, early(3, third))
    assert state.early_bytes == sum(turns._bytes(each) for each in state.early.values())
