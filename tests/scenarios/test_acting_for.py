"""One runtime, many tenants and users: each has its own view, and sees nothing of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.running import MODEL, of, scene, until

from holdfast import Agent
from holdfast.engine.events import CODEC, RunStarted
from holdfast.errors import UnknownSession, UsageError
from holdfast.journal.reading import read_events
from holdfast.runtime.delivering.hooks import Hooks
from holdfast.runtime.delivering.port import Delivery
from holdfast.types import stream_id

AGENT = Agent(MODEL)


@pytest.mark.requirement("runtime:acting-for")
async def test_the_same_name_is_another_session_for_each_tenant_and_says_whose_run_it_is() -> None:
    async with scene(["done"]) as s:
        acme, other = s.runtime.acting_for(tenant="acme", user="ann"), s.runtime.acting_for(tenant="else", user="bob")
        for view, wanted in ((acme, "ann"), (other, "bob")):
            run = await view.start(AGENT, "go", session="s")
            assert (await run.result()).status == "completed"
            stream = stream_id("acme" if view is acme else "else", "s")
            events = [event async for event in read_events(s.runtime.journal, stream, CODEC)]
            assert {event.tenant for event in events} == {stream.partition("/")[0]}
            assert [started.setup.user for started in of(RunStarted, events)] == [wanted]
        with pytest.raises(UnknownSession):
            await s.runtime.resume("s")
        twin = await acme.fork("s", name="twin")
        with pytest.raises(UnknownSession):
            await other.changes(twin)
        await acme.delete("s")
        assert await s.runtime.journal.head(stream_id("else", "s")) is not None


@pytest.mark.requirement("runtime:acting-for")
async def test_each_tenant_has_an_outbox_of_its_own_and_a_sweep_takes_up_everyones_sessions(tmp_path: Path) -> None:
    got: list[str] = []

    async def note(delivery: Delivery) -> None:
        got.append(f"{delivery.tenant}/{delivery.session}")

    url = f"sqlite:///{tmp_path / 'log.db'}"
    async with scene(["done"], url=url, hooks=Hooks(delivery=note)) as s:
        for tenant in ("acme", "else"):
            run = await s.runtime.acting_for(tenant=tenant).start(AGENT, "go", session="s")
            await run.result()
        await until(lambda: len(got) == 2)
        assert got == ["acme/s", "else/s"]
        with pytest.raises(UsageError):
            s.runtime.acting_for(tenant="a/b")
