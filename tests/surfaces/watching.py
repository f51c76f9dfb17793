"""A person at `holdfast runs watch`: what is on their screen, and the keys they press."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.running import MODEL, Scene
from textual.pilot import Pilot

from holdfast.cli.reaching.local import LocalSessions
from holdfast.cli.reaching.port import Sessions
from holdfast.cli.run import coder
from holdfast.cli.watch.app import WatchApp
from holdfast.cli.watch.session import Watched
from holdfast.cli.watch.timeline import TimelinePane
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.types import Limits, Mode

BOUND = 8
"""Seconds after which what is not on the screen never will be."""


class Viewer:
    """Looks at one screen, and presses keys."""

    def __init__(self, app: WatchApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> str:
        """Everything on the screen, as text."""
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    @property
    def watched(self) -> Watched:
        assert self.app.watched is not None
        return self.app.watched

    async def until(self, holds: Callable[[], object], otherwise: str) -> None:
        """Lets the screen go on until something is so."""
        try:
            async with asyncio.timeout(BOUND):
                while not holds():
                    await self.pilot.pause()
        except TimeoutError:
            raise AssertionError(f"{otherwise}:\n{self.screen}") from None

    async def sees(self, *words: str) -> str:
        """Waits until all of these are on the screen at once."""
        await self.until(lambda: all(each in self.screen for each in words), f"{words} are not on the screen")
        return self.screen

    async def sees_no_more(self, words: str) -> None:
        await self.until(lambda: words not in self.screen, f"{words!r} is still on the screen")

    async def presses(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def types(self, words: str) -> None:
        """Types words, a key each."""
        await self.pilot.press(*["space" if letter == " " else letter for letter in words])

    async def is_asked(self, *words: str) -> None:
        """Waits for a question that a key would answer."""
        await self.sees(*words)
        await self.until(lambda: self.app.answerable, "the question cannot be answered")

    async def ends(self, status: str) -> None:
        """Waits until the run is over."""

        def over() -> bool:
            last = self.watched.figures.state.last
            return self.watched.figures.run is None and last is not None and last.finished is not None

        await self.until(over, "the run goes on")
        await self.sees(f" {status}")

    async def selects(self, kind: str, number: int = 0) -> int:
        """Selects the so-manieth event of a type, and returns its number."""
        seqs = [event.seq for event in self.watched.events if event.type == kind]
        self.app.query_one(TimelinePane).select(seqs[number])
        await self.sees(f"{seqs[number]} {kind}")
        return seqs[number]


@asynccontextmanager
async def watching(
    sessions: Runtime | Sessions,
    session: str | None = "s",
    *,
    columns: int = 120,
    rows: int = 36,
    theme: str = "dark",
) -> AsyncGenerator[Viewer]:
    """Sits a person down before a screen, with the sessions of a runtime or of anything else."""
    if isinstance(sessions, Runtime):
        sessions = LocalSessions(sessions)
    app = WatchApp(sessions, session, theme=theme)
    async with app.run_test(size=(columns, rows)) as pilot:
        viewer = Viewer(app, pilot)
        if session is not None:
            await viewer.until(lambda: app.watched is not None, "nothing was opened")
        yield viewer


def notes(app: WatchApp) -> str:
    """Returns what the screen said in passing."""
    return " ".join(each.message for each in app._notifications)


async def job(s: Scene, folder: Path, *, mode: Mode = "auto", session: str = "s", prompt: str = "go") -> Run:
    """Gives the built-in agent something to do in a folder."""
    agent = coder(MODEL, Limits(steps=20))
    return await s.runtime.start(agent, prompt, session=session, workspace=made(folder), mode=mode)


def made(folder: Path) -> Path:
    """Returns a folder that is there."""
    folder.mkdir(exist_ok=True)
    return folder
