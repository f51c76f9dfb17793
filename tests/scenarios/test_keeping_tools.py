"""Values and files that agents keep beyond their runs: where, how much, and through crashes and collections."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, of, scene, seen, soon

from holdfast import Agent, tool
from holdfast.engine.events import ToolFinished
from holdfast.errors import UsageError
from holdfast.storage.chunks import get_chunked
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.scripts import ScriptRequest
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.keeping.values import kv_get, kv_get_with, kv_set_with
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.resolving import find_tool
from holdfast.types import CallId, StreamId, TenantId, digest_of

NAMES = [name for name in BUILTIN if name.startswith(("kv_", "file_"))]
AGENT = Agent(MODEL, tools=NAMES)


def playing(*calls: Call) -> Any:
    """Returns a model that makes calls, one a turn, in whichever run it is asked."""
    turns = iter(calls)

    def model(request: ScriptRequest) -> Turn:
        call = next(turns, None)
        return Turn(text="done") if call is None else Turn(calls=[call])

    return model


async def said(s: Scene, agent: Agent = AGENT, session: str = "s", **more: Any) -> list[str]:
    """Returns what the calls of a run came to."""
    run = await s.runtime.start(agent, "go", session=session, **more)
    assert (await soon(run.result())).status == "completed"
    return [each.result.content for each in of(ToolFinished, await s.log(session))]


@pytest.mark.requirement("scripting:values-kept")
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_values_are_kept_found_listed_and_deleted(store: str, tmp_path: Path) -> None:
    calls = [
        Call("kv_get", {"key": "a"}),
        Call("kv_set", {"key": "a", "value": "größer"}),
        Call("kv_set", {"key": "b", "value": "x", "version": 0}),
        Call("kv_set", {"key": "b", "value": "y", "version": 0}),
        Call("kv_get", {"key": "a"}),
        Call("kv_list", {}),
        Call("kv_delete", {"key": "a"}),
        Call("kv_delete", {"key": "a"}),
        Call("kv_list", {"prefix": "a"}),
        Call("kv_set", {"key": "k" * 513, "value": ""}),
        Call("kv_set", {"key": " ", "value": ""}),
        Call("kv_set", {"key": "big", "value": "x" * (1024**2 + 1)}),
    ]
    url = "memory:" if store == "memory" else f"sqlite:///{tmp_path}/s.db"
    async with scene(playing(*calls), url=url) as s:
        found = await said(s)
    assert found[:3] == ['{"found":false}', "Kept as version 1.", "Kept as version 2."]
    assert "there is version 2 now" in found[3]
    assert json.loads(found[4]) == {"found": True, "value": "größer", "version": 1}
    assert [each["key"] for each in json.loads(found[5])] == ["a", "b"]
    assert found[6:9] == ["Deleted.", "There was nothing under that key.", "[]"]
    assert ["512" in each or "1048576" in each for each in found[9:]] == [True, True, True]


@pytest.mark.requirement("scripting:values-scoped")
async def test_values_are_apart_by_user_agent_and_scope(tmp_path: Path) -> None:
    calls = [Call("kv_set", {"key": "k", "value": "mine"}), None, Call("kv_get", {"key": "k"}), None] + [
        Call("kv_get", {"key": "k"}),
        None,
    ] * 5
    turns = iter(calls)

    def model(request: ScriptRequest) -> Turn:
        call = next(turns)
        return Turn(text="done") if call is None else Turn(calls=[call])

    other = Agent(MODEL, tools=NAMES, name="other")
    session = Agent(MODEL, tools=[kv_get_with("session")])
    user = Agent(MODEL, tools=[kv_get_with("user")])
    async with scene(model, url=f"sqlite:///{tmp_path}/s.db") as s:
        await said(s)
        assert "mine" in (await said(s, session="2"))[0]
        for number, (agent, more) in enumerate([(other, {}), (AGENT, {"user": "ann"}), (session, {}), (user, {})]):
            found = await said(s, agent, session=f"x{number}", **more)
            assert found == ['{"found":false}'], number
    with pytest.raises(UsageError, match="'agent', 'user', 'session'"):
        kv_set_with("world")
    made = find_tool("builtin:kv_set?session")
    assert made.spec == kv_set_with("session").spec


@pytest.mark.requirement("scripting:values-kept")
async def test_outside_a_run_nothing_is_kept() -> None:
    with pytest.raises(ToolFailure, match="only in a run"):
        await kv_get.run(
            kv_get.parse(b'{"key": "k"}'), ToolContext(call_id=CallId("c"), stream=StreamId("l/s"), key="k")
        )


@pytest.mark.requirement("scripting:values-once")
async def test_a_value_that_was_set_before_a_crash_is_not_set_again_over_a_later_one(tmp_path: Path) -> None:
    """The process stops when the value is written and the log does not say so yet."""
    stuck = asyncio.Event()

    @tool(effect="none")
    async def never() -> str:
        """Never ends."""
        stuck.set()
        await asyncio.Event().wait()
        return ""

    calls = [Call("kv_set", {"key": "k", "value": "first"}), Call("never", {})]
    agent = Agent(MODEL, tools=["kv_set", never], name="a")
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([Turn(calls=calls), Turn(text="done")], url=url) as s:
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, "tool.finished"))
        await soon(stuck.wait())
        await s.runtime.close()
        [finished] = of(ToolFinished, await reopened(s, url))
        assert finished.result.content == "Kept as version 1."
        from holdfast.flow.clock import SystemClock
        from holdfast.runtime.opening import open_journal, open_values
        from holdfast.tools.keeping.kept import VALUES, Kept

        journal = await open_journal(url, SystemClock())
        values = open_values(journal, SystemClock())
        kept = Kept(values=values, blobs=journal.blobs, tenant=TenantId("local"), user="", agent="a", session="s")
        await values.set(kept.place("value"), "k", "later", operation="other", caps=VALUES)
        key = await _operation_of(journal)
        again = await values.set(kept.place("value"), "k", "first", operation=key, caps=VALUES)
        entry = await values.get(kept.place("value"), "k")
        await journal.close()
        assert again.version == 1
        assert entry is not None and entry.value == "later"


async def reopened(s: Scene, url: str) -> Any:
    """Returns the log as another process reads it."""
    async with s.other() as other:
        s.runtime = other
        return await s.log()


async def _operation_of(journal: Any) -> str:
    query = "select operation from keep_operation where operation != 'other'"
    rows = await journal.database.read(lambda connection: connection.execute(query).fetchall())
    return str(rows[0][0])


@pytest.mark.requirement("scripting:files-kept")
async def test_files_are_saved_read_searched_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "r.bin").write_bytes(bytes(range(256)) * 200)
    calls = [
        Call("file_save", {"name": "notes/a.md", "text": "The Quick\nbrown fox"}),
        Call("file_save", {"name": "b.bin", "base64_data": base64.b64encode(b"\x00\xff").decode()}),
        Call("file_save", {"name": "c", "path": "r.bin"}),
        Call("file_save", {"name": "d", "path": "../secret"}),
        Call("file_save", {"name": "e", "text": "x", "path": "r.bin"}),
        Call("file_save", {"name": "f", "base64_data": "%%"}),
        Call("file_get", {"name": "b.bin"}),
        Call("file_get", {"name": "c"}),
        Call("file_get_text", {"name": "notes/a.md", "start": 4, "length": 5}),
        Call("file_get_metadata", {"name": "notes/a.md"}),
        Call("file_list", {}),
        Call("file_search", {"text": "quick"}),
        Call("file_search", {"text": "B.BIN"}),
        Call("file_delete", {"name": "b.bin"}),
        Call("file_get", {"name": "b.bin"}),
    ]
    async with scene(playing(*calls), url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path / "w")
        assert (await soon(run.result())).status == "completed"
        results = [each.result for each in of(ToolFinished, await s.log())]
    found = [each.content for each in results]
    assert found[:3] == ["Kept 19 bytes.", "Kept 2 bytes.", "Kept 51200 bytes."]
    assert [each.error is not None for each in results[3:6]] == [True, True, True]
    assert base64.b64decode(found[6]) == b"\x00\xff"
    assert [each.size for each in results[7].attachments] == [51200]
    assert found[8] == "Quick\n[10 characters more: go on with start=9]"
    assert {key: json.loads(found[9])[key] for key in ("name", "bytes", "media_type")} == {
        "name": "notes/a.md", "bytes": 19, "media_type": "text/markdown",
    }  # fmt: skip
    assert [each["name"] for each in json.loads(found[10])] == ["b.bin", "c", "notes/a.md"]
    assert json.loads(found[11]) == [{"name": "notes/a.md", "excerpt": "The Quick\nbrown fox"}]
    assert json.loads(found[12]) == [{"name": "b.bin", "excerpt": ""}]
    assert found[13] == "Deleted."
    assert "no file 'b.bin'" in found[14]


@pytest.mark.requirement("scripting:files-collected")
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_kept_file_outlives_its_session_and_a_collection_and_a_deleted_one_does_not(
    store: str, tmp_path: Path
) -> None:
    (tmp_path / "w").mkdir()
    data = random.Random(1).randbytes(9_000_000)  # more than a blob holds, none of it twice
    (tmp_path / "w" / "big").write_bytes(data)
    calls = [
        Call("file_save", {"name": "kept", "path": "big"}),
        Call("file_save", {"name": "small", "text": "kept as well"}),
        Call("file_save", {"name": "gone", "text": "gone " * 100}),
        Call("file_delete", {"name": "gone"}),
    ]
    url = "memory:" if store == "memory" else f"sqlite:///{tmp_path}/s.db"
    clock = FakeClock()
    turns = iter([*calls, None, Call("file_get", {"name": "kept"}), Call("file_get_text", {"name": "small"}), None])

    def model(request: ScriptRequest) -> Turn:
        call = next(turns)
        return Turn(text="done") if call is None else Turn(calls=[call])

    async with scene(model, url=url, clock=clock, seconds=60) as s:
        assert "Deleted." in (await said(s, workspace=tmp_path / "w"))[-1]
        await s.runtime.delete("s")
        await clock.advance(3 * 24 * 3600)
        await s.runtime.collect()
        blobs = s.runtime.journal.blobs
        assert not await blobs.has(TenantId("local"), digest_of(b"gone " * 100))
        found = await said(s, session="2")
        [attached, _] = [each.result.attachments for each in of(ToolFinished, await s.log("2"))]
        assert digest_of(
            await get_chunked(blobs, TenantId("local"), attached[0].digest, attached[0].chunks)
        ) == digest_of(data)
    assert found[1] == "kept as well"
