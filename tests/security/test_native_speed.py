"""What keeps native sandboxes fast: nothing is asked that is known already, and nothing is left that others search."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.sandboxing import sandboxes

from holdfast.sandbox.native.boxes.box import Box
from holdfast.sandbox.native.guarding import absent, look
from holdfast.sandbox.native.slots import Slots, folder
from holdfast.sandbox.policy.profile import PROTECTED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.mark.requirement("sandbox:warm-command-is-one-exchange")
async def test_only_a_sandbox_in_which_something_is_left_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared: list[int] = []
    clear = Box.clear

    async def noted(box: Box) -> int:
        cleared.append(killed := await clear(box))
        return killed

    monkeypatch.setattr(Box, "clear", noted)
    async with sandboxes(tmp_path) as place:
        assert (await place.run("true")).strays == 0
        assert (await place.run("sleep 0.01 & wait")).strays == 0
        assert cleared == []
        ended = await place.run("(setsid sleep 60 >/dev/null 2>&1 &)")
        assert (ended.strays, cleared) == (1, [1])


@pytest.mark.requirement("sandbox:warm-command-is-one-exchange")
async def test_a_command_that_goes_on_is_told_of_when_it_begins_and_one_that_ends_at_once_with_its_end(
    tmp_path: Path,
) -> None:
    async with sandboxes(tmp_path) as place:
        box = await place.backend.pool.take((str(tmp_path), "another", 1, ""))
        nothing = [box.nothing] * 3
        long = await asyncio.wait_for(box.begun(box.begin(["sleep", "60"], place.env, "/", nothing)), 10)
        assert long.started.result() > 1
        short = await asyncio.wait_for(box.begun(box.begin(["true"], place.env, "/", nothing)), 10)
        assert short.started.result() > long.started.result()
        assert await asyncio.wait_for(short.ended, 10) == 0
        assert not long.ended.done()
        assert await box.clear() == 1
        assert await asyncio.wait_for(long.ended, 10) == 128 + 9


@pytest.mark.requirement("sandbox:warm-command-is-one-exchange")
async def test_below_a_folder_that_is_not_there_nobody_looks_for_protected_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    lstat = os.lstat

    def noted(path: str | Path) -> os.stat_result:
        looked.append(os.path.relpath(path, tmp_path))
        return lstat(path)

    paths = (*PROTECTED, ".git")
    once = sorted({".git", *(each for each in PROTECTED if not each.startswith(".git/"))})
    monkeypatch.setattr(os, "lstat", noted)
    found, nowhere = look(tmp_path, paths)
    assert (found, nowhere, sorted(looked)) == ([], {*paths} - {".git/worktrees"}, once)
    looked.clear()
    assert (absent(tmp_path, nowhere), sorted(looked)) == (nowhere, once)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").touch()
    assert absent(tmp_path, nowhere) == nowhere - {".git", ".git/config"}


@pytest.mark.requirement("sandbox:warm-command-is-one-exchange")
async def test_a_command_begins_with_the_signals_programs_expect_whatever_the_runtime_ignores(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with sandboxes(tmp_path) as place:
            said = await place.says("grep -E '^Sig(Blk|Ign)' /proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, before)
    own = 3 << 31  # two signals are the C library's own
    assert [int(line.split()[1], 16) & ~own for line in said.splitlines()] == [0, 0]


@pytest.mark.requirement("sandbox:native-any-name")
async def test_words_that_are_no_utf_8_reach_a_command_as_they_are(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        words = ["printf", "%s", "a\udcff b\u00e9"]
        ended = await place.backend.run(words, folder=tmp_path, env=place.env, timeout=20, keep=100)
        assert (ended.code, ended.output.raw()) == (0, b"a\xff b\xc3\xa9")


def _described(owner: str) -> str:
    for each in Path(folder()).iterdir():
        with suppress(OSError, ValueError):
            if json.loads(each.read_text())["owner"] == owner:
                return each.name
    return ""


@pytest.mark.requirement("sandbox:places-are-given-back")
async def test_no_file_of_a_place_is_left_where_a_runtime_has_ended(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, owner=f"{tmp_path}#1") as place:
        await place.says("true")
        name = _described(str(tmp_path))
        assert name
    assert not (Path(folder()) / name).exists()


@pytest.mark.requirement("sandbox:places-are-given-back")
def test_a_place_that_is_given_back_while_another_takes_it_is_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(tmp_path / "holdfast" / "places")
    first, second, third = Slots(where), Slots(where), Slots(where)
    assert first.try_take(7)
    opened = os.open

    def open_then_give_back(path: str, *args: int) -> int:
        descriptor = opened(path, *args)
        monkeypatch.undo()
        first.give_back(7)
        assert third.try_take(7)
        return descriptor

    monkeypatch.setattr(os, "open", open_then_give_back)
    assert not second.try_take(7)


@pytest.mark.requirement("sandbox:places-are-given-back")
def test_files_that_killed_runtimes_left_are_tidied_and_held_ones_stay(tmp_path: Path) -> None:
    where = str(tmp_path / "holdfast" / "places")
    killed, living, tidying = Slots(where), Slots(where), Slots(where)
    assert killed.try_take(1)
    assert living.try_take(2)
    for descriptor in list(killed._held.values()):  # pyright: ignore[reportPrivateUsage] - as the kernel does
        os.close(descriptor)
    tidying.tidy(10)
    assert [each.name for each in Path(where).iterdir()] == ["2"]
