"""What a backend must keep in whose posture says that it is isolated: it can change nothing outside its workspace."""

from __future__ import annotations

import asyncio
import os
import stat
import sys

from holdfast.testing.conformance.backends.running import Check, Stage, alive, marker, run, until
from holdfast.testing.conformance.checking import expect

__all__ = ("CHECKS",)


_LOOK = """
for each in /proc/[0-9]*/cmdline; do
  line=$(tr '\\0' ' ' <"$each") && [[ $line == *"$WANTED"* ]] && echo "$each"
done 2>/dev/null
true
"""
_SYSTEM = ("/usr", "/etc", "/", "/var")


async def it_says_that_it_is_isolated(stage: Stage) -> None:
    """Whether a command can change nothing outside its workspace, the network included."""
    posture = stage.backend.posture
    expect(posture.isolated, "whoever passes these checks says that it is isolated", posture)


async def nothing_outside_can_be_changed(stage: Stage) -> None:
    """A command can change nothing outside its workspace."""
    name = marker()
    outside = stage.folder.parent / name
    outside.mkdir()
    (outside / "there").write_text("as it was")
    (stage.folder / "link").symlink_to(outside)
    for place in (outside, f"../{name}", "link", f"/proc/self/root{outside}", *_SYSTEM):
        await run(stage, f"cd {place} || exit; echo changed >there; echo new >{name}; rm -f there")
        now = {each.name: each.read_text() for each in outside.iterdir()}
        expect(now == {"there": "as it was"}, "a folder outside stays as it was", place, now)
        found = [each for each in _SYSTEM if name in os.listdir(each)]  # noqa: PTH208 - in four folders
        expect(not found, "nor in the system's folders", found)
    (outside / "there").unlink()
    outside.rmdir()


async def nothing_outside_can_be_read(stage: Stage) -> None:
    """Only the paths it is given exist."""
    secret = stage.folder.parent / marker()
    secret.write_text("nobody's business")
    try:
        for path in (secret, f"/proc/self/root{secret}", f"/proc/1/root{secret}"):
            _, text = await run(stage, f"cat {path} 2>/dev/null; ls -d {path} 2>/dev/null; true")
            expect(not text, "a file beside the workspace cannot be read, nor seen", path, text)
        _, text = await run(stage, "cat /etc/shadow 2>/dev/null; true")
        expect(not text, "nor can what only the machine's root may read", len(text))
    finally:
        secret.unlink()


async def other_processes_cannot_be_seen_or_ended(stage: Stage) -> None:
    """Other processes cannot be seen."""
    name = marker()
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)", name)
    try:
        await until(lambda: bool(alive(name)), "the other process runs")
        _, text = await run(stage, _LOOK, more={"WANTED": name})
        expect(not text, "it is not seen", text)
        await run(stage, f"kill -9 {other.pid}; true")
        expect(other.returncode is None and bool(alive(name)), "nor is it ended", other.returncode)
    finally:
        other.kill()
        await other.wait()


async def the_machines_network_is_not_there(stage: Stage) -> None:
    """No network but its own loopback."""
    heard: list[str] = []

    def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append("somebody")
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        _, text = await run(stage, f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo through; true")
        expect("through" not in text and not heard, "a listener of the machine's cannot be reached", text)
        _, text = await run(stage, "while read -r line; do echo ${line%%:*}; done </proc/net/dev")
        names = set(text.split()) - {"Inter-|", "face", "|bytes", "Receive", "|", "Transmit"}
        expect(not {each for each in names if each.startswith(("eth", "en", "wl"))}, "nor has it an interface", names)
    finally:
        server.close()
        await server.wait_closed()


async def protected_paths_stay(stage: Stage) -> None:
    """Files that programs outside obey cannot be changed."""
    hooks = stage.folder / ".git/hooks"
    hooks.mkdir(parents=True)
    (hooks / "old").write_text("ours")
    (stage.folder / ".git/config").write_text("ours")
    (stage.folder / ".mcp.json").write_text("ours")
    for line in (
        "echo theirs >.git/hooks/new; echo theirs >.git/hooks/old; echo theirs >.git/config; echo theirs >.mcp.json",
        "rm -rf .git/hooks .git/config .mcp.json .git",
        "mv .git away; mkdir -p .git/hooks; echo theirs >.git/hooks/new; mv .mcp.json other; echo theirs >.mcp.json",
        "mv .git/hooks .git/away; mkdir .git/hooks; echo theirs >.git/hooks/new; ln -sf /dev/null .git/config",
        "umount .git/hooks .git/config .mcp.json; echo theirs | tee .git/hooks/new .git/config .mcp.json",
    ):
        await run(stage, line)
        found = [each.read_text() for each in (hooks / "old", stage.folder / ".git/config", stage.folder / ".mcp.json")]
        expect(found == ["ours"] * 3, "what is protected stays as it was", line, found)
        expect([each.name for each in hooks.iterdir()] == ["old"], "and nothing is added to it", line)
    ended, text = await run(stage, "echo work >.git/index && cat .git/hooks/old")
    expect((ended.code, text) == (0, "ours"), "what lies beside it can be written, and itself be read", ended, text)


async def no_file_gains_rights(stage: Stage) -> None:
    """It has no rights of the superuser, and leaves none behind."""
    (stage.folder / "own").write_bytes(b"#!/bin/sh\n")
    await run(
        stage, "cp /bin/bash copy; for each in copy own; do chmod 4755 $each; chmod 6777 $each; done; mknod disk b 8 0"
    )
    for each in stage.folder.iterdir():
        mode = each.lstat().st_mode
        expect(
            not mode & (stat.S_ISUID | stat.S_ISGID), "no file of the workspace starts with its owner's rights", each
        )
        expect(not stat.S_ISBLK(mode), "and none is a device", each)


CHECKS: tuple[Check, ...] = (
    it_says_that_it_is_isolated,
    nothing_outside_can_be_changed,
    nothing_outside_can_be_read,
    other_processes_cannot_be_seen_or_ended,
    the_machines_network_is_not_there,
    protected_paths_stay,
    no_file_gains_rights,
)
"""Every check."""
