"""Output that is too long for the model: its ends are shown, all of it is kept, and `read` pages through it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.running import MODEL, of, scene, soon

from holdfast import Agent, tool
from holdfast.engine.events import ToolFinished
from holdfast.testing import Call, ScriptRequest, Turn
from holdfast.types import TenantId

LINES = "".join(f"line {number:06}\n" for number in range(20_000))
LONG = "".join(f"<{number:06}>" for number in range(20_000))


@tool(effect="none")
async def lines() -> str:
    """Says much, in lines."""
    return LINES


@tool(effect="none")
async def long() -> str:
    """Says much, in one line."""
    return LONG


@pytest.mark.requirement("tools:output-overflow-blob")
@pytest.mark.parametrize(("name", "all_of_it"), [("lines", LINES), ("long", LONG)])
async def test_what_is_left_out_of_a_result_can_be_read_to_its_end(name: str, all_of_it: str, tmp_path: Path) -> None:
    shown: list[str] = []

    def script(request: ScriptRequest) -> Turn:
        if request.last_result is None:
            return Turn(calls=[Call(name, {})])
        if not request.last_result.startswith(all_of_it[:10]) or "left out" not in request.last_result:
            shown.append(request.last_result)
        if (more := re.search(r"read on with offset=(\d+)\]$", request.last_result)) is not None:
            return Turn(calls=[Call("read", {"path": blob[0], "offset": int(more[1])})])
        if (told := re.search(r'read\(path="(blob:sha256:[0-9a-f]{64})"\)', request.last_result)) is not None:
            blob.append(told[1])
            return Turn(calls=[Call("read", {"path": told[1]})])
        return Turn(text="read it all")

    blob: list[str] = []
    agent = Agent(MODEL, tools=[lines, long, "read"])
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        finished = of(ToolFinished, await s.log())[0].result
        assert (await s.runtime.journal.blobs.get(TenantId("local"), finished.stored)).decode() == all_of_it
    assert result.output == "read it all"
    assert len(finished.content) < 51_000
    read = "".join(re.sub(r"\n?\[lines [^\]]*\]$", "", page) for page in shown)
    assert read.replace("\n", "") == all_of_it.replace("\n", "")


async def test_without_a_tool_that_reads_it_nothing_is_kept_and_less_is_asked_for(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("lines", {})]), Turn(text="done")]) as s:
        await soon((await s.runtime.start(Agent(MODEL, tools=[lines]), "go", session="s")).result())
        [finished] = of(ToolFinished, await s.log())
    assert finished.result.stored == ""
    assert "ask for less" in finished.result.content


async def test_a_name_that_was_never_given_opens_nothing(tmp_path: Path) -> None:
    turns = [Turn(calls=[Call("read", {"path": "blob:sha256:" + "0" * 64}), Call("read", {"path": "blob:../x"})])]
    async with scene([*turns, Turn(text="done")]) as s:
        agent = Agent(MODEL, tools=["read"])
        await soon((await s.runtime.start(agent, "go", session="s", workspace=tmp_path)).result())
        for finished in of(ToolFinished, await s.log()):
            assert "no stored output" in finished.result.content
