"""What was scrubbed or deleted is in no byte of any file of the store, and what is left can be gone on with."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.running import MODEL, Scene, all_answered, answer, asked, opened, paired, scene, seen, told

from holdfast import Agent, tool
from holdfast.engine import events as kinds
from holdfast.engine.events import CODEC, ModelFinished, RunStarted, ToolFinished, WaitResolved
from holdfast.engine.folding import replay
from holdfast.errors import LeaseHeld, UsageError
from holdfast.flow.ids import worker_name
from holdfast.journal.owning import BLOB_BYTES
from holdfast.runtime.history.scrubbing import CONTENT, GONE, STRUCTURE, Scrub
from holdfast.testing import Call, Turn
from holdfast.tools.attaching import stored_file
from holdfast.types import (
    CallId,
    Digest,
    Event,
    EventId,
    Payload,
    Scrubbed,
    StreamId,
    TenantId,
    ToolCall,
    ToolResult,
    Unknown,
)

SECRET = "sk-live-6f1c-ünïque"
LOCAL, STREAM = TenantId("local"), StreamId("local/s")


@tool(effect="none")
async def look(where: str) -> str:
    """Looks somewhere."""
    return f"in {where} lies {SECRET}" + "." * (BLOB_BYTES if where == "long" else 0)


def turns() -> list[Turn]:
    writes = [Call("write", {"path": "k", "content": words}) for words in (SECRET, f"{SECRET} again")]
    return [
        Turn(text="I look.", calls=[Call("look", {"where": "short", "note": SECRET})]),
        Turn(text=f"It is {SECRET}.", calls=[Call("look", {"where": "long"}), *writes]),
        Turn(text="Done. " + SECRET + "," * BLOB_BYTES),
        Turn(text="I go on."),
    ]


def traces(folder: Path, secret: str = SECRET) -> list[str]:
    """Returns the files in which the secret stands, however it is written."""
    wanted = [secret.encode(), secret.encode("unicode_escape"), secret.encode("utf-16-le")]
    return sorted(
        path.name for path in folder.iterdir() if path.is_file() and any(each in path.read_bytes() for each in wanted)
    )


async def told_of(s: Scene, folder: Path) -> None:
    """Lets a run find, say and write the secret."""
    (folder / "w").mkdir()
    agent = Agent(MODEL, tools=[look, "write"])
    run = await s.runtime.start(agent, f"find {SECRET}", session="s", workspace=folder / "w")
    await run.result()
    assert traces(folder / "db")


def url_of(folder: Path) -> str:
    (folder / "db").mkdir()
    return f"sqlite:///{folder}/db/s.db"


@pytest.mark.requirement("runtime:scrub-leaves-no-trace", "journal:scrub-keeps-sequence")
async def test_words_that_are_scrubbed_are_in_no_file_and_the_session_goes_on(tmp_path: Path) -> None:
    async with scene(turns(), url=url_of(tmp_path)) as s:
        await told_of(s, tmp_path)
        before = await s.log()
        done = await s.runtime.scrub("s", match=SECRET)
        assert traces(tmp_path / "db") == []
        log = await s.log()
        (tmp_path / "w" / "k").unlink()
        result = await (await s.runtime.start(Agent(MODEL), "go on", session="s")).result()
        conversation = asked(s.server)[-1]
    assert result.output == "I go on."
    assert [(event.seq, event.type) for event in log] == [(event.seq, event.type) for event in before]
    assert set(done.events) == {event.seq for event in log if event.scrubbed is not None}
    assert (done.left, done.named) == (0, ())
    assert done.blobs > 0
    assert done.snapshots > 0
    assert paired(conversation)
    assert all_answered(log)
    assert f"It is {GONE}." in str(conversation)
    assert SECRET not in str(conversation)
    one, two = replay(before), replay(log)
    assert one.last is not None
    assert two.last is not None
    assert (one.last.usage, one.last.cost, one.last.steps) == (two.last.usage, two.last.cost, two.last.steps)


@pytest.mark.requirement("runtime:scrub-file-names")
async def test_the_names_of_files_that_a_run_was_given_or_made_are_scrubbed_and_the_files_stay(tmp_path: Path) -> None:
    @tool(effect="none")
    async def make() -> ToolResult:
        """Makes a file."""
        file = await stored_file(s.runtime.journal.blobs, LOCAL, f"{SECRET}.csv", b"a,b")
        return ToolResult("made", attachments=(file,))

    async with scene([Turn(calls=[Call("make")]), *["done"] * 2], url=url_of(tmp_path)) as s:
        agent, given = Agent(MODEL, tools=[make]), [(f"{SECRET}.txt", b"harmless"), ("other.txt", b"as well")]
        out = f"file:{tmp_path}/out"
        await (await s.runtime.start(agent, "go", session="s", files=given, deliver=[out])).result()
        await s.runtime.flush_deliveries()
        done = await s.runtime.scrub("s", match=SECRET)
        assert (done.named, traces(tmp_path / "db")) == ((), [])
        (setup,) = [event.data.setup for event in await s.log() if isinstance(event.data, RunStarted)]
        assert [each.name for each in setup.files] == [f"{GONE}.txt", "other.txt"]
        assert await s.runtime.journal.blobs.get(LOCAL, setup.files[0].digest) == b"harmless"
        (made,) = [event.data.result.attachments[0] for event in await s.log() if isinstance(event.data, ToolFinished)]
        assert made.name == f"{GONE}.csv"
        await s.runtime.scrub("s", at=[event.seq for event in await s.log()])
        (setup,) = [event.data.setup for event in await s.log() if isinstance(event.data, RunStarted)]
        assert (setup.files, setup.deliver) == ((), (out,))
        assert (await (await s.runtime.start(agent, "go on", session="s")).result()).output == "done"


@pytest.mark.requirement("runtime:scrub-events")
async def test_an_event_that_is_scrubbed_says_so_and_keeps_what_it_did(tmp_path: Path) -> None:
    async with scene(turns(), url=url_of(tmp_path)) as s:
        await told_of(s, tmp_path)
        await s.runtime.scrub("s", at=[event.seq for event in await s.log()])
        log = await s.log()
        answers = [event.data.message for event in log if isinstance(event.data, ModelFinished)]
        results = [event.data.result for event in log if isinstance(event.data, ToolFinished)]
        again = await s.runtime.scrub("s", at=[1])
    assert [answer.text for answer in answers] == [GONE] * 3
    assert [call.name for answer in answers for call in answer.calls] == ["look", "look", "write", "write"]
    assert {call.arguments for answer in answers for call in answer.calls} == {"{}"}
    assert {result.content for result in results} == {GONE}
    assert all(answer.usage.total_tokens for answer in answers)
    assert isinstance(log[0].scrubbed, Scrubbed)
    assert log[0].scrubbed.by == "user"
    assert again.events == ()


@pytest.mark.requirement("runtime:delete-session")
async def test_a_deleted_session_is_in_no_file(tmp_path: Path) -> None:
    async with scene(turns(), url=url_of(tmp_path)) as s:
        await told_of(s, tmp_path)
        done = await s.runtime.delete("s")
        assert traces(tmp_path / "db") == []
        assert await s.runtime.journal.heads("local") == []
        usage = await s.runtime.journal.blobs.usage(LOCAL)
    assert done.sessions == ("s",)
    assert done.blobs > 0
    assert usage.blobs == done.left == 1, "the spec of the agent, which this process knows"
    assert (tmp_path / "w" / "k").exists()


@pytest.mark.requirement("runtime:delete-session")
async def test_what_another_session_names_stays(tmp_path: Path) -> None:
    async with scene(turns(), url=url_of(tmp_path)) as s:
        await told_of(s, tmp_path)
        await s.runtime.fork("s", name="f", workspace=tmp_path / "f")
        await s.runtime.delete("s")
        log = await s.log("f")
        assert SECRET in str(replay(log).messages)
        again = await s.runtime.fork("f", at=len(log) - 3, name="g", workspace=tmp_path / "g")
        assert (tmp_path / "g" / "k").read_text().startswith(SECRET)
        done = await s.runtime.delete("f", again)
        assert traces(tmp_path / "db") == []
    assert done.sessions == ("f", "g")


@pytest.mark.requirement("runtime:delete-refuses-open-runs")
async def test_a_session_in_which_something_is_open_is_neither_deleted_nor_scrubbed(tmp_path: Path) -> None:
    async with scene(turns(), url=url_of(tmp_path)) as s:
        (tmp_path / "w").mkdir()
        agent = Agent(MODEL, tools=["write", look])
        run = await s.runtime.start(agent, "go", session="s", workspace=tmp_path / "w", mode="ask")
        await seen(run, "tool.waiting")
        before = await s.log()
        for call in (s.runtime.delete("s"), s.runtime.scrub("s", match="go")):
            with pytest.raises(UsageError, match="a run is open in session 's'"):
                await call
        assert await s.log() == before
        await run.abort()
        await run.result()
        claim = await s.runtime.journal.claim(STREAM, worker_name(), 10_000_000)
        with pytest.raises(LeaseHeld):
            await s.runtime.delete("s")
        await s.runtime.journal.release(STREAM, claim.head.epoch)
        assert (await s.runtime.delete("s")).sessions == ("s",)


@pytest.mark.requirement("runtime:scrub-events")
async def test_what_cannot_be_scrubbed_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    async with scene(turns(), url=url_of(tmp_path)) as s:
        await told_of(s, tmp_path)
        before = await s.log()
        for options in ({}, {"at": [1], "match": "x"}, {"at": [0]}, {"at": [999]}, {"match": ""}):
            with pytest.raises(UsageError):
                await s.runtime.scrub("s", **options)  # pyright: ignore[reportArgumentType]
        assert await s.log() == before
        done = await s.runtime.scrub("s", match=str(tmp_path))
        assert done.events == ()
        assert done.named, "where a name holds the words it is said"


KEPT = {"Setup", "ToolError", "Usage", "SnapshotRef", "Effect", "Limits", "Control", "Thinking", "Image", "Document"}
"""What scrubbing looks at as a whole."""


def fields_of(kind: Any, seen: dict[type, None]) -> None:
    """Gathers the structs that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in seen and kind.__name__ not in KEPT:
            seen[kind] = None
            for each in get_type_hints(kind).values():
                fields_of(each, seen)
    elif get_origin(kind) is not None or isinstance(kind, UnionType):
        for each in get_args(kind):
            fields_of(each, seen)


@pytest.mark.requirement("runtime:scrub-keeps-structure")
def test_every_field_of_every_event_is_known_as_content_or_as_structure() -> None:
    found: dict[type, None] = {}
    for name in kinds.__all__:
        kind = getattr(kinds, name)
        if isinstance(kind, type) and issubclass(kind, Payload) and kind.type:
            fields_of(kind, found)
    words = {
        field
        for struct in found
        for field, kind in get_type_hints(struct).items()
        if str in (kind, *get_args(kind)) or "Digest" in str(kind) or "CallId" in str(kind)
    }
    unknown = words - CONTENT - STRUCTURE - {"type"}
    assert not unknown, f"say in scrubbing.py whether these are content or structure: {unknown}"


PIECES = st.sampled_from(["x", SECRET, "call", "c0", "prompt", '"', "\\", "{", "deny", "once"])
SAID = st.lists(PIECES, max_size=4).map("".join)


@pytest.mark.requirement("runtime:scrub-keeps-structure")
@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(SAID, SAID, st.integers(0, 3)), max_size=6), PIECES, st.data())
def test_a_scrubbed_log_folds_to_the_same_conversation_with_other_words(
    steps: list[tuple[str, str, int]], words: str, data: st.DataObject
) -> None:
    log = _log(steps)
    chosen = data.draw(st.sets(st.sampled_from(log).map(lambda event: event.seq)))
    before = replay(log)
    for scrub in (Scrub(1, "user"), Scrub(1, "user", words)):
        changed = [scrub.apply(event) if event.seq in chosen else event for event in log]
        after = replay([CODEC.decode(CODEC.encode(event)) for event in changed])
        assert [type(message) for message in after.messages] == [type(message) for message in before.messages]
        assert (after.run is None, list(after.calls), after.unfinished) == (
            before.run is None,
            list(before.calls),
            before.unfinished,
        )
        for one, two in zip((before.run, before.last), (after.run, after.last), strict=True):
            if one is not None and two is not None:
                assert (one.usage, one.cost, one.steps, one.denied) == (two.usage, two.cost, two.steps, two.denied)


def _log(steps: list[tuple[str, str, int]]) -> list[Event]:
    """Returns the log of a run whose model says such things and calls so many tools."""
    payloads = opened()
    for said, result, calls in steps:
        asked_for = answer(said, *("look" for _ in range(calls)))
        message = asked_for.message
        parts = tuple(
            msgspec.structs.replace(part, arguments=f'{{"a":{msgspec.json.encode(result).decode()}}}')
            if isinstance(part, ToolCall)
            else part
            for part in message.parts
        )
        payloads.append(msgspec.structs.replace(asked_for, message=msgspec.structs.replace(message, parts=parts)))
        payloads += [
            ToolFinished(CallId(f"c{number}"), ToolResult(result, metadata={"k": [result]})) for number in range(calls)
        ]
    return told(*payloads)


@pytest.mark.requirement("runtime:scrub-keeps-structure")
@pytest.mark.parametrize(
    "said", ["once", "always", "deny", "deny: not now", "approve", "changes: shorter", "free words", None]
)
def test_an_answer_still_decides_what_it_decided(said: str | None) -> None:
    (event,) = told(WaitResolved("approval:1/c0", said))
    scrubbed = Scrub(1, "user").apply(event).data
    assert isinstance(scrubbed, WaitResolved)
    expected = {"deny: not now": f"deny: {GONE}", "changes: shorter": f"changes: {GONE}", "free words": GONE}
    assert scrubbed.content == expected.get(said or "", said)


@pytest.mark.requirement("runtime:scrub-events")
def test_of_a_kind_nobody_knows_only_words_are_scrubbed() -> None:
    event = Event(
        seq=1, id=EventId("e"), type="moon.seen", at=1, epoch=1, data=Unknown(msgspec.Raw(b'{"a":["it is x"]}'))
    )
    with pytest.raises(UsageError, match="scrub the words alone"):
        Scrub(1, "user").apply(event)
    changed = Scrub(1, "user", "it").apply(event).data
    assert isinstance(changed, Unknown)
    assert bytes(changed.raw) == b'{"a":["[scrubbed] is x"]}'
    assert Scrub(1, "user", "nowhere", {Digest("sha256:0")}).apply(event) is event
