"""What is known of a call beside its name, wherever it is shown."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from tests.running import told

from holdfast.cli.learning.calls import Calls
from holdfast.cli.screen import Screen
from holdfast.cli.timeline import Timeline
from holdfast.engine.events import CallReopened, ToolStarted
from holdfast.types import CallId, Digest, Effect, Event, Payload, SnapshotRef

KEPT = SnapshotRef("tree", Digest("d"))
SAVED = [ToolStarted(CallId("c-1"), Effect(), KEPT), CallReopened(CallId("c-1"))]
FOUND_OPEN = [ToolStarted(CallId("c-1"), Effect()), CallReopened(CallId("c-1"), before=KEPT)]
NONE = [ToolStarted(CallId("c-1"), Effect()), CallReopened(CallId("c-1"))]


def seen(events: list[Event], *, known: int) -> tuple[str, str]:
    """Returns what is said last, live after `known` events that came before, and in the log."""
    pages = StringIO(), StringIO()
    screen = Screen(Console(file=pages[0], width=200), known=known)
    timeline = Timeline(Console(file=pages[1], width=200), 9)
    for event in events:
        screen.see(event)
        timeline.print(event)
    return pages[0].getvalue().splitlines()[-1], pages[1].getvalue().splitlines()[-1]


@pytest.mark.requirement("newcomers:saved-files-known")
@pytest.mark.parametrize("known", [0, 1])
@pytest.mark.parametrize(("happened", "back"), [(SAVED, True), (FOUND_OPEN, True), (NONE, False)])
def test_a_call_that_runs_again_is_told_alike_live_on_resuming_and_in_the_log(
    happened: list[Payload], back: bool, known: int
) -> None:
    for said in seen(told(*happened), known=known):
        assert "runs again" in said
        assert ("its files put back" in said) == back


@pytest.mark.requirement("newcomers:saved-files-known")
def test_what_is_forgotten_is_forgotten_with_the_calls() -> None:
    calls = Calls()
    for event in told(*SAVED):
        calls.learn(event)
    assert (calls.saved("c-1"), calls.saved("c-2")) == (True, False)
    calls.clear()
    assert not calls.saved("c-1")
