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
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

__all__ = ("decode", "encode", "receive", "send")

_PACKET: Final = 32 * 1024
_DESCRIPTORS: Final = 16
_LARGE = b"+"
_LARGEST: Final = 16 * 1024 * 1024
_BESIDE: Final = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)
_CUT: Final = int(socket.MSG_CTRUNC)
_CLOSED_ON_EXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_decoder: Final = json.JSONDecoder()


def encode(message: dict[str, Any]) -> bytes:
    """Encodes a message."""
    return json.dumps(message).encode()


def decode(data: bytes) -> dict[str, Any]:
    """Decodes a message.

    Raises:
        ValueError: it is none.
    """
    text = str(data, "utf-8")
    message, end = _decoder.raw_decode(text)  # without what is looked for around one
    if not isinstance(message, dict) or end != len(text):
        raise ValueError("this is no message")
    return cast("dict[str, Any]", message)


def send(
    channel: socket.socket,
    message: dict[str, Any],
    descriptors: Sequence[int] = (),
    encode: Callable[[dict[str, Any]], bytes] = encode,
) -> None:
    """Sends one message; the descriptors are copied on the way.

    Raises:
        OSError: the other side is gone, or reads nothing.
    """
    data = encode(message)
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


def receive(
    channel: socket.socket, decode: Callable[[bytes], dict[str, Any]] = decode
) -> tuple[dict[str, Any], list[int]]:
    """Returns one message and its descriptors, which are the caller's to close: all that were sent, or, where this
    process has no room for all of them, none.

    Raises:
        EOFError: there is nobody on the other side.
        BlockingIOError: nothing has come yet, on a socket that does not wait.
        ValueError: what came is no message.
    """
    data, beside, flags, _ = channel.recvmsg(_PACKET, _BESIDE, _CLOSED_ON_EXEC)
    descriptors = array.array("i")
    for level, kind, content in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    found = list(descriptors)
    if flags & _CUT:  # each of those that are left could be taken for another one
        _close(found)
        found = []
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
        message = decode(data)
    except (ValueError, IndexError, RecursionError, OSError):
        _close(found)
        raise ValueError("this is no message") from None
    return message, found


def _close(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        os.close(each)
