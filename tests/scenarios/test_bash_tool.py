"""The tool that runs commands, as a model meets it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.running import until

from holdfast.sandbox import processes
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.bash import KEPT, bash, lasted
from holdfast.types import CallId, StreamId, ToolResult


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


async def use(space: Workspace | None, command: str, **arguments: Any) -> ToolResult:
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=space)
    result = await bash.run(bash.parse(json.dumps({"command": command, **arguments}).encode()), context)
    assert isinstance(result, ToolResult)
    return result


async def fail(space: Workspace | None, command: str, **arguments: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await use(space, command, **arguments)
    return caught.value


def alive(marker: str) -> bool:
    """Whether any process has this in its command line."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path stumbles over those that are just ending
        try:
            if (
                name.isdigit()
                and marker.encode() in Path(f"/proc/{name}/cmdline").read_bytes()
                and int(name) != os.getpid()
            ):
                return True
        except OSError:
            continue
    return False


DONE = "[exit code 0, under 1 s]"
LEFT = "[processes left in the background were stopped]\n"


@pytest.mark.requirement("tools:bash-exit-code", "tools:path-absolute", "tools:builtin-metadata")
async def test_a_command_runs_in_the_workspace_with_both_streams_in_order(space: Workspace) -> None:
    result = await use(space, "echo one; echo two >&2; echo three; pwd")
    assert result.content == f"one\ntwo\nthree\n{space.root}\n{DONE}"
    duration = result.metadata.pop("duration")
    assert isinstance(duration, int)
    assert result.metadata == {
        "ui": "terminal",
        "command": "echo one; echo two >&2; echo three; pwd",
        "exitCode": 0,
        "cwd": str(space.root),
        "outputBytes": 15 + len(str(space.root)),
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("command", "content", "code"),
    [
        ("echo out; exit 3", "out\n[exit code 3, under 1 s]", 3),
        ("exit 1", "[exit code 1, under 1 s]", 1),
        ("printf out; false", "out\n[exit code 1, under 1 s]", 1),
        ("kill -9 $$", "[exit code 137, under 1 s]", 137),
        (
            "no_such_command_here",
            "bash: line 1: no_such_command_here: command not found\n[exit code 127, under 1 s]",
            127,
        ),
    ],
)
@pytest.mark.requirement("tools:bash-exit-code", "tools:bash-trailer")
async def test_a_command_that_fails_gives_its_output_and_code(
    space: Workspace, command: str, content: str, code: int
) -> None:
    error = await fail(space, command)
    assert (str(error), error.code, error.metadata["exitCode"]) == (content, "execution_failed", code)


async def test_a_command_has_no_input_and_no_terminal(space: Workspace) -> None:
    result = await use(space, "cat; read x; test -t 0 || test -t 1 || echo none; echo $TERM")
    assert result.content == f"none\ndumb\n{DONE}"


@pytest.mark.requirement("tools:bash-clean-environment")
async def test_a_command_sees_no_key_of_ours(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "HOLDFAST_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "geheim")
    monkeypatch.setenv("BASH_FUNC_echo%%", "() { printf geheim; }")
    space.env["EXTRA"] = "wanted"
    result = await use(space, "env; cat /proc/self/environ | tr '\\0' '\\n'")
    assert "geheim" not in result.content
    names = {line.partition("=")[0] for line in result.content.splitlines()[:-1]}
    assert names <= {
        "PATH",
        "HOME",
        "LANG",
        "TERM",
        "TMPDIR",
        "USER",
        "EXTRA",
        "PWD",
        "SHLVL",
        "OLDPWD",
        "_",
        "HOLDFAST_CALL",
    }
    assert "EXTRA=wanted" in result.content


@pytest.mark.requirement("tools:bash-timeout-kills-group", "tools:bash-trailer")
async def test_a_command_over_its_time_ends_with_its_whole_group(space: Workspace) -> None:
    marker = f"60.{os.getpid()}1"
    command = f"(sleep {marker} & sleep {marker} | sleep {marker}) & echo begun; trap '' TERM; sleep {marker}"
    error = await fail(space, command, timeout=0.3)
    assert str(error) == ("begun\n[exit code 124, stopped after 0.3 s; give a longer timeout, or do less at once]")
    assert (error.code, error.metadata["exitCode"]) == ("timeout", 124)
    await until(lambda: not alive(marker))


async def test_a_command_may_clean_up_when_its_time_is_over(space: Workspace) -> None:
    await fail(space, "trap 'echo bye > left; exit' TERM; sleep 60 & wait", timeout=0.3)
    assert (space.root / "left").read_text() == "bye\n"


@pytest.mark.requirement("tools:bash-abort-kills-group")
async def test_a_cancelled_command_ends_with_its_whole_group(space: Workspace) -> None:
    marker = f"60.{os.getpid()}2"
    running = asyncio.create_task(use(space, f"sleep {marker} & trap '' TERM; sleep {marker}; wait"))
    await until(lambda: alive(marker))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not alive(marker))


@pytest.mark.requirement("tools:bash-abort-kills-group")
async def test_cancelling_twice_still_ends_the_group(space: Workspace) -> None:
    marker = f"60.{os.getpid()}3"
    running = asyncio.create_task(use(space, f"trap '' TERM; sleep {marker}; sleep {marker}"))
    await until(lambda: alive(marker))
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not alive(marker))


@pytest.mark.requirement("tools:bash-background-child")
async def test_a_process_left_in_the_background_does_not_hang_the_call(space: Workspace) -> None:
    marker = f"60.{os.getpid()}4"
    start = time.monotonic()
    result = await use(space, f"sleep {marker} & echo done")
    assert result.content == f"done\n{LEFT}{DONE}"
    silent = await use(space, f"sleep {marker} >/dev/null 2>&1 & echo done")
    assert silent.content == f"done\n{DONE}"
    assert time.monotonic() - start < 5
    await until(lambda: not alive(marker))


@pytest.mark.requirement("tools:bash-leaves-nothing")
@pytest.mark.parametrize(
    "command",
    [
        "setsid bash -c ': > out; exec sleep {}' &",
        "setsid setsid bash -c ': > out; exec sleep {}' >/dev/null 2>&1 &",
        "(setsid bash -c '(setsid bash -c \": > out; exec sleep {}\" &) & exit' >/dev/null 2>&1 &)",
        "setsid bash -c 'trap \"\" TERM; (sleep {} & wait) & sleep {} & : > out; wait' &",
    ],
)
async def test_what_leaves_the_group_ends_with_the_command_all_the_same(space: Workspace, command: str) -> None:
    marker = f"60.{os.getpid()}6"
    result = await use(space, command.replace("{}", marker) + "\nuntil test -e out; do sleep 0.01; done; echo done")
    assert result.content == f"done\n{LEFT}{DONE}"
    await until(lambda: not alive(marker))


@pytest.mark.requirement("tools:bash-leaves-nothing")
async def test_a_command_that_is_stopped_takes_along_what_left_its_group(space: Workspace) -> None:
    marker = f"60.{os.getpid()}7"
    await fail(space, f"setsid sleep {marker} & sleep 60", timeout=0.3)
    await until(lambda: not alive(marker))
    running = asyncio.create_task(use(space, f"setsid sleep {marker} & sleep 60"))
    await until(lambda: alive(marker))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not alive(marker))


@pytest.mark.requirement("tools:bash-leaves-nothing")
async def test_a_command_leaves_what_others_started_alone(space: Workspace) -> None:
    marker = f"60.{os.getpid()}8"
    bystander = subprocess.Popen(["sleep", marker])  # noqa: ASYNC220 - nothing else runs
    try:
        beside = asyncio.create_task(use(space, f"setsid sleep {marker}1 & until test -e go; do sleep 0.01; done"))
        await until(lambda: alive(f"{marker}1"))
        assert (await use(space, "true")).content == DONE
        assert bystander.poll() is None
        assert alive(f"{marker}1")
        (space.root / "go").touch()
        assert (await beside).content == f"{LEFT}{DONE}"
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.requirement("tools:bash-output-bounded", "tools:bash-truncation-flagged")
async def test_output_is_kept_from_both_ends_and_counted(space: Workspace) -> None:
    result = await use(space, "echo first; head -c 60000000 /dev/zero | tr '\\0' x; echo; echo last")
    assert result.content.startswith("first\nxxx")
    assert result.content.rpartition("[")[0].endswith("xxx\nlast\n")
    assert f"[... {60000012 - KEPT} of 60000012 bytes left out ...]" in result.content
    assert (result.metadata["truncated"], result.metadata["outputBytes"]) == (True, 60000012)


@pytest.mark.requirement("tools:bash-output-bounded")
async def test_endless_output_is_stopped_in_bounded_memory_while_others_go_on(space: Workspace) -> None:
    import tracemalloc

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    beside = asyncio.create_task(others())
    tracemalloc.start()
    try:
        error = await fail(space, "yes", timeout=0.5)
        assert tracemalloc.get_traced_memory()[1] < 8 * KEPT
    finally:
        tracemalloc.stop()
        beside.cancel()
    assert error.code == "timeout"
    assert "bytes left out" in str(error)
    assert turns > 5


async def test_binary_output_is_shown_safely(space: Workspace) -> None:
    result = await use(space, "printf 'a\\0b\\033[31mc\\377d\\r\\ne'")
    assert result.content == f"a␀b␛[31mc\ufffdd\ne\n{DONE}"
    assert (await use(space, "head -c 200000 /dev/urandom")).content.isprintable() is False


@pytest.mark.parametrize(("command", "words"), [("a\0b", "null"), ("#" * 200_000, "too long")])
async def test_a_command_that_cannot_be_passed_on_is_refused(space: Workspace, command: str, words: str) -> None:
    error = await fail(space, command)
    assert error.code == "invalid_input"
    assert words in str(error)


async def test_a_workspace_that_is_gone_is_named(space: Workspace) -> None:
    space.root.rmdir()
    error = await fail(space, "true")
    assert str(space.root) in str(error)
    space.root.mkdir()


async def test_many_commands_leave_nothing_open(space: Workspace) -> None:
    await use(space, "true")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    results = await asyncio.gather(*(use(space, f"echo {n}") for n in range(30)))
    assert [result.content for result in results] == [f"{n}\n{DONE}" for n in range(30)]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_without_process_descriptors_a_thread_waits(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert (await use(space, "echo hi")).content == f"hi\n{DONE}"
    assert (await fail(space, "sleep 60", timeout=0.2)).code == "timeout"


@pytest.mark.requirement("sandbox:commands-end-with-the-runtime")
async def test_commands_end_when_the_runtime_is_killed(space: Workspace) -> None:
    marker = f"60.{os.getpid()}5"
    code = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from holdfast.sandbox.processes import run_command\n"
        "from holdfast.sandbox.environment import clean_environment\n"
        "command = f'sleep {sys.argv[2]} & sleep {sys.argv[2]}'\n"
        "asyncio.run(run_command(command, folder=Path(sys.argv[1]), env=clean_environment({}), timeout=60, keep=99))\n"
    )
    runtime = subprocess.Popen([sys.executable, "-c", code, str(space.root), marker])  # noqa: ASYNC220 - as above
    try:
        await until(lambda: alive(f"sleep\0{marker}"))
    finally:
        runtime.send_signal(signal.SIGKILL)
        runtime.wait()
    await until(lambda: not alive(f"sleep\0{marker}"))


async def test_the_watcher_of_our_death_is_replaced_when_somebody_kills_it(space: Workspace) -> None:
    from holdfast.sandbox.leash import _leash

    await use(space, "true")
    first = _leash.shell
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it is dead already
    assert (await use(space, "echo on")).content == f"on\n{DONE}"
    assert _leash.shell != first


def test_missing_bash_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Exception, match="no bash on the PATH"):
        processes._find_shell({"PATH": "/nowhere"})


@pytest.mark.requirement("tools:bash-trailer")
def test_the_trailer_says_how_long_it_took_in_the_same_words_for_all_that_is_quick() -> None:
    assert [lasted(seconds) for seconds in (0, 0.999, 1, 59.6, 600)] == [
        "under 1 s",
        "under 1 s",
        "1 s",
        "60 s",
        "600 s",
    ]
    assert bash.spec.parameters["properties"]["timeout"]["default"] == 120
    assert "600" in bash.spec.parameters["properties"]["timeout"]["description"]


@pytest.mark.requirement("sandbox:owner-mark-reaches-all")
async def test_the_owner_s_mark_is_in_the_environment_of_all_that_a_command_starts(space: Workspace) -> None:
    space.env["HOLDFAST_OWNER"] = "local/s#7"
    command = "bash -c 'setsid --wait sh -c \"echo \\$HOLDFAST_OWNER\"'; echo $HOLDFAST_OWNER"
    assert (await use(space, command)).content == f"local/s#7\nlocal/s#7\n{DONE}"


async def test_a_program_gets_its_arguments_as_they_are_and_no_shell_reads_them(space: Workspace) -> None:
    strange = ["a b", "$HOME", "`id`", "'", '"', "*", "; exit 3", "\n", ""]
    code = "import sys; print(sys.argv[1:]); print('error', file=sys.stderr)"
    for errors in (True, False):
        ended = await processes.run_command(
            [sys.executable, "-c", code, *strange], folder=space.root, env={}, timeout=5, keep=9999, errors=errors
        )
        assert sorted(ended.output.text().splitlines()) == [str(strange), *(["error"] if errors else [])]
