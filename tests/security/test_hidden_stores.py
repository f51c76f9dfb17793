"""The runtime's own store may lie in the workspace: no command in a sandbox sees it, or puts anything in its place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.runtime.runtime import Runtime
from holdfast.sandbox.backends.choosing import open_named
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.policy.openshell import FilesystemPolicy, Policy
from holdfast.sandbox.policy.profile import BackendName, Profile, Tree
from holdfast.sandbox.port import Backend

BACKENDS: tuple[BackendName, ...] = ("native", "bubblewrap", "container", "gvisor")
ATTACKS = (
    "cat {0}",
    "cat {0}-wal",
    "cp {0} copy",
    "echo x >{0}",
    "echo x >>{0}-wal",
    "echo x >{0}-journal",
    "echo x >{0}-shm",
    "rm -f {0}",
    "rm -f {0}-journal && echo x >{0}-journal",
    "mv {0} gone && echo x >{0}",
    "ln {0} other",
    "chmod 666 {0}",
    "mv {0}-journal gone",
    "echo x >fresh && mv fresh {0}-journal",
    "ls $(dirname {0})/log.workspaces/x",
    "mkdir -p $(dirname {0})/log.workspaces/x",
    "python3 -c \"import sqlite3; sqlite3.connect('{0}').execute('create table hostile(x)')\"",
)


async def opened(backend: BackendName, store: Path, tree: Tree | None = None, policy: Policy | None = None) -> Backend:
    try:
        made = await open_named(Profile(backend=backend, workspace=tree or Tree(), policy=policy or Policy()))
    except IsolationMissing as error:
        pytest.skip(str(error))
    files = (store, *(store.with_name(store.name + each) for each in ("-wal", "-shm", "-journal")))
    made.hide({**dict.fromkeys(files, False), store.with_name(f"{store.stem}.workspaces"): True})
    return made


def contents(store: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(store.parent.glob("log.*")) if each.is_file()}


@pytest.mark.requirement("sandbox:store-hidden")
@pytest.mark.parametrize("place", ["log.db", "data/log.db", "a/b/log.db"])
@pytest.mark.parametrize(("backend", "apply"), [*((each, "at-once") for each in BACKENDS), ("native", "when-ended")])
async def test_nothing_in_a_sandbox_reads_writes_or_replaces_a_store_in_its_workspace(
    tmp_path: Path, backend: BackendName, apply: str, place: str
) -> None:
    store = tmp_path / place
    store.parent.mkdir(parents=True, exist_ok=True)
    log = sqlite3.connect(store)
    log.execute("pragma journal_mode=wal")
    log.execute("create table secret(x)")
    log.execute("insert into secret values ('private')")
    log.commit()
    box = await opened(backend, store, Tree(apply=apply))  # type: ignore[arg-type]
    env = clean_environment({"HOLDFAST_OWNER": "s#1"})
    try:
        before: dict[str, bytes] | None = None
        above = ("mv {1} gone; mkdir {1}; echo x >{0}", "cp -r {1} x; cat x/log.db*") if "/" in place else ()
        for attack in (*ATTACKS, *above):
            command = attack.format(place, place.partition("/")[0])
            ended = await box.run(command, folder=tmp_path, env=env, timeout=60, keep=1 << 16)
            assert "private" not in ended.output.text()
            before = before or contents(store)
            assert contents(store) == before, command
            assert (ended.code != 0) or "mv {1}" in attack, command
        ended = await box.run("echo fine >file; cat file", folder=tmp_path, env=env, timeout=60, keep=1 << 16)
        assert (ended.code, ended.output.text(), (tmp_path / "file").read_text()) == (0, "fine\n", "fine\n")
    finally:
        await box.close()
    log.execute("insert into secret values ('more')")
    log.commit()
    log.close()
    assert sqlite3.connect(store).execute("select x from secret").fetchall() == [("private",), ("more",)]
    assert not (store.parent / "log.workspaces/x").exists()


@pytest.mark.requirement("sandbox:store-hidden")
async def test_a_store_in_another_folder_that_a_policy_shows_is_hidden_there(tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    (tmp_path / "shown").mkdir()
    (tmp_path / "written").mkdir()
    for each in ("shown", "written"):
        (tmp_path / each / "log.db").write_text("private")
        (tmp_path / each / "other").write_text("other")
        files = FilesystemPolicy(
            read_only=("/usr", "/bin", "/lib", "/lib64", str(tmp_path / "shown")),
            read_write=(str(tmp_path / "written"),),
            include_workdir=True,
        )
        box = await opened("native", tmp_path / each / "log.db", policy=Policy(filesystem_policy=files))
        try:
            command = f"cat {tmp_path}/{each}/other {tmp_path}/{each}/log.db"
            env = clean_environment({})
            ended = await box.run(command, folder=tmp_path / "space", env=env, timeout=60, keep=1 << 16)
        finally:
            await box.close()
        assert (ended.code, "other" in ended.output.text(), "private" in ended.output.text()) == (1, True, False)


@pytest.mark.requirement("sandbox:store-hidden")
async def test_without_mounts_a_workspace_with_a_store_is_refused(tmp_path: Path) -> None:
    box = await opened("process", tmp_path / "log.db")
    try:
        with pytest.raises(SandboxError, match=r"cannot hide it: keep it elsewhere \(--store\)"):
            await box.run("true", folder=tmp_path, env=clean_environment({}), timeout=60, keep=1 << 16)
        (tmp_path / "space").mkdir()
        ended = await box.run("true", folder=tmp_path / "space", env=clean_environment({}), timeout=60, keep=1 << 16)
        assert ended.code == 0
    finally:
        await box.close()


@pytest.mark.requirement("sandbox:store-hidden")
async def test_a_link_in_the_place_of_a_folder_above_the_store_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "space/data").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    box = await opened("native", tmp_path / "space/data/log.db")
    (tmp_path / "space/data").rmdir()
    (tmp_path / "space/data").symlink_to(tmp_path / "victim")
    try:
        with pytest.raises(SandboxError, match="cannot be hidden"):
            await box.run("true", folder=tmp_path / "space", env=clean_environment({}), timeout=60, keep=1 << 16)
    finally:
        await box.close()
    assert not list((tmp_path / "victim").iterdir())


@pytest.mark.requirement("sandbox:store-hidden")
@pytest.mark.parametrize("default", [True, False])
async def test_a_runtime_hides_its_store_and_works_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: bool
) -> None:
    """As where somebody works in the home folder, in which the default store is."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    store = tmp_path / ("share/holdfast/log.db" if default else "own/log.db")
    store.parent.mkdir(parents=True)
    (store.parent / "chat-history").write_text("private")
    async with Runtime.open(f"sqlite:///{store}", sandbox="native") as runtime:
        sandbox = runtime._sandboxes.at("t", tmp_path)  # pyright: ignore[reportPrivateUsage, reportArgumentType]
        await runtime.posture()
        command = f"cat {store.parent}/chat-history; cat {store}; ls -A {store.parent}; true >> {store}-journal"
        env = clean_environment({"HOLDFAST_OWNER": "s#1"})
        ended = await sandbox.backend.run(command, folder=tmp_path, env=env, timeout=60, keep=1 << 16)
        # Of the person's own folder nothing is seen; elsewhere the store's files alone are hidden.
        assert ("private" in ended.output.text()) is not default
        assert (ended.code != 0, "SQLite" in ended.output.text()) == (True, False)
    assert sqlite3.connect(store).execute("pragma integrity_check").fetchall() == [("ok",)]
