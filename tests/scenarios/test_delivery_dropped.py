"""Prompts that were dropped before they ran: whoever waits for the result hears of it, and nothing of another's run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import MODEL, Scene, Wrapped, of, scene, seen, soon, until

from holdfast import Agent, Runtime, ToolContext, tool
from holdfast.engine.events import InputDropped, InputReceived, RunStarted
from holdfast.engine.letters import Prompt
from holdfast.engine.lineage import Ancestor, Lineage
from holdfast.errors import Corrupt, SessionExited, UsageError
from holdfast.journal.port import Journal, Letter, Park
from holdfast.runtime.delivering.port import Delivery
from holdfast.testing import Call, Turn
from holdfast.types import Digest, StreamId, TenantId, Usage, stream_id

STREAM = stream_id("local", "s")
LEFT = "left for another branch"


class Gate:
    """Where a run stops until it is let on."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()


GATES: list[Gate] = []


@tool(effect="none", name="hold")
async def hold() -> str:
    """Holds."""
    gate = GATES[-1]
    gate.reached.set()
    await gate.opened.wait()
    return "held"


@tool(effect="none", name="secret")
async def secret(context: ToolContext) -> str:
    """Makes a file."""
    await context.attach("alice.txt", b"for alice only")
    return "made"


AGENT = Agent(MODEL, tools=[hold, secret])


class Target:
    """Keeps what it was handed."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []

    async def __call__(self, delivery: Delivery) -> None:
        self.taken.append(delivery)


@pytest.mark.requirement("runtime:delivery-of-dropped-prompts")
async def test_a_dropped_prompt_brings_its_target_nothing_of_the_run_it_waited_behind() -> None:
    GATES[:] = [Gate()]
    alice, bob = Target(), Target()
    turns = [
        Turn(calls=[Call("hold")]),
        Turn(text="the password is 1234", calls=[Call("secret")]),
        Turn(calls=[Call("hold")]),
        "end",
    ]
    async with scene(turns, targets={"alice": alice, "bob": bob}) as s:
        run = await s.runtime.start(AGENT, "alice's job", session="s", deliver=["alice"], user="alice")
        await soon(GATES[0].reached.wait())
        queued = await s.runtime.start(AGENT, "bob's job", session="s", deliver=["bob"], user="bob")
        GATES.append(Gate())
        GATES[0].opened.set()
        await soon(GATES[1].reached.wait())
        await s.runtime.session("s").exit("enough")
        await soon(run.result())
        result = await soon(queued.result())
        assert await s.runtime.flush_deliveries() == []
    (to_alice,), (to_bob,) = alice.taken, bob.taken
    assert (to_alice.output, [each.name for each in to_alice.attachments]) == ("the password is 1234", ["alice.txt"])
    assert (to_bob.status, to_bob.reason) == (result.status, result.reason) == ("aborted", "the session has ended")
    assert (to_bob.output, to_bob.attachments) == (result.output, ()) == ("", ())
    assert (to_bob.cost, to_bob.steps, to_bob.usage) == (result.cost, result.steps, result.usage) == (0, 0, Usage())


@pytest.mark.requirement("runtime:delivery-of-dropped-prompts")
async def test_a_dropped_prompt_is_told_of_though_the_run_it_waited_behind_is_damaged() -> None:
    GATES[:] = [Gate()]
    bob = Target()
    turns = [Turn(calls=[Call("hold")]), Turn(text="x" * 60_000, calls=[Call("hold")])]
    async with scene(turns, targets={"bob": bob}) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(GATES[0].reached.wait())
        await s.runtime.start(AGENT, "bob's job", session="s", deliver=["bob"])
        GATES.append(Gate())
        GATES[0].opened.set()
        await soon(GATES[1].reached.wait())
        await soon(seen(run, "model.finished", 2))
        (large,) = [each.blob for each in await s.runtime.journal.read(STREAM) if each.blob]
        assert await s.runtime.journal.discard(TenantId("local"), {large}, 1 << 60, busy=True)
        await s.runtime.session("s").exit("enough")
        await soon(run.result())
        with pytest.raises(Corrupt):
            await s.log()
        await s.runtime.flush_deliveries()
    (delivery,) = bob.taken
    assert (delivery.status, delivery.reason, delivery.output) == ("aborted", "the session has ended", "")


@pytest.mark.requirement("runtime:delivery-of-dropped-prompts")
async def test_a_prompt_that_a_process_without_targets_drops_is_told_of(tmp_path: Path) -> None:
    GATES[:] = [Gate()]
    bob = Target()
    async with scene([Turn(calls=[Call("hold")]), "end"], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(GATES[0].reached.wait())
        async with Runtime.open(s.url, targets={"bob": bob}) as other:
            await other.start(AGENT, "bob's job", session="s", deliver=["bob"])
            await other.session("s").exit("enough")
            await soon(run.result())
            await until(lambda: len(bob.taken) == 1)  # and nobody asks for it
    assert bob.taken[0].status == "aborted"


@asynccontextmanager
async def paused(
    tmp_path: Path, target: Target, store: str = "memory:", wrap: Callable[[Journal], object] | None = None
) -> AsyncGenerator[Scene]:
    """A session that had a run, and is told to pause."""
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    async with scene(["one", "two", "three"], url=url, targets={"t": target}, wrap=wrap) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        await until(lambda: not s.runtime._worker._live)
        await s.runtime.session("s").pause()
        yield s


async def parked(s: Scene, prompts: int) -> None:
    """Returns when so many prompts lie in the log, and nobody drives the session."""
    while True:
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        if head.owner is None and not head.unread and len(of(InputReceived, await s.log())) == prompts:
            return
        await asyncio.sleep(0.002)


async def ended(s: Scene) -> None:
    """Returns when the session has ended for good."""
    while (await s.kinds())[-1] != "session.ended":  # noqa: ASYNC110 - another task writes it
        await asyncio.sleep(0.002)


class Meanwhile(Wrapped):
    """Somebody speaks when a session is about to be given up."""

    letters: list[Letter]

    def append(self, stream: StreamId, *given: Any, park: Park | None = None, **more: Any) -> asyncio.Future[Any]:
        if stream != STREAM or park is None or not Meanwhile.letters:
            return self.inner.append(stream, *given, park=park, **more)
        return asyncio.ensure_future(self._append(Meanwhile.letters.pop(0), stream, *given, park=park, **more))

    async def _append(self, letter: Letter, stream: StreamId, *given: Any, **more: Any) -> Any:
        assert (await self.inner.post(stream, letter)).status == "accepted"
        return await self.inner.append(stream, *given, **more)


async def prompt(s: Scene, key: str, **changes: Any) -> Letter:
    """Returns a letter with a prompt like the session's first."""
    first = of(InputReceived, await s.log())[0]
    assert first.setup is not None
    setup = msgspec.structs.replace(first.setup, **changes)
    return Letter(key=key, kind="prompt", body=msgspec.json.encode(Prompt(first.message, setup)))


@pytest.mark.requirement("runtime:rewind-tells-of-dropped-prompts")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_queued_prompt_that_a_rewind_drops_is_told_to_its_target(tmp_path: Path, store: str) -> None:
    target = Target()
    async with paused(tmp_path, target, store) as s:
        run = await s.runtime.start(AGENT, "later", session="s", deliver=["t"])
        await soon(parked(s, 2))
        assert target.taken == []
        await s.runtime.rewind("s", to=2)
        await until(lambda: len(target.taken) == 1)  # nobody has to ask for it
        result, log = await soon(run.result()), await s.log()
        (delivery,) = target.taken
        assert (delivery.status, delivery.reason, delivery.output) == ("aborted", LEFT, "")
        assert (result.status, result.reason, result.output) == ("aborted", LEFT, "")
        assert [event.type for event in log][-3:] == ["input.received", "input.dropped", "session.rewound"]
        assert log[-2].data == InputDropped(log[-3].seq, LEFT)
        await s.runtime.rewind("s", to=log[-2].seq)  # which takes it back, and the prompt stays dropped
        assert (await soon((await s.runtime.start(AGENT, "on", session="s")).result())).output == "two"
        await s.runtime.flush_deliveries()
        assert (len(target.taken), len(of(InputDropped, await s.log()))) == (1, 1)


@pytest.mark.requirement("runtime:rewind-tells-of-dropped-prompts")
async def test_prompts_that_were_unread_and_that_come_while_a_session_is_rewound_are_told_of(tmp_path: Path) -> None:
    target, Meanwhile.letters = Target(), []
    async with paused(tmp_path, target, wrap=Meanwhile) as s:
        await s.runtime.journal.post(STREAM, await prompt(s, "unread", deliver=("t",)))
        Meanwhile.letters = [await prompt(s, "late", deliver=("t",)), await prompt(s, "later", deliver=("t",))]
        await s.runtime.rewind("s", to=2)
        for key in ("unread", "late", "later"):
            assert (await soon(s.runtime.run("s", key).result())).reason == LEFT
        await until(lambda: len(target.taken) == 3)
        log = await s.log()
    received = [event.seq for event in log if isinstance(event.data, InputReceived)]
    assert [each.input for each in of(InputDropped, log)] == received[1:]
    assert len(of(RunStarted, log)) == 1
    assert {each.run for each in target.taken} == set(received[1:])


@pytest.mark.requirement("runtime:rewind-spares-an-exit")
async def test_an_exit_that_comes_while_a_session_is_rewound_ends_it(tmp_path: Path) -> None:
    target, Meanwhile.letters = Target(), []
    async with paused(tmp_path, target, wrap=Meanwhile) as s:
        Meanwhile.letters = [Letter(key="x", kind="exit", body=b'{"reason":"closing time"}')]
        await s.runtime.rewind("s", to=2)
        await soon(ended(s))
        with pytest.raises(SessionExited):
            await s.runtime.start(AGENT, "on", session="s")


@pytest.mark.requirement("runtime:rewind-tells-of-dropped-prompts")
async def test_a_session_with_a_prompt_that_another_one_waits_for_is_not_rewound(tmp_path: Path) -> None:
    async with paused(tmp_path, Target()) as s:
        lineage = Lineage("child:s", (Ancestor(stream_id("local", "p"), Digest("sha256:0")),))
        await s.runtime.journal.post(STREAM, await prompt(s, "child", lineage=lineage))
        before = await s.log()
        with pytest.raises(UsageError, match="others that wait for it"):
            await s.runtime.rewind("s", to=2)
        assert await s.log() == before
