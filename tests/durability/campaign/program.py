"""What a process of the campaign does: open the store, start the run or go on with it, and say how that ended.

Forked from a server that has imported all this and opened nothing.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import pickle
import signal
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal, final

import msgspec
from tests.durability.campaign.boundaries import Boundaries, Boundary
from tests.durability.campaign.boxed.watching import watch_boxes
from tests.durability.campaign.job import FOLLOW_UP, PROMPT, TOOLS

from holdfast import Agent, Runtime
from holdfast.errors import HoldfastError
from holdfast.flow.clock import Clock, SystemClock, Timer
from holdfast.runtime.sandboxes import WITHOUT
from holdfast.sandbox.policy.profile import Profile
from holdfast.tools.resolving import find_tool
from holdfast.types import Outside, stream_id

__all__ = ("KEY", "PATIENCE", "SESSION", "Order", "Outcome", "Shift", "perform")

PATIENCE = 40.0
"""Seconds after which a process that neither ended nor was killed counts as hung."""

SESSION = "job"
KEY = "the-prompt"
_AGAIN = (
    "import pathlib, pickle, sys; from tests.durability.campaign.program import perform; "
    "perform(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()))"
)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is to do."""

    folder: Path
    """Of the trial: holds the store, the workspace, and what the process leaves."""
    number: int
    """Of the process in its trial."""
    server: str
    model: str
    at: Boundary | None = None
    """Where it ends."""
    freeze: bool = False
    """Whether it only stops there, until it is continued."""
    prompt: str = PROMPT
    follow_up: str = FOLLOW_UP
    tools: tuple[str, ...] = TOOLS
    """Names of built-in ones, or references."""
    effects: dict[str, Outside] = {}
    """What calls of a tool do outside the workspace, by its name, where the one who starts the run knows better."""
    environment: dict[str, str] = {}
    """Variables for the functions of tools."""
    retry: bool = False
    """Whether the one who started it and got no answer starts it again, instead of resuming it."""

    play: str = ""
    """`module:function` that opens the store and does it all in place of what is done here."""
    shifted: bool = False
    """Whether its time is ahead by what the trial's file says."""
    sandbox: Profile = WITHOUT
    """What its commands run in."""
    user: int = 0
    """Whom it becomes first, where that is not root."""
    python: str = sys.executable
    """An interpreter that this user may run."""

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    @property
    def time(self) -> Path:
        return self.folder / "seconds-ahead"

    @property
    def record(self) -> Path:
        return self.folder / f"boundaries-{self.number}"

    @property
    def outcome(self) -> Path:
        return self.folder / f"outcome-{self.number}"


@final
class Shift(Clock):
    """The machine's time and some seconds more, as many as a file says at that moment: hours pass when a test wants."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._seconds = mmap.mmap(opened.fileno(), 8)
        self._clock = SystemClock()

    @staticmethod
    def set(file: Path, seconds: int) -> None:
        """Makes it so late, for every process that goes by this file."""
        with file.open("r+b" if file.exists() else "w+b") as opened:
            opened.write(seconds.to_bytes(8))

    def now(self) -> int:
        return self._clock.now() + self._ahead() * 1_000_000

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_later(seconds, callback)

    def drive(self, loop: asyncio.AbstractEventLoop) -> None:
        """Makes the timers of an event loop go by this clock."""
        loop.time = self.monotonic

    def _ahead(self) -> int:
        return int.from_bytes(self._seconds[:8])


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended that was not killed."""

    how: Literal["finished", "refused", "broken"]
    text: str
    """The answer; or the code of the refusal; or a traceback."""
    steps: int = 0


def perform(order: Order, together: Barrier | None = None) -> None:
    """Does it; with a barrier, the session is touched when everybody else is about to."""
    if os.geteuid() != order.user and order.user:
        _become(order)
    os.environ["OPENAI_BASE_URL"] = order.server
    os.environ["OPENAI_API_KEY"] = "scripted"
    os.environ.update(order.environment)
    boundaries = Boundaries(order.record, order.at, partial(_freeze, order.store) if order.freeze else None)
    boundaries.install()
    if order.sandbox.backend == "native":
        watch_boxes(boundaries.reach)
    try:
        outcome = asyncio.run(_run(order, together))
    except HoldfastError as error:
        outcome = Outcome(how="refused", text=error.code)
    except Exception:  # noqa: BLE001  the boundary of a process: its parent shall know
        outcome = Outcome(how="broken", text=traceback.format_exc())
    order.outcome.write_bytes(msgspec.json.encode(outcome))


def _become(order: Order) -> None:
    """Goes on as an ordinary user, who can read little of what root can: in an interpreter that starts anew."""
    note = order.folder / f"order-{order.number}"
    note.write_bytes(pickle.dumps(order))
    user = ("setpriv", f"--reuid={order.user}", f"--regid={order.user}", "--clear-groups", "--bounding-set=-all")
    libraries = next(each for each in sys.path if each.endswith("site-packages"))
    root = Path(__file__).parents[3]
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": f"{root}:{root / 'src'}:{libraries}",
        "HOME": str(order.folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.execvpe("setpriv", [*user, "--no-new-privs", order.python, "-c", _AGAIN, str(note)], environment)


def _freeze(store: Path) -> None:
    # Not while our own writer holds the store's lock: then nobody could go on until we do.
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        connection.execute("rollback")
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # to the process, another thread might hear it first


async def _run(order: Order, together: Barrier | None) -> Outcome:
    if order.play:
        return await resolve_name(order.play)(order)
    clock: Clock | None = None
    if order.shifted:
        clock = Shift(order.time)
        clock.drive(asyncio.get_running_loop())
    async with Runtime.open(f"sqlite:///{order.store}", clock=clock, sandbox=order.sandbox) as runtime:
        if together is not None:
            together.wait(PATIENCE)
        if order.retry or await runtime.journal.head(stream_id("local", SESSION)) is None:
            tools = [find_tool(name) if ":" in name else name for name in order.tools]
            agent = Agent(f"openai/{order.model}", instructions="You keep books.", tools=tools)
            run = await runtime.start(
                agent, order.prompt, session=SESSION, workspace=order.workspace, effects=order.effects, key=KEY
            )
        else:
            run = await runtime.resume(SESSION)
        if order.follow_up:
            await run.follow_up(order.follow_up, key="the-follow-up")
        result = await run.result()
    return Outcome(how="finished", text=f"{result.status}: {result.output}", steps=result.steps)
