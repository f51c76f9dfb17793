"""Files that calls attach: delivered with the run's result, each once, and with no other run's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, of, scene, seen, soon

from holdfast import Agent, Effect, Runtime, ToolContext, ToolFailure, ToolResult, Wait, tool
from holdfast.engine.events import ToolFinished
from holdfast.runtime.delivering.port import Delivery
from holdfast.storage.chunks import CHUNK_BYTES
from holdfast.testing import Call, ScriptRequest, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import TenantId, digest_of

HANGS = [False]
LARGE = bytes(range(256)) * (CHUNK_BYTES // 100)


@tool(effect="none")
async def report(name: str, text: str, context: ToolContext) -> str:
    """Makes a report."""
    await context.attach(name, text)
    if HANGS[0]:
        await asyncio.Event().wait()
    return "made"


@tool(effect="none")
async def large(context: ToolContext) -> str:
    """Makes a large file."""
    await context.attach("large.bin", LARGE)
    return "made"


@tool(effect=Effect(workspace=True, outside="none"))
async def draw(context: ToolContext) -> str:
    """Draws a picture in the workspace, and attaches it."""
    assert context.workspace is not None
    context.workspace.replace("out/plot.png", b"\x89PNG")
    made = await context.attach("plot.png", path="out/plot.png")
    assert made.media_type == "image/png"
    return "drawn"


@tool(effect="none")
async def reach(path: str, context: ToolContext) -> str:
    """Attaches whatever is asked for."""
    await context.attach("it", path=path)
    return "attached"


@tool(effect="none")
async def broken(context: ToolContext) -> str:
    """Fails after it has written down why."""
    await context.attach("why.log", "no paper")
    raise ToolFailure("It failed; see the log.")


@tool(effect="none")
async def ask(context: ToolContext) -> Wait:
    """Asks, with a draft."""
    await context.attach("draft.txt", "a draft")
    return Wait(token="t", kind="callback", prompt="Will it do?")


@tool(effect="none")
async def outer(context: ToolContext) -> ToolResult:
    """Has another tool make the report, and passes on what it came to."""
    return await context.call("report", {"name": "inner.txt", "text": "inner"})


AGENT = Agent(MODEL, tools=[report, large, draw, reach, broken, ask, outer])


@pytest.fixture(autouse=True)
def fresh() -> None:
    HANGS[0] = False


class Inbox:
    """A target that keeps what it is handed, and may refuse it a few times first."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.deliveries: list[Delivery] = []
        self.files: list[dict[str, bytes]] = []

    async def __call__(self, delivery: Delivery) -> None:
        files = {each.name: await each.read() for each in delivery.attachments}
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody there")
        self.deliveries.append(delivery)
        self.files.append(files)


def calls(*wanted: tuple[str, dict[str, Any]]) -> list[Turn]:
    return [Turn(calls=[Call(name, arguments) for name, arguments in wanted]), Turn(text="done")]


@pytest.mark.requirement("engine:attachments-once")
async def test_what_calls_attach_comes_with_the_result_once_also_when_the_target_fails_at_first() -> None:
    inbox, clock = Inbox(failures=2), FakeClock()
    script = calls(
        ("report", {"name": "a.txt", "text": "one"}),
        ("report", {"name": "a.txt", "text": "two"}),
        ("large", {}),
        ("broken", {}),
        ("outer", {}),
    )
    async with scene(script, clock=clock, targets={"inbox": inbox}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["inbox"])
        assert (await soon(run.result())).status == "completed"
        for _ in range(3):
            await s.runtime.flush_deliveries()
            await clock.advance(5)
        assert await s.runtime.flush_deliveries() == []
        logged = of(ToolFinished, await s.log())
    assert len(inbox.deliveries) == 1
    assert inbox.files[0] == {
        "a.txt": b"one",
        "a-2.txt": b"two",
        "large.bin": LARGE,
        "why.log": b"no paper",
        "inner.txt": b"inner",
    }
    sent = {each.name: each for each in inbox.deliveries[0].attachments}
    assert sent["large.bin"].digest == digest_of(LARGE)
    assert sent["large.bin"].size == len(LARGE)
    assert sent["a.txt"].media_type == "text/plain"
    assert max(len(str(each.result)) for each in logged) < 5_000  # the log names them, and holds none


@pytest.mark.requirement("engine:attachments-once")
async def test_no_run_gets_what_another_one_made() -> None:
    inbox = Inbox()

    def script(request: ScriptRequest) -> Turn:
        word = request.last_user_text
        if request.answers % 2:
            return Turn(text="done")
        return Turn(calls=[Call("report", {"name": f"{word}.txt", "text": word})])

    async with scene(script, targets={"inbox": inbox}) as s:
        runs = [
            await s.runtime.start(AGENT, word, session=session, deliver=["inbox"])
            for word, session in (("one", "s"), ("two", "s"), ("three", "t"))
        ]
        for run in runs:
            await soon(run.result())
        twin = await s.runtime.fork("s")
        await soon((await s.runtime.start(AGENT, "four", session=twin, deliver=["inbox"])).result())
        assert await s.runtime.flush_deliveries() == []
    assert sorted(list(each) for each in inbox.files) == [["four.txt"], ["one.txt"], ["three.txt"], ["two.txt"]]


@pytest.mark.requirement("engine:attachments-once")
async def test_a_call_that_runs_again_after_a_stop_attaches_its_file_once(tmp_path: Path) -> None:
    inbox, url = Inbox(), f"sqlite:///{tmp_path}/s.db"
    HANGS[0] = True
    async with scene(calls(("report", {"name": "a.txt", "text": "one"})), url=url, targets={"inbox": inbox}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["inbox"], key="k")
        await soon(seen(run, "tool.started"))
        await s.runtime._worker.close()  # as after a kill: nothing more is written
        HANGS[0] = False
        async with Runtime.open(url, targets={"inbox": inbox}) as other:
            again = await other.resume("s", AGENT)
            assert (await soon(again.result())).status == "completed"
            assert await other.flush_deliveries() == []
    assert inbox.files == [{"a.txt": b"one"}]


@pytest.mark.requirement("engine:attachments-once")
async def test_what_a_call_attached_before_it_began_to_wait_is_not_lost() -> None:
    inbox = Inbox()
    async with scene(calls(("ask", {})), targets={"inbox": inbox}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["inbox"])
        await soon(seen(run, "tool.waiting"))
        await run.answer("t", "yes")
        await soon(run.result())
        assert await s.runtime.flush_deliveries() == []
    assert inbox.files == [{"draft.txt": b"a draft"}]


@pytest.mark.requirement("tools:attach")
async def test_a_file_of_the_workspace_is_attached_and_none_outside_it(tmp_path: Path) -> None:
    inbox = Inbox()
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("../secret")
    script = calls(("draw", {}), ("reach", {"path": "../secret"}), ("reach", {"path": "link"}))
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db", targets={"inbox": inbox}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["inbox"], workspace=folder)
        await soon(run.result())
        await s.runtime.flush_deliveries()
        results = [each.result for each in of(ToolFinished, await s.log())]
    assert inbox.files == [{"plot.png": b"\x89PNG"}]
    assert sum(each.error is not None and each.error.code == "permission_denied" for each in results) == 2


@pytest.mark.requirement("tools:attach")
async def test_too_large_or_too_many_files_are_refused_and_the_model_reads_why() -> None:
    @tool(effect="none")
    async def much(context: ToolContext) -> str:
        """Attaches more than may be."""
        await context.attach("a", b"x" * 50_000_001)
        return ""

    @tool(effect="none")
    async def many(context: ToolContext) -> str:
        """Attaches many."""
        for number in range(101):
            await context.attach(f"{number}", b"x")
        return ""

    async with scene([Turn(calls=[Call("much", {}), Call("many", {})]), Turn(text="done")]) as s:
        await soon((await s.runtime.start(Agent(MODEL, tools=[much, many]), "go", session="s")).result())
        said = [each.result.content for each in of(ToolFinished, await s.log())]
        assert (await s.runtime.journal.blobs.usage(TenantId("local"))).bytes < 100_000
    assert "50,000,001 bytes" in said[0] or "50,000,001 bytes" in said[1]
    assert any("may attach 100 files" in each for each in said)


@pytest.mark.requirement("tools:attachments-kept")
async def test_collection_keeps_what_the_log_refers_to() -> None:
    clock = FakeClock()
    async with scene(calls(("large", {})), clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        result = await soon(run.result())
        await clock.advance(3 * 3600)
        await s.runtime.collect(grace=2 * 3600)
        (file,) = of(ToolFinished, await s.log())[0].result.attachments
        kept = [await s.runtime.journal.blobs.get(TenantId("local"), each) for each in file.chunks]
    assert result.status == "completed"
    assert b"".join(kept) == LARGE


@pytest.mark.requirement("tools:attachments-kept")
async def test_a_scrubbed_session_names_no_attachment_any_more() -> None:
    async with scene(calls(("report", {"name": "a.txt", "text": "secret"}))) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        (finished,) = [each for each in await s.log() if isinstance(each.data, ToolFinished)]
        (file,) = of(ToolFinished, [finished])[0].result.attachments
        await s.runtime.scrub("s", at=[finished.seq])
        left = of(ToolFinished, await s.log())[0].result.attachments
        assert not await s.runtime.journal.blobs.has(TenantId("local"), file.digest)
    assert left == ()
