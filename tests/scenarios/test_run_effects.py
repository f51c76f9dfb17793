"""Effects that can be asked about: after a crash, and when a call fails in mid-air."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, HastyClock, all_answered, of, scene, seen, soon, until

from holdfast import Agent, ToolContext, tool
from holdfast.engine.events import CallReopened, ToolFinished, ToolStarted
from holdfast.errors import UndescribableTool, UsageError
from holdfast.sandbox.port import Posture
from holdfast.testing import Call, Turn
from holdfast.types import Effect

DONE = Turn(text="done")
BOOKED: dict[str, str] = {}
ASKED: list[str] = []
WORLD = {"hangs": True, "books": True, "tells": True, "books_late": False, "fails": False}


@pytest.fixture(autouse=True)
def fresh() -> None:
    BOOKED.clear()
    ASKED.clear()
    WORLD.update(hangs=True, books=True, tells=True, books_late=False, fails=False)


async def _is_booked(room: str, context: ToolContext) -> str | None:
    ASKED.append(room)
    if not WORLD["tells"]:
        raise ConnectionError("no answer from the desk")
    if WORLD["books_late"] and len(ASKED) == 2:
        BOOKED[context.key] = room
    return f"booked {room}" if context.key in BOOKED else None


@tool(effect="checkable", check=_is_booked, settles=30)
async def book(room: str, context: ToolContext, nights: int = 1) -> str:
    """Books a room."""
    if WORLD["books"]:
        assert context.key not in BOOKED, "twice"
        BOOKED[context.key] = room
    if WORLD["fails"]:
        raise ConnectionError("cut off")
    if WORLD["hangs"]:
        await asyncio.Event().wait()
    return f"booked {room}"


AGENT = Agent(MODEL, tools=[book])
WISH = Turn(calls=[Call("book", {"room": "12"})])


async def interrupted(tmp_path: Path, **world: bool) -> tuple[str, list[str]]:
    """Returns the result of a call that was under way when its process ended, and what was written of it."""
    WORLD.update(world)
    async with scene([WISH, DONE], url=f"sqlite:///{tmp_path}/s.db", clock=HastyClock()) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.started"))
        await asyncio.sleep(0)
        await s.runtime.close()
        WORLD["hangs"], WORLD["books"] = False, True
        async with s.other() as other:
            await soon((await other.resume("s", AGENT)).result())
            s.runtime = other
            log = await s.log()
    assert all_answered(log)
    kinds = [
        type(each.data).__name__ for each in log if isinstance(each.data, ToolStarted | ToolFinished | CallReopened)
    ]
    return of(ToolFinished, log)[0].result.content, kinds


@pytest.mark.requirement("tools:checkable-asked")
async def test_a_call_that_happened_has_its_result_and_is_not_made_again(tmp_path: Path) -> None:
    content, kinds = await interrupted(tmp_path)
    assert content == "booked 12"
    assert kinds == ["ToolStarted", "ToolFinished"]
    assert ASKED == ["12"]


@pytest.mark.requirement("tools:checkable-asked", "engine:crash-checkable-is-asked")
async def test_a_call_that_did_not_happen_is_made_again(tmp_path: Path) -> None:
    content, kinds = await interrupted(tmp_path, books=False)
    assert content == "booked 12"
    assert kinds == ["ToolStarted", "CallReopened", "ToolStarted", "ToolFinished"]
    assert len(BOOKED) == 1


@pytest.mark.requirement("tools:checkable-settles")
async def test_a_no_is_believed_only_when_the_call_can_no_longer_take_effect(tmp_path: Path) -> None:
    content, kinds = await interrupted(tmp_path, books=False, books_late=True)
    assert content == "booked 12"
    assert kinds == ["ToolStarted", "ToolFinished"]
    assert ASKED == ["12", "12"]
    assert len(BOOKED) == 1


@pytest.mark.requirement("tools:checkable-unanswered")
async def test_where_nobody_can_tell_the_outcome_is_unknown_and_nothing_is_repeated(tmp_path: Path) -> None:
    content, kinds = await interrupted(tmp_path, tells=False)
    assert content.startswith("Outcome unknown")
    assert kinds == ["ToolStarted", "ToolFinished"]


@pytest.mark.requirement("tools:checkable-half-written")
async def test_a_call_that_happened_but_may_have_left_files_half_written_says_so(tmp_path: Path) -> None:
    async def _is_sent(context: ToolContext) -> str | None:
        return "sent" if context.key in BOOKED else None

    @tool(effect=Effect(workspace=True, outside="checkable"), check=_is_sent, name="send")
    async def send(context: ToolContext) -> str:
        """Sends, and notes it."""
        assert context.workspace is not None
        (context.workspace.root / "note").write_text("sending")
        BOOKED[context.key] = "sent"
        await asyncio.Event().wait()
        return "sent"

    agent = Agent(MODEL, tools=[send])
    async with scene([Turn(calls=[Call("send", {})]), DONE], url=f"sqlite:///{tmp_path}/s.db") as s:
        work = tmp_path / "work"
        work.mkdir()
        run = await s.runtime.start(agent, "go", session="s", workspace=work)
        await until(lambda: bool(BOOKED))
        await s.runtime.close()
        async with s.other() as other:
            await soon((await other.resume("s", agent)).result())
            s.runtime = other
            [finished] = of(ToolFinished, await s.log())
    assert run.session == "s"
    assert finished.result.content.startswith("sent\n")
    assert "may not be what they would have been" in finished.result.content
    assert "+sending" in finished.result.content


@pytest.mark.requirement("tools:checkable-live")
@pytest.mark.parametrize(
    ("books", "tells", "says"),
    [(True, True, "booked 12"), (False, True, "cut off"), (True, False, "Outcome unknown")],
)
async def test_a_call_that_fails_is_asked_about_at_once(books: bool, tells: bool, says: str) -> None:
    WORLD.update(fails=True, books=books, tells=tells)
    async with scene([WISH, DONE], clock=HastyClock()) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        [finished] = of(ToolFinished, await s.log())
    assert says in finished.result.content
    assert (finished.result.error is None) == (says == "booked 12")


def test_a_check_is_asked_for_where_it_is_needed_and_refused_where_it_is_not() -> None:
    async def act(room: str) -> str:
        """Acts."""
        return room

    async def ask(floor: int) -> None:
        """Asks."""

    with pytest.raises(UsageError, match="nobody can ask"):
        tool(effect="checkable")(act)
    with pytest.raises(UsageError, match="never be asked"):
        tool(effect="keyed", check=_is_booked)(act)
    with pytest.raises(UndescribableTool, match="'floor'"):
        tool(effect="checkable", check=ask)(act)


@pytest.mark.requirement("tools:effect-by-posture")
async def test_an_effect_may_depend_on_arguments_and_on_what_isolates_commands() -> None:
    seen_postures: list[Posture] = []

    def judge(arguments: object, posture: Posture) -> Effect:
        seen_postures.append(posture)
        return Effect(outside="none" if getattr(arguments, "dry", False) else "unsafe")

    @tool(effect=judge)
    async def act(dry: bool) -> str:
        """Acts."""
        return "done"

    turn = Turn(calls=[Call("act", {"dry": True}), Call("act", {"dry": False})])
    async with scene([turn, DONE]) as s:
        await soon((await s.runtime.start(Agent(MODEL, tools=[act]), "go", session="s")).result())
        outsides = [each.effect.outside for each in of(ToolStarted, await s.log())]
    assert outsides == ["none", "unsafe"]
    assert not seen_postures[0].isolated
