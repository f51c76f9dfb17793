"""The kit of `Backend.start`: what holds of each process that goes on, in every backend that says it can keep one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping

from holdfast.errors import SandboxError
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.longrunning.keeping import MOST
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.longrunning.ring import KEPT
from holdfast.testing.conformance.backends.running import Check, Stage, alive, marker, run, until
from holdfast.testing.conformance.checking import expect

__all__ = ("CHECKS",)

_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/home/me"}
_SOON = 10.0
_SERVER = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    end, _ = listener.accept()
    threading.Thread(target=lambda end=end: (end.sendall(b"got " + end.recv(100)), end.close())).start()
"""


def _env(owner: str, epoch: int = 1) -> Mapping[str, str]:
    return {**_ENV, OWNER: f"{owner}#{epoch}"}


async def _start(stage: Stage, command: str, name: str = "it", owner: str = "", epoch: int = 1) -> Process:
    env = _env(owner or str(stage.folder), epoch)
    return await stage.backend.start(command, name=name, folder=stage.folder, env=env)


async def _printed(process: Process, text: str) -> None:
    """Waits until a process has printed something."""
    try:
        async with asyncio.timeout(_SOON):
            while text not in process.read().text and process.code is None:
                await process.ring.more(process.ring.total)
    except TimeoutError:
        pass
    expect(text in process.read().text, f"it prints {text!r}", process.read().text, process.code)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def _server(stage: Stage) -> tuple[Process, int]:
    port = _free_port()
    (stage.folder / "server.py").write_text(_SERVER)
    process = await _start(stage, f"exec python3 server.py {port}", "server")
    await _printed(process, "listening")
    return process, port


async def it_goes_on_beside_commands(stage: Stage) -> None:
    """It goes on until it ends or is stopped, whatever commands come and go."""
    name = marker()
    process = await _start(stage, f"while :; do echo {name} >>ticks; sleep 0.02; done")
    more = {OWNER: f"{stage.folder}#1", "HOME": "/home/me"}
    for _ in range(2):
        ended, _ = await run(stage, "setsid sleep 60 & sleep 60 & sleep 0.1", more=more)
        expect(ended.code == 0 and process.code is None, "the end of a command ends nothing else", ended, process.code)
    size = (stage.folder / "ticks").stat().st_size
    await until(lambda: (stage.folder / "ticks").stat().st_size > size, "it still does its work")
    expect(await process.stop() == 128 + signal.SIGTERM, "the exit code is 128 and the number of the signal")
    await until(lambda: not alive(name), "nothing of it is left")


async def its_port_is_reached(stage: Stage) -> None:
    """A command of its owner reaches what it listens on, and so does a forwarded port."""
    process, port = await _server(stage)
    line = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf hello >&3; cat <&3"
    _, text = await run(stage, line, more={OWNER: f"{stage.folder}#1", "HOME": "/home/me"})
    expect(text == "got hello", "a command reaches it on its loopback", text)
    forward = await process.forward(port)
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"there")
        answer = await asyncio.wait_for(reader.read(), _SOON)
        writer.close()
        expect(answer == b"got there", "whoever connects to the forwarded port reaches it", answer)
    try:
        await process.connect(_free_port())
    except OSError:
        pass
    else:
        expect(False, "a port on which nobody listens refuses")
    await process.stop()
    try:
        await asyncio.open_connection("127.0.0.1", forward.port)
    except OSError:
        return
    expect(False, "a forwarded port ends with its process")


async def its_end_is_known(stage: Stage) -> None:
    """How it ended, and what it printed last, is known after its end."""
    for line, code in (("echo bye; exit 3", 3), ("echo bye; kill -9 $$; sleep 9", 137)):
        process = await _start(stage, f"bash -c '{line}'")
        ended = await asyncio.wait_for(process.wait(), _SOON)
        expect(ended == process.code == code, f"{line!r} ends with {code}", ended)
        found = stage.backend.processes.find(str(stage.folder), "it")
        expect(found is process and process.read().text.startswith("bye\n"), "its record stays", found)


async def it_has_time_to_end(stage: Stage) -> None:
    """Who is stopped is asked, and killed after two seconds with all that it started."""
    polite = await _start(stage, "trap 'echo saved >state; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    await _printed(polite, "up")
    expect(await polite.stop() == 0, "who ends when asked ends by itself")
    expect((stage.folder / "state").read_text() == "saved\n", "and did what it wanted to do before")
    name = marker()
    stubborn = await _start(stage, f"trap '' TERM; echo up; bash -c 'while :; do sleep 0.1; done' {name}; sleep 60")
    await _printed(stubborn, "up")
    begun = time.monotonic()
    expect(await stubborn.stop() == 137, "who does not is killed")
    expect(1.9 < time.monotonic() - begun < 5, "after two seconds", time.monotonic() - begun)
    await until(lambda: not alive(name), "and nothing of it is left")


async def its_output_is_bounded(stage: Stage) -> None:
    """A flood of output takes bounded memory, and whoever reads is told what was lost."""
    process = await _start(stage, "head -c 8000000 /dev/zero | tr '\\0' x; echo; echo the end")
    await asyncio.wait_for(process.wait(), _SOON)
    piece = process.read()
    expect(piece.next == 8_000_009 and piece.text.endswith("x\nthe end\n"), "the end is kept", piece.next)
    expect(piece.lost == piece.next - len(piece.text) >= 8_000_009 - KEPT, "the rest is counted", piece.lost)
    expect(process.read(piece.next).text == "", "what was read is not read again")


async def there_is_a_most(stage: Stage) -> None:
    """An owner has a name once, and a bounded number of them."""
    for n in range(MOST):
        await _start(stage, "sleep 60", f"n{n}")
    for name in ("n0", "another"):
        try:
            await _start(stage, "sleep 60", name)
        except SandboxError as error:
            expect("stop" in str(error), "and the refusal says what to do", str(error))
        else:
            expect(False, f"{name!r} is refused while {MOST} run")
    await _start(stage, "sleep 60", owner=f"{stage.folder}-2")
    await stage.backend.processes.end(str(stage.folder))
    expect(not stage.backend.processes.of(str(stage.folder)), "all of an owner's end together")
    expect(len(stage.backend.processes.of(f"{stage.folder}-2")) == 1, "and nobody else's")


async def attaching_ends_those_of_lower_epochs(stage: Stage) -> None:
    """It ends when `attach` is called with a higher epoch; until then later epochs reach it."""
    name, owner = marker(), str(stage.folder)
    process = await _start(stage, f"bash -c 'echo up; while :; do sleep 0.1; done' {name}", epoch=3)
    await _printed(process, "up")
    await stage.backend.attach(owner, 3)
    expect(process.code is None, "its own epoch does not end it")
    expect(await stage.backend.attach(owner, 4) >= 1, "a higher one does")
    expect(not alive(name), "at once")
    expect(await asyncio.wait_for(process.wait(), _SOON) == 137, "and it is known how it ended")


async def it_ends_with_the_backend(stage: Stage) -> None:
    """It ends with its backend at the latest."""
    name = marker()
    process = await _start(stage, f"trap '' TERM; bash -c 'echo up; while :; do sleep 0.1; done' {name}; sleep 60")
    await _printed(process, "up")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number
    begun = time.monotonic()
    await stage.backend.close()
    expect(not alive(name) and process.code == 137, "nothing of it is left", process.code)
    expect(time.monotonic() - begun > 1.9, "and it had two seconds")
    expect(len(os.listdir("/proc/self/fd")) < before, "nor is a descriptor of it")  # noqa: PTH208 - a number


CHECKS: tuple[Check, ...] = (
    it_goes_on_beside_commands,
    its_port_is_reached,
    its_end_is_known,
    it_has_time_to_end,
    its_output_is_bounded,
    there_is_a_most,
    attaching_ends_those_of_lower_epochs,
    it_ends_with_the_backend,
)
