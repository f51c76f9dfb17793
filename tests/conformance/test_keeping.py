"""Every store of values passes the one kit; `sqlite-twice` opens the file anew, as another process would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.flow.clock import Clock
from holdfast.storage.sqlite import Database
from holdfast.testing.conformance.keeping import values as kit
from holdfast.tools.keeping.memory import MemoryKeyValues
from holdfast.tools.keeping.port import KeyValues
from holdfast.tools.keeping.sqlite import SqliteKeyValues

pytestmark = pytest.mark.requirement("scripting:values-conform")


@pytest.fixture(params=["memory", "sqlite", "sqlite-twice"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[kit.Make]:
    """Opens the store under test."""
    memory: list[KeyValues] = []
    opened: list[Database] = []

    async def open_one(clock: Clock) -> KeyValues:
        if request.param == "memory":
            memory.append(memory[0] if memory else MemoryKeyValues(clock))
            return memory[0]
        if request.param == "sqlite-twice" or not opened:
            opened.append(await Database.open(str(tmp_path / "k.db"), ()))
        return SqliteKeyValues(opened[-1], clock)

    yield open_one
    for database in opened:
        await database.close()


@pytest.mark.parametrize("check", kit.CHECKS, ids=lambda check: check.__name__)
async def test_a_store_of_values_does_what_the_kit_asks(check: kit.Check, make: kit.Make) -> None:
    await check(make)
