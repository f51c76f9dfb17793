"""The files of a session at any of its events: forks, rewinds and differences bring them back byte for byte."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import MODEL, Scene, of, scene, soon

from holdfast import Agent
from holdfast.engine.events import (
    FilesKept,
    FilesRestored,
    Forked,
    ModelFinished,
    Rewound,
    RunFinished,
    ToolFinished,
    ToolStarted,
)
from holdfast.errors import SandboxError, UsageError, WorkspaceBusy
from holdfast.runtime.history import committing
from holdfast.runtime.runtime import Runtime
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.testing import Call, ScriptRequest, Turn, When
from holdfast.types import Event, TenantId, UserMessage

AGENT = Agent(MODEL, tools=["read", "write", "edit", "bash"])
Tree = dict[str, tuple[str, int, bytes]]


def tree(root: Path) -> Tree:
    """Returns everything below a folder: kind, permissions and content of each path."""
    found: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            kind = stat.filemode(status.st_mode)[0]
            data = os.fsencode(path.readlink()) if kind == "l" else path.read_bytes() if kind == "-" else b""
            found[str(path.relative_to(root))] = (kind, 0 if kind == "l" else stat.S_IMODE(status.st_mode), data)
    return found


def write(path: str, text: str) -> Call:
    return Call("write", {"path": path, "content": text})


def edit(path: str, old: str, new: str) -> Call:
    return Call("edit", {"path": path, "edits": [{"oldText": old, "newText": new}]})


def bash(command: str) -> Call:
    return Call("bash", {"command": command})


def step(number: int) -> Call:
    """Returns what step `number` of a coding run does: something else each time, and each time to other files."""
    kinds: list[Callable[[], Call]] = [
        lambda: write(f"src/m{number}.py", f"x = {number}\n" * (number + 1)),
        lambda: bash(
            f"mkdir -p d{number}/e && head -c {1000 + number} /dev/zero > d{number}/e/blob && chmod 750 d{number}"
        ),
        lambda: edit(f"src/m{number - 2}.py", f"x = {number - 2}\n" * (number - 1), f"y = {number}\n"),
        lambda: bash(
            f"ln -s src/m{number - 3}.py link{number}; rm -rf d{number - 2}; printf '\\xff\\x00' > 'odd name {number}'"
        ),
        lambda: write(f"src/m{number - 4}.py", "rewritten\n"),
        lambda: bash(f"mv 'odd name {number - 2}' moved{number}; chmod +x moved{number}; mkdir empty{number}; exit 3"),
    ]
    return kinds[number % len(kinds)]()


def by_hand(root: Path, call: Call) -> None:
    """Does what a call does, without Holdfast."""
    given: Any = call.arguments
    if call.name == "bash":
        subprocess.run(["bash", "-c", given["command"]], cwd=root, check=False, capture_output=True)
        return
    path = root / given["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if call.name == "write":
        path.write_text(given["content"])
    else:
        [one] = given["edits"]
        path.write_text(path.read_text().replace(one["oldText"], one["newText"]))


async def coded(s: Scene, root: Path) -> list[Event]:
    """Runs an agent in a folder and returns the log."""
    run = await s.runtime.start(AGENT, "go", session="s", workspace=root)
    assert (await soon(run.result(), 60)).status == "completed"
    return await s.log()


STEPS = 30
SCRIPT = [*(Turn(text=f"step {number}", calls=[step(number)]) for number in range(STEPS)), Turn(text="done")]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> list[Tree]:
    """The tree before the first step and after each of them."""
    root = tmp_path_factory.mktemp("oracle")
    (root / "given.txt").write_text("was here before\n")
    trees = [tree(root)]
    for number in range(STEPS):
        by_hand(root, step(number))
        trees.append(tree(root))
    return trees


@pytest.mark.requirement("runtime:fork-brings-files", "tools:whole-snapshot")
async def test_a_fork_at_every_event_of_a_coding_run_has_the_files_of_that_moment(
    tmp_path: Path, oracle: list[Tree]
) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "given.txt").write_text("was here before\n")
    async with scene(SCRIPT, url=f"sqlite:///{tmp_path}/s.db", seconds=120) as s:
        log = await coded(s, root)
        assert tree(root) == oracle[-1]
        done = 0
        for event in log:
            done += isinstance(event.data, ToolFinished)
            folder = tmp_path / f"at{event.seq}"
            await s.runtime.fork("s", at=event.seq, name=f"f{event.seq}", workspace=folder)
            assert tree(folder) == oracle[done], f"at event {event.seq} ({event.type})"
            shutil.rmtree(folder)
        assert tree(root) == oracle[-1]
    assert done == STEPS


@pytest.mark.requirement("runtime:rewind-brings-files")
async def test_a_rewind_puts_the_files_back_and_what_it_took_away_can_be_had_again(
    tmp_path: Path, oracle: list[Tree]
) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "given.txt").write_text("was here before\n")
    async with scene(SCRIPT, url=f"sqlite:///{tmp_path}/s.db", seconds=60) as s:
        log = await coded(s, root)
        ends = [0, *(event.seq for event in log if isinstance(event.data, ToolFinished))]
        (root / "by hand").write_text("the person wrote this")
        mine = tree(root)
        for done in (25, 12, 3):
            await s.runtime.rewind("s", to=ends[done])
            assert tree(root) == oracle[done]
        kept = [event.seq for event in await s.log() if isinstance(event.data, FilesKept)]
        await s.runtime.fork("s", at=kept[1], name="back", workspace=tmp_path / "back")
        assert tree(tmp_path / "back") == oracle[25]
        await s.runtime.rewind("s", to=kept[0])  # which takes the first of them back, with what a person had done
        assert tree(root) == mine
        for done in (29, 14):
            await s.runtime.fork("s", at=ends[done], name=f"f{done}", workspace=tmp_path / f"f{done}")
            assert tree(tmp_path / f"f{done}") == oracle[done]
        await s.runtime.fork("s", at=log[-1].seq, name="mine", workspace=tmp_path / "mine")
        assert tree(tmp_path / "mine") == oracle[-1]
        assert "by hand" in mine
        log = await s.log()
        assert len(of(Rewound, log)) == len(of(FilesRestored, log)) == len(of(FilesKept, log)) == 4


class Died(BaseException):
    """The process is gone."""


@pytest.mark.requirement("runtime:fork-files-survive-kill")
@pytest.mark.parametrize("how", ["fork", "rewind"])
async def test_files_that_were_being_put_back_when_the_process_died_are_put_back_by_the_next(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "b").write_text("before")
    turns = [Turn(calls=[write("a", "1")]), Turn(calls=[bash("echo 2 > a; echo 2 > b")]), Turn(text="done")]
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([*turns, Turn(text="end", when=When(user_contains="more"))], url=url) as s:
        log = await coded(s, root)
        first = next(event.seq for event in log if isinstance(event.data, ToolFinished))
        with monkeypatch.context() as deadly:

            async def dies(store: TreeSnapshots, workspace: Workspace, *_: Any) -> None:
                (workspace.root / "a").write_text("half")
                raise Died

            deadly.setattr(
                "holdfast.runtime.history.branching.fill", lambda _, to, __: dies(to.snapshots, to.workspace)
            )
            deadly.setattr(TreeSnapshots, "restore", dies)
            with pytest.raises(Died):
                if how == "fork":
                    await s.runtime.fork("s", at=first, name="f", workspace=tmp_path / "f")
                else:
                    await s.runtime.rewind("s", to=first)
        name, folder = ("f", tmp_path / "f") if how == "fork" else ("s", root)
        async with s.other() as other:
            result = await soon((await other.start(AGENT, "more", session=name)).result())
        assert result.status == "completed"
        assert {path: data for path, (_, _, data) in tree(folder).items()} == {"a": b"1", "b": b"before"}


@pytest.mark.requirement("runtime:changes-between-events")
async def test_what_became_of_files_between_two_events_is_told(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "kept").write_text("same\n")
    (root / "a").write_text("one\ntwo\n")
    turns = [
        Turn(calls=[edit("a", "two", "three")]),
        Turn(calls=[bash("rm kept; echo new > fresh")]),
        Turn(text="done"),
    ]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db") as s:
        log = await coded(s, root)
        first = next(event.seq for event in log if isinstance(event.data, ToolFinished))
        whole = await s.runtime.changes("s")
        early = await s.runtime.changes("s", until=first)
        late = await s.runtime.changes("s", since=first)
    assert [(each.path, each.kind) for each in whole.changes] == [
        ("a", "modified"),
        ("fresh", "added"),
        ("kept", "removed"),
    ]
    assert "-two" in whole.text and "+three" in whole.text and "+new" in whole.text
    assert [each.path for each in early.changes] == ["a"]
    assert [each.path for each in late.changes] == ["fresh", "kept"]


@pytest.mark.requirement("runtime:store-not-in-snapshots")
async def test_a_store_inside_the_workspace_is_in_no_snapshot_and_survives_every_restore(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    turns = [Turn(calls=[bash("echo 1 > a")]), Turn(calls=[bash("echo 2 > a")]), Turn(text="done")]
    async with scene(turns, url=url) as s:
        await s.runtime.close()
        async with Runtime.open(url, clock=s.clock) as runtime:
            s.runtime = runtime
            log = await coded(s, tmp_path)
            ends = [event.seq for event in log if isinstance(event.data, ToolFinished)]
            child = await runtime.fork("s", at=ends[0])
            await runtime.rewind("s", to=ends[0])
            [forked] = of(Forked, await s.log(child))
            assert sorted(tree(Path(forked.workspace))) == ["a"]
            assert (tmp_path / "a").read_text() == "1\n"
            assert (tmp_path / "s.db").exists()
            changed = await runtime.changes("s")
            assert [each.path for each in changed.changes] == ["a"]
            assert len(await s.log()) > len(log)


@pytest.mark.requirement("runtime:files-unknown-told")
async def test_files_of_which_nothing_could_be_kept_are_named_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "work"
    root.mkdir()

    async def refuses(*_: Any) -> None:
        raise SandboxError("the workspace is too large to be kept")

    turns = [Turn(calls=[bash("echo 1 > a")]), Turn(text="done")]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db") as s:
        with monkeypatch.context() as huge:
            huge.setattr(TreeSnapshots, "capture", refuses)
            log = await coded(s, root)
        assert (root / "a").exists()  # that a folder is too large is no reason not to work in it
        assert "too large" in of(ToolStarted, log)[0].unsaved
        with pytest.raises(SandboxError, match=r"call that began at event \d+ .* too large to be kept"):
            await s.runtime.fork("s", at=2)
        child = await s.runtime.fork("s", workspace=tmp_path / "f")
        assert tree(tmp_path / "f") == tree(root)
        assert of(Forked, await s.log(child))[0].at == log[-1].seq


async def test_a_session_without_a_folder_forks_without_one(tmp_path: Path) -> None:
    async with scene([Turn(text="done")]) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        await s.runtime.fork("s", name="f")
        assert of(Forked, await s.log("f"))[0].workspace == ""
        with pytest.raises(UsageError, match="no workspace"):
            await s.runtime.fork("s", name="g", workspace=tmp_path / "x")
        with pytest.raises(UsageError, match="no workspace"):
            await s.runtime.changes("s")
        assert of(RunFinished, await s.log())[0].files is None


@pytest.mark.requirement("runtime:commit-reviewed")
async def test_what_a_fork_changed_is_brought_back_unless_both_changed_it(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "a").write_text("one\n")
    (root / "b").write_text("two\n")
    turns = [Turn(calls=[write("c", "three\n")]), Turn(text="done")]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db") as s:
        await coded(s, root)
        await s.runtime.fork("s", name="g", workspace=tmp_path / "g")
        with pytest.raises(UsageError, match="no fork"):
            await s.runtime.commit("s")
        assert await s.runtime.commit("g") == ()
        by_hand(tmp_path / "g", bash("echo 1 > a; rm b; mkdir d; echo 4 > d/e; ln -s /etc/passwd out"))
        with pytest.raises(SandboxError, match="out: "):
            await s.runtime.commit("g")
        wanted = await s.runtime.commit("g", ["a", "b", "d", "d/e"], dry_run=True)
        assert [(each.path, each.kind) for each in wanted] == [
            ("a", "modified"),
            ("b", "removed"),
            ("d", "added"),
            ("d/e", "added"),
        ]
        assert (root / "b").exists()
        (root / "a").write_text("mine\n")
        with pytest.raises(SandboxError, match="a: it changed in the target too"):
            await s.runtime.commit("g", ["a", "b"])
        assert (root / "b").exists()
        await s.runtime.commit("g", ["b", "d", "d/e"])
    assert {path: data for path, (_, _, data) in tree(root).items()} == {
        "a": b"mine\n",
        "c": b"three\n",
        "d": b"",
        "d/e": b"4\n",
    }


@pytest.mark.requirement("sandbox:one-writer-for-a-workspace")
async def test_nothing_is_brought_back_into_a_folder_that_a_session_is_changing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "_PATIENCE", 0.01)
    root = tmp_path / "work"
    root.mkdir()
    async with scene([Turn(calls=[write("c", "three\n")]), Turn(text="done")]) as s:
        await coded(s, root)
        await s.runtime.fork("s", name="g", workspace=tmp_path / "g")
        (tmp_path / "g" / "c").write_text("four\n")
        async with s.runtime._sandboxes.at(TenantId("local"), root).exclusive("session 's'", 0):
            with pytest.raises(WorkspaceBusy, match="being changed by session 's'"):
                await s.runtime.commit("g")
            assert (root / "c").read_text() == "three\n"
            assert [each.path for each in await s.runtime.commit("g", dry_run=True)] == ["c"]
        await s.runtime.commit("g")
    assert (root / "c").read_text() == "four\n"


class Wanderer:
    """Runs, rewinds and forks sessions, and knows how the files were at each of their events."""

    def __init__(self, s: Scene, home: Path, chance: random.Random) -> None:
        self.s, self.home, self.chance = s, home, chance
        self.at: dict[str, dict[int, Tree]] = {"s": {}}
        self.where = {"s": home / "work"}

    def session(self) -> str:
        return self.chance.choice(sorted(self.at))

    async def note(self, session: str) -> None:
        """Remembers how the files are at the events that are new."""
        now = tree(self.where[session])
        for event in await self.s.log(session):
            self.at[session].setdefault(event.seq, now)

    async def run(self) -> None:
        session = self.session()
        known, folder = self.at[session], self.where[session]
        trees, shadow = [tree(folder)], self.home / "shadow"
        shutil.rmtree(shadow, ignore_errors=True)
        shutil.copytree(folder, shadow, symlinks=True)
        await soon(
            (await self.s.runtime.start(AGENT, "go", session=session, workspace=None if known else folder)).result()
        )
        fresh = [event for event in await self.s.log(session) if event.seq not in known]
        for message in (each.message for each in of(ModelFinished, fresh)):
            for call in message.calls:
                by_hand(shadow, Call(call.name, msgspec.json.decode(call.arguments)))
                trees.append(tree(shadow))
        done = 0
        for event in fresh:
            done += isinstance(event.data, ToolFinished)
            known[event.seq] = trees[done]
        assert tree(folder) == trees[-1]

    async def rewind(self) -> None:
        session = self.session()
        to = self.chance.choice(sorted(self.at[session]))
        await self.s.runtime.rewind(session, to=to)
        assert tree(self.where[session]) == self.at[session][to], f"{session} rewound to {to}"
        await self.note(session)

    async def fork(self) -> None:
        session = self.session()
        seq = self.chance.choice(sorted(self.at[session]))
        name = f"{session}.{len(self.at)}"
        self.where[name] = self.home / name
        await self.s.runtime.fork(session, at=seq, name=name, workspace=self.where[name])
        assert tree(self.where[name]) == self.at[session][seq], f"{session} forked at {seq}"
        self.at[name] = {each: files for each, files in self.at[session].items() if each <= seq}
        await self.note(name)


@pytest.mark.requirement("runtime:fork-brings-files", "runtime:rewind-brings-files")
@pytest.mark.parametrize("seed", range(4))
async def test_files_follow_through_runs_rewinds_and_forks_of_forks_in_any_order(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    root = tmp_path / "work"
    root.mkdir()
    (root / "given.txt").write_text("was here before\n")
    numbers = iter(range(1000))

    def script(request: ScriptRequest) -> Turn:
        if not isinstance(request.messages[-1], UserMessage):
            return Turn(text="done")
        number = next(numbers)
        calls = [
            bash(f"echo {number} > f{number % 5}; rm -f f{(number + 2) % 5}"),
            write(f"d/g{number % 3}", f"{number}"),
        ]
        return Turn(calls=chance.sample(calls, chance.choice((1, 1, 2))))

    async with scene(script, url=f"sqlite:///{tmp_path}/s.db", seconds=60) as s:
        wanderer = Wanderer(s, tmp_path, chance)
        await wanderer.run()
        for _ in range(14):
            await chance.choice((wanderer.run, wanderer.run, wanderer.rewind, wanderer.fork))()


@pytest.mark.requirement("sandbox:store-is-kept-out")
async def test_a_tool_that_would_write_over_the_log_is_told_and_the_log_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    turns: list[Turn | str] = [
        Turn(calls=[write("s.db", "oops"), write("s.db-wal", "oops"), write("s.workspaces/local/x", "oops")]),
        "done",
    ]
    async with scene(turns, url=url) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)
        assert (await soon(run.result())).status == "completed"
        answers = [data.result for data in of(ToolFinished, await s.log())]
    assert len(answers) == 3
    assert all(answer.error is not None and "keep the store elsewhere" in answer.content for answer in answers)
    async with scene([], url=url) as s:
        assert len(of(ToolFinished, await s.log())) == 3
