"""The runtime's end of a socket to a launcher or a sandbox, in its event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from holdfast.sandbox.native.talking.wire import decode, encode, receive, send

__all__ = ("Channel",)

_SENDING = 1 << 20
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


class Channel:
    """A socket whose messages are handed on as they come."""

    def __init__(self, end: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = end
        self._end.setblocking(False)
        with suppress(OSError):
            self._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENDING)
        self._loop.add_reader(self._end, self._read)
        self._owed: deque[tuple[dict[str, Any], list[int]]] = deque()
        """What is to be said when the other side has heard what came before, with descriptors of our own."""
        self.open = True

    def _read(self) -> None:
        try:
            message, descriptors = receive(self._end, _decode)
        except BlockingIOError:
            return
        except ValueError:
            return  # what a sandbox says is hostile: what is no message is not heard
        except (EOFError, OSError):
            self.close()
            self.lost()
            return
        self.heard(message, descriptors)

    def heard(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Is called for each message; the descriptors are the callee's."""
        raise NotImplementedError

    def lost(self) -> None:
        """Is called when the other side is gone."""
        raise NotImplementedError

    def say(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Sends a message, at once or when there is room for it; the descriptors are copied.

        Raises:
            OSError: the other side is gone.
        """
        if not self.open:
            raise ConnectionResetError(errno.ECONNRESET, "it is gone")
        if not self._owed:
            with suppress(BlockingIOError):
                send(self._end, message, descriptors, _encode)
                return
            self._loop.add_writer(self._end, self._catch_up)
        self._owed.append((message, [os.dup(each) for each in descriptors]))

    def _catch_up(self) -> None:
        while self._owed:
            message, descriptors = self._owed[0]
            try:
                send(self._end, message, descriptors, _encode)
            except BlockingIOError:
                return
            except OSError:
                break  # it is gone, as reading will tell
            self._forget_first()
        self._loop.remove_writer(self._end)

    def _forget_first(self) -> None:
        for each in self._owed.popleft()[1]:
            os.close(each)

    def close(self) -> None:
        """Ends the talk; what was owed is not said any more."""
        if self.open:
            self.open = False
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
            while self._owed:
                self._forget_first()
            self._end.close()


def _encode(message: dict[str, Any]) -> bytes:
    """Does what `encode` does: what is said of each command is worth the faster library."""
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:  # a name that is no UTF-8
        return encode(message)


def _decode(data: bytes) -> dict[str, Any]:
    """Does what `decode` does."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return decode(data)
