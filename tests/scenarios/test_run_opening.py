"""Stores by their addresses, what they leave behind, and what a program without one loads."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, scene, soon

from holdfast import Agent, Runtime
from holdfast.engine.events import CODEC
from holdfast.errors import StorageError, UsageError
from holdfast.journal.reading import read_events
from holdfast.testing import ScriptedModelServer
from holdfast.types import stream_id

AGENT = Agent(MODEL)


@pytest.mark.requirement("runtime:open-unknown-scheme")
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://x/y", r"'mysql://x/y'.*'memory:' or 'sqlite:///"),
        ("", r"postgres:nowhere"),
        ("sqlite://host/x.db", r"sqlite:////absolute"),
        ("sqlite:///x.db?synchronous=off", r"synchronous=normal"),
    ],
)
async def test_a_store_that_is_none_is_refused_with_those_there_are(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_STORE", "postgres:nowhere")
    with pytest.raises(UsageError, match=says):
        async with Runtime.open(url or None):
            pass


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.requirement("runtime:open-sqlite", "runtime:open-memory")
async def test_without_an_address_the_store_is_in_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HOLDFAST_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    async with scene(["done"]) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        assert files_in(tmp_path) == [], "a store in memory leaves no file"
        async with Runtime.open() as runtime:
            await soon((await runtime.start(AGENT, "go", session="s")).result())
        assert (tmp_path / "data" / "holdfast" / "holdfast.db").stat().st_size > 0
        async with Runtime.open() as runtime:
            assert (await soon((await runtime.resume("s")).result())).output == "done"


async def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at " * 100)
    for url in (f"sqlite:///{tmp_path}/file/s.db", f"sqlite:///{tmp_path}/text.db"):
        with pytest.raises((StorageError, UsageError), match=str(tmp_path)):
            async with Runtime.open(url):
                pass


ADAPTER = """
from holdfast.journal.stores.memory import MemoryJournal

opened = []

async def open_it(url, clock):
    opened.append(url)
    return MemoryJournal(clock)
"""


@pytest.mark.requirement("runtime:adapters-from-entry-points")
async def test_an_installed_package_adds_a_store_under_its_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cellar_of_this_test-1.0.dist-info"
    info.mkdir()
    (tmp_path / "cellar_of_this_test.py").write_text(ADAPTER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cellar-of-this-test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[holdfast.adapters]\ncellar = cellar_of_this_test:open_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    async with scene(["done"]), Runtime.open("cellar://shelf/7") as runtime:
        assert (await soon((await runtime.start(AGENT, "go")).result())).output == "done"
    assert sys.modules["cellar_of_this_test"].opened == ["cellar://shelf/7"]


@pytest.mark.requirement("runtime:agent-run-sync-inside-loop")
async def test_run_sync_inside_an_event_loop_says_what_to_call_instead() -> None:
    with pytest.raises(UsageError, match=r"inside an event loop: write `await agent\.run\(\.\.\.\)`"):
        AGENT.run_sync("go")


ALONE = """
import sys
from holdfast import Agent
print(Agent("openai/scripted").run_sync("go").output)
print(sorted(name for name in sys.modules if name.split(".")[0] in ("sqlite3", "_sqlite3", "asyncpg", "click", "rich")))
"""


@pytest.mark.requirement("runtime:no-database-no-driver")
async def test_a_program_without_a_database_loads_no_driver() -> None:
    async with scene(["done"]) as s:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ALONE,
            env={**os.environ, "OPENAI_BASE_URL": s.server.base_url},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await soon(child.communicate(), 10)
    assert out.decode().split("\n")[:2] == ["done", "[]"]


@pytest.mark.requirement("types:tenant-default-local")
@pytest.mark.parametrize(("named", "tenant"), [({}, "local"), ({"tenant": "acme"}, "acme")], ids=["nobody", "acme"])
async def test_a_session_of_nobody_named_belongs_to_the_tenant_local(
    named: dict[str, Any], tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedModelServer(["done"]) as server, Runtime.open("memory:", **named) as runtime:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        session = (await (await runtime.start(Agent(MODEL), "go")).result()).session
        heads = {each: await runtime.journal.head(stream_id(each, session)) for each in ("local", "acme")}
        events = [event async for event in read_events(runtime.journal, stream_id(tenant, session), CODEC)]
    assert [name for name, head in heads.items() if head is not None] == [tenant]
    assert {event.tenant for event in events} == {tenant}
