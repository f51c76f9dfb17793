"""What the host hears and sees while attempts are made: its listeners, and its list of processes."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ("GUEST", "Ears", "Eyes")

GUEST = "guest"
_STUB = "exe"
"""The name of the processes in which gVisor lets commands run, and by which the host knows nothing else of them."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Thread:
    """Does one thing again and again until the block is left."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(5)

    def _go(self) -> None:
        while not self._over.is_set():
            self.once()

    def once(self) -> None:
        """Does it once, within a fraction of a second."""
        raise NotImplementedError


class Ears(_Thread):
    """Listeners of the host that nobody inside should reach."""

    def __init__(self, path: Path, abstract: str) -> None:
        super().__init__()
        self.heard = b""
        """All that was sent to them."""
        self.abstract = abstract
        self.tcp = self.udp = self.udp6 = 0
        self._path = path
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        self.tcp = self._listen(socket.AF_INET, ("127.0.0.1", 0))
        self.udp = self._listen(socket.AF_INET, ("127.0.0.1", 0), datagrams=True)
        with suppress(OSError):  # a machine without IPv6
            self.udp6 = self._listen(socket.AF_INET6, ("::1", 0), datagrams=True)
        self._listen(socket.AF_UNIX, str(self._path))
        self._path.chmod(0o666)
        self._listen(socket.AF_UNIX, "\0" + self.abstract)
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        for key in [*self._selector.get_map().values()]:
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _listen(self, family: socket.AddressFamily, address: str | tuple[str, int], *, datagrams: bool = False) -> int:
        link = socket.socket(family, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
        try:
            link.bind(address)
            if not datagrams:
                link.listen()
        except OSError:
            link.close()
            raise
        link.setblocking(False)
        self._selector.register(link, selectors.EVENT_READ, "datagrams" if datagrams else "accept")
        return 0 if family is socket.AF_UNIX else int(link.getsockname()[1])

    def once(self) -> None:
        """Takes what came in."""
        for key, _ in self._selector.select(0.05):
            link = key.fileobj
            assert isinstance(link, socket.socket)
            with suppress(OSError):
                if key.data == "accept":
                    accepted, _ = link.accept()
                    accepted.setblocking(False)
                    self._selector.register(accepted, selectors.EVENT_READ, "stream")
                    continue
                data = link.recv(4096)
                self.heard += data
                if not data and key.data == "stream":
                    self._selector.unregister(link)
                    link.close()

    def hears(self, mark: str) -> bool:
        """Whether this came, waiting a moment for what is on its way."""
        return _within(0.3, lambda: mark.encode() in self.heard)


class Eyes(_Thread):
    """What the host sees of processes that call themselves by a letter and our nonce."""

    def __init__(self, nonce: str) -> None:
        super().__init__()
        self._nonce = nonce
        self.most: dict[str, int] = {}
        """The most processes at once, by their letter."""
        self.bytes: dict[str, int] = {}
        """The most memory they held together."""
        self.users: dict[str, set[int]] = {}
        """Whom they belonged to; those of a command whose kernel is a process are under `GUEST`."""
        self.urgency: dict[str, int] = {}
        """The least of their niceness."""

    def once(self) -> None:
        """Looks at all processes."""
        counts: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for folder in _processes():
            with suppress(OSError, IndexError):
                name = (folder / "comm").read_text().strip()
                letter = name[0] if name[1:] == self._nonce else GUEST if name == _STUB and _is_traced(folder) else ""
                if not letter:
                    continue
                nice = os.getpriority(os.PRIO_PROCESS, int(folder.name))
                self.urgency[letter] = min(nice, self.urgency.get(letter, nice))
                counts[letter] = counts.get(letter, 0) + 1
                self.users.setdefault(letter, set()).add(_user_of(folder))
                if letter in "mp":
                    held = int((folder / "statm").read_text().split()[1]) * _PAGE
                    sizes[letter] = sizes.get(letter, 0) + held
        for letter, count in counts.items():
            self.most[letter] = max(self.most.get(letter, 0), count)
        for letter, size in sizes.items():
            self.bytes[letter] = max(self.bytes.get(letter, 0), size)
        self._over.wait(0.02)

    def daemons(self) -> list[int]:
        """Returns which processes an attempt left behind live on, after a moment for their end."""
        _within(1.0, lambda: not self._left())
        return self._left()

    def end_daemons(self) -> None:
        """Kills those."""
        for pid in self._left():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> list[int]:
        found: list[int] = []
        for folder in _processes():
            with suppress(OSError):
                if (folder / "cmdline").read_bytes().startswith(f"daemon-{self._nonce}".encode()):
                    found.append(int(folder.name))
        return found


def _processes() -> Iterator[Path]:
    return (Path("/proc", name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names


def _user_of(folder: Path) -> int:
    # Not the folder's owner: that is root for a process that cannot be traced.
    (line,) = [line for line in (folder / "status").read_text().splitlines() if line.startswith("Uid:")]
    return int(line.split()[2])


def _is_traced(folder: Path) -> bool:
    return "\nTracerPid:\t0\n" not in (folder / "status").read_text()


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
