"""What is said to a run that is over."""

from __future__ import annotations

import pytest
from tests.running import MODEL, of, scene, soon

from holdfast import Agent
from holdfast.engine.events import RunStarted
from holdfast.errors import UsageError

AGENT = Agent(MODEL)


@pytest.mark.requirement("newcomers:late-words")
@pytest.mark.parametrize("kind", ["steer", "follow_up"])
async def test_words_for_a_run_that_is_over_are_refused_and_open_no_other(kind: str) -> None:
    async with scene(["one", "two"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        early = await run.follow_up("and then?", key="early")
        result = await soon(run.result())
        for each in (run, s.runtime.run("s", run.key)):
            with pytest.raises(UsageError, match="is over, and nobody reads what is said to it now"):
                await getattr(each, kind)("too late")
        again = await run.follow_up("and then?", key="early")
        assert (early.status, again.status) == ("accepted", "duplicate")
        assert await s.runtime.sweep() == 0
        assert len(of(RunStarted, await s.log())) == 1
        assert result.output == "two"


@pytest.mark.requirement("newcomers:late-words")
async def test_the_session_still_takes_words_that_open_a_run() -> None:
    async with scene(["one", "two"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(run.result())
        receipt = await s.runtime.session("s").steer("on")
        assert receipt.status == "accepted"
