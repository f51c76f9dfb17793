"""Who answers and who served, in the lists of events and on the lines that say how a run stands."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from tests.running import told

from holdfast.cli.chat.figures import Figures as Talked
from holdfast.cli.rendering.figures import Figures
from holdfast.cli.timeline import Timeline
from holdfast.cli.watch.rows import Rows, line_of
from holdfast.cli.words import model_name
from holdfast.engine.events import InputReceived, ModelFailed, ModelFinished, ModelStarted, RunFinished, RunStarted
from holdfast.engine.letters import Setup
from holdfast.types import AssistantMessage, Digest, Event, Payload, Text, UserMessage

FIRST, SECOND = "openai/gpt-5-mini", "anthropic/claude-haiku-4-5"


def begun(spec: str) -> tuple[Payload, ...]:
    setup = Setup(Digest(f"sha256:{'0' * 64}"), spec)
    return InputReceived("prompt", UserMessage((Text("go"),)), setup), RunStarted(1, setup)


def failed(mode: str) -> ModelFailed:
    return ModelFailed("connection", "it broke", again=True, model=FIRST, next=SECOND, mode=mode)  # type: ignore[arg-type]


def answered(model: str) -> ModelFinished:
    return ModelFinished(AssistantMessage((Text("Here I am."),), model))


def shown(events: list[Event]) -> list[str]:
    page = StringIO()
    timeline = Timeline(Console(file=page, width=160), 9)
    for event in events:
        timeline.print(event)
    return page.getvalue().splitlines()


def watched(events: list[Event]) -> list[str]:
    return [line_of(row, 3, 160).plain for row in Rows(events).rows]


@pytest.mark.requirement("choosing:who-served")
@pytest.mark.parametrize(
    ("mode", "how"), [("continue", "goes on there"), ("reset", "starts again"), ("", "takes over")]
)
def test_a_seam_names_both_models_and_how_it_goes_on_before_all_else(mode: str, how: str) -> None:
    events = list(told(*begun(f"{FIRST},{SECOND}"), failed(mode), answered(SECOND)))
    for lines in (shown(events), watched(events)):
        seam = next(line for line in lines if "it broke" in line)
        assert f"gpt-5-mini → claude-haiku-4-5  {how}  connection  it broke" in seam
        answer = next(line for line in lines if "Here I am." in line)
        assert "claude-haiku-4-5" in answer


@pytest.mark.requirement("choosing:who-served")
def test_the_one_model_that_was_named_is_not_named_again_at_each_answer() -> None:
    retry = ModelFailed("connection", "it broke", again=True, model=FIRST)
    events = list(told(*begun(FIRST), retry, answered(FIRST)))
    for lines in (shown(events), watched(events)):
        assert "→" not in "".join(lines)
        assert sum("gpt-5-mini" in line for line in lines) == 1
        assert any("connection  it broke  tries again" in line for line in lines)


@pytest.mark.requirement("choosing:who-answers")
def test_the_lines_that_say_how_a_run_stands_follow_who_is_asked() -> None:
    run, talk = Figures(), Talked()
    seen: list[tuple[str, str]] = []
    chain = f"{FIRST},{SECOND}"
    for event in told(
        *begun(chain), ModelStarted(10, model=FIRST), failed(""), answered(SECOND), RunFinished("completed")
    ):
        run.learn(event)
        talk.see(event)
        seen.append((run.parts()[-1] if run.parts() else "", talk.model))
    assert [who for who, _ in seen[1:]] == ["gpt-5-mini +1", "gpt-5-mini", *["claude-haiku-4-5"] * 3]
    assert [who for _, who in seen[1:]] == [chain, FIRST, SECOND, SECOND, SECOND]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("openai/gpt-5-mini", "gpt-5-mini"),
        ("openrouter/openai/gpt-5:free", "openai/gpt-5:free"),
        ("smart:high", "smart:high"),
        (" openai/a , anthropic/b,c", "a +2"),
        ("", ""),
        ("openai/" + "x" * 100, "x" * 31 + "…"),
    ],
)
def test_the_short_name_of_a_model_keeps_what_tells_it_apart(spec: str, name: str) -> None:
    assert model_name(spec) == name
