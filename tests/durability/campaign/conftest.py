"""The stage of the kill campaign, and the uninterrupted run that the others should equal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator

import pytest
from tests.durability.campaign.effects import SCRIPTS
from tests.durability.campaign.family.players import LINES
from tests.durability.campaign.hostile.plans import speak
from tests.durability.campaign.job import TURNS
from tests.durability.campaign.tally import Tally
from tests.durability.campaign.trial import Reference, Stage, staged

from holdfast.testing import ScriptRequest, Turn

GATES: dict[str, threading.Event] = {}
"""Models that say nothing until their event is set."""


async def say(request: ScriptRequest) -> Turn | None:
    """Speaks the job's lines, to those who have to wait when they may hear them."""
    if (gate := GATES.get(request.model)) is not None:
        await asyncio.to_thread(gate.wait, 10)
    return TURNS[request.answers] if request.answers < len(TURNS) else None


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("trials"), {"job": say, "mixed": speak, **SCRIPTS, **LINES}) as stage:
        yield stage


@pytest.fixture(scope="session")
def reference(stage: Stage) -> Reference:
    return stage.reference()


@pytest.fixture
def gates() -> Generator[dict[str, threading.Event]]:
    yield GATES
    GATES.clear()


@pytest.fixture
def tally(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Tally]:
    """Makes accounts whose progress is seen at the terminal."""

    def say_aloud(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)

    return lambda name: Tally(name, say_aloud)
