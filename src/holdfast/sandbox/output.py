"""What a command printed, in bounded memory: the beginning, the end, and how much there was; how it comes in; and what
a command is given to read.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import tempfile
from collections.abc import Callable, Generator
from typing import Protocol, final

__all__ = ("Fed", "Intake", "Output", "Plain", "Streams", "Watch")

Watch = Callable[[bytes], None]
"""Is given each piece of output as it comes, one after another, in the thread that reads; while it does not return,
nothing more is read. It raises nothing.
"""

_PICTURES = {
    # Characters that steer a terminal are shown as their pictures; tab and newline stay.
    **{chr(code): chr(0x2400 + code) for code in range(32) if code not in (9, 10)},
    "\x7f": "\u2421",
    **{chr(code): "\ufffd" for code in range(0x80, 0xA0)},
}
_AT_ONCE = 1 << 16
"""Bytes that become text at once: what is made on the way is small, and other threads get their turn."""
_BURST = 1 << 20
"""Bytes read before everything else in this process gets a rest of `_REST` seconds."""
_REST = 0.002


class Fed(Protocol):
    """What takes output in."""

    def feed(self, data: bytes) -> None:
        """Takes more of it."""
        ...


class Output:
    """Keeps the first and the last half of `keep` bytes of whatever it is fed."""

    def __init__(self, keep: int, watch: Watch | None = None) -> None:
        self.total = 0
        """Bytes fed so far."""
        self._watch = watch
        self._half = keep // 2
        self._head = bytearray()
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes more output."""
        self.total += len(data)
        if self._watch is not None:
            self._watch(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > self._half + 65536:
            del self._tail[: -self._half]

    @property
    def omitted(self) -> int:
        """Bytes between the beginning and the end that were not kept."""
        return max(0, self.total - 2 * self._half)

    def raw(self) -> bytes:
        """Returns what was kept, to the byte."""
        return bytes(self._head + self._tail[-self._half :])

    def text(self) -> str:
        """Returns the output as text that is safe to show: bytes that are not UTF-8 become U+FFFD, control
        characters their pictures, carriage returns new lines.
        """
        if not self.omitted:
            return "".join(_shown(self._head + self._tail))
        # Neither half begins or ends with a piece of a character.
        tail = self._tail[-self._half :]
        start = next((at for at in range(min(4, len(tail))) if tail[at] & 0xC0 != 0x80), 0)
        note = f"\n[... {self.omitted} of {self.total} bytes left out ...]\n"
        return "".join((*_shown(self._head, whole=False), note, *_shown(tail[start:])))


@final
class Streams:
    """What one command reads on its standard input, and its standard error apart from its output."""

    def __init__(self, given: bytes = b"", *, keep: int = 1 << 16, watch: Watch | None = None) -> None:
        """`keep` bounds the bytes of its errors that are kept; `watch` gets each piece of them when it comes."""
        self.given = given
        self.errors = Output(keep, watch)
        """What it printed there."""
        self._keep = keep
        self._watch = watch

    def bound(self, most: int | None) -> None:
        """Keeps no more than so many bytes; before anything came."""
        if most is not None and most < self._keep:
            self.errors = Output(most, self._watch)

    def opened(self) -> int:
        """Returns a descriptor from which all that is given can be read, and which changes nothing; the caller's to
        close. It is a file in memory, so nobody has to feed a command that reads slowly, or not at all.
        """
        if sys.platform == "linux":
            import fcntl  # noqa: PLC0415 - few commands read anything

            descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            _fill(descriptor, self.given)
            seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            return descriptor
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
        _fill(descriptor, self.given)
        return descriptor


def _fill(descriptor: int, data: bytes) -> None:
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise


def _shown(data: bytearray, *, whole: bool = True) -> Generator[str, None, None]:
    """Yields the text piece by piece; without `whole`, a character that is cut off at the end is left out."""
    plain = Plain()
    for at in range(0, len(data), _AT_ONCE):
        yield plain.text(data[at : at + _AT_ONCE], last=at + _AT_ONCE >= len(data), whole=whole)


@final
class Plain:
    """Makes text of output that is safe to show, as `Output.text` does, wherever it is cut into pieces."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = ""

    def text(self, data: bytes | bytearray, *, last: bool = False, whole: bool = True) -> str:
        """Returns what the next piece adds; of the last one, without `whole`, no character that is cut off."""
        text = self._held + self._decode(data, final=last and whole)
        # A carriage return may have its new line in the next piece.
        self._held = "\r" if text.endswith("\r") and not last else ""
        return _without_controls(text[: len(text) - len(self._held)])


def _without_controls(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    for control, picture in _PICTURES.items():
        if control in text:
            text = text.replace(control, picture)
    return text


class Intake:
    """Reads what comes through a pipe into an output, in turn with everything else in this process.

    The writing end goes to who prints; `started` lets go of ours, `begin` reads from then on.
    """

    def __init__(self, output: Fed) -> None:
        self._output = output
        self._loop = asyncio.get_running_loop()
        self.silent: asyncio.Future[None] = self._loop.create_future()
        """Done when nobody holds the writing end any more."""
        self._ended = False
        """Whether it was read to its end: who waits for `silent` may be cancelled, and that with it."""
        self._burst = 0
        self._rest: asyncio.TimerHandle | None = None
        self._pipe, self.writing = os.pipe()
        os.set_blocking(self._pipe, False)

    def started(self) -> None:
        """Closes our copy of the writing end."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def begin(self) -> None:
        """Reads from now on."""
        self._loop.add_reader(self._pipe, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, 65536)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._pipe)
            self._ended = True
            if not self.silent.done():  # or whoever waited for it was cancelled
                self.silent.set_result(None)
            return
        self._output.feed(data)
        self._burst += len(data)
        if self._burst >= _BURST:
            self._burst = 0
            self._loop.remove_reader(self._pipe)
            self._rest = self._loop.call_later(_REST, self._loop.add_reader, self._pipe, self._read)

    def close(self) -> None:
        """Takes what lies in the pipe, and reads no more; a second call does nothing."""
        self.started()
        if self._pipe < 0:
            return
        if not self._ended:
            self._loop.remove_reader(self._pipe)
            if self._rest is not None:
                self._rest.cancel()
            self._drain()
        os.close(self._pipe)
        self._pipe = -1

    def _drain(self) -> None:
        for _ in range(16):
            try:
                data = os.read(self._pipe, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            self._output.feed(data)
