"""Messages between the runtime, the launcher and the sandboxes: JSON in packets, with descriptors beside them.

What is too large for a packet goes into a file in memory, whose descriptor comes first. Loaded by the launcher: the
standard library only.
"""

from __future__ import annotations

import array
import json
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any, Final, cast

__all__ = ("receive", "send")

_PACKET: Final = 32 * 1024
_DESCRIPTORS: Final = 16
_LARGE = b"+"
_LARGEST: Final = 16 * 1024 * 1024


def send(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Sends one message; the descriptors are copied on the way.

    Raises:
        OSError: the other side is gone, or reads nothing.
    """
    data = json.dumps(message).encode()
    if len(data) <= _PACKET:
        socket.send_fds(channel, [data], list(descriptors))
        return
    large = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        with open(large, "wb", closefd=False) as file:
            file.write(data)
        socket.send_fds(channel, [_LARGE], [large, *descriptors])
    finally:
        os.close(large)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Returns one message and its descriptors, which are the caller's to close.

    Raises:
        EOFError: there is nobody on the other side.
        BlockingIOError: nothing has come yet, on a socket that does not wait.
        ValueError: what came is no message.
    """
    size = array.array("i").itemsize
    data, beside, _, _ = channel.recvmsg(_PACKET, socket.CMSG_SPACE(_DESCRIPTORS * size), socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % size])
    found = list(descriptors)
    if not data:
        _close(found)
        raise EOFError
    try:
        if data == _LARGE:
            large = found.pop(0)
            with open(large, "rb") as file:
                status = os.fstat(large)
                if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                    raise ValueError("this is no message")
                file.seek(0)
                data = file.read(_LARGEST)
        loaded = json.loads(data)
        if not isinstance(loaded, dict):
            raise ValueError("this is no message")
        message = cast("dict[str, Any]", loaded)
    except (ValueError, IndexError, RecursionError, OSError):
        _close(found)
        raise ValueError("this is no message") from None
    return message, found


def _close(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        os.close(each)
