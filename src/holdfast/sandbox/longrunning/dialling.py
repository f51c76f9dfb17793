"""A connection to a port of the loopback of whatever network this process is in, without waiting for it.

The first process of a sandbox loads it too: the standard library only.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

__all__ = ("begin_dialling",)


def begin_dialling(port: int) -> socket.socket:
    """Returns a stream that is being connected to a port of this network's loopback: IPv4 if somebody listens there.

    Raises:
        OSError: nobody listens.
    """
    refused = OSError(errno.ECONNREFUSED, "nobody listens")
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with suppress(OSError):
            end = socket.socket(family, socket.SOCK_STREAM)
            end.setblocking(False)
            code = end.connect_ex((host, port))
            if code in (0, errno.EINPROGRESS) and end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                return end
            end.close()
    raise refused
