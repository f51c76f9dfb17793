"""From an address to a socket that listens: binding, TLS, and what is said where it cannot be done."""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
import socket
import ssl
import stat
from pathlib import Path

import msgspec

from holdfast.errors import UsageError
from holdfast.server.listening.caps import Caps

__all__ = ("Place", "bind", "certified", "is_loopback", "raise_files", "sound")

_RESERVED = 256
"""Files that are left for everything that is no connection."""
_ADVICE = {
    errno.EADDRINUSE: "another program listens there: stop it, or choose another --port (0 picks a free one)",
    errno.EACCES: "it takes more rights to listen there: choose a --port above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose another --host",
}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server listens."""

    host: str = "127.0.0.1"
    port: int = 8700
    """0 for a free one."""
    unix: Path | None = None
    """A socket file, instead of an address."""
    certificate: Path | None = None
    """With it and its key, TLS is spoken."""
    key: Path | None = None


def is_loopback(place: Place) -> bool:
    """Whether only this machine can reach it."""
    if place.unix is not None or place.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(place.host).is_loopback
    except ValueError:
        return False


def bind(place: Place, caps: Caps) -> list[socket.socket]:
    """Returns sockets that listen there.

    Raises:
        UsageError: nobody can listen there; says why, and what to do.
    """
    if place.unix is not None:
        return [_bind_file(place.unix, caps)]
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"there is no address {place.host!r}: name one of this machine's with --host, or 127.0.0.1"
        ) from error
    bound: list[socket.socket] = []
    port = place.port
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound.append(each := socket.socket(family, kind, protocol))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _notice_death(each, caps)
            each.bind((address[0], port, *address[2:]))
            each.listen(caps.backlog)
            port = each.getsockname()[1]  # the same for every family
    except OSError as error:
        for each in bound:
            each.close()
        advice = _ADVICE.get(error.errno or 0, "choose another --host or --port")
        where = f"[{place.host}]" if ":" in place.host else place.host
        raise UsageError(f"cannot listen on {where}:{place.port} ({_said(error)}): {advice}") from error
    for each in bound:
        each.setblocking(False)
    return bound


def _bind_file(path: Path, caps: Caps) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        found.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP)
        found.listen(caps.backlog)
    except OSError as error:
        found.close()
        raise UsageError(
            f"cannot listen on {str(path)!r} ({_said(error)}): name a file that is not there yet, in a folder of yours"
        ) from error
    found.setblocking(False)
    return found


def _remove_dead(path: Path) -> None:
    """Removes a socket file that a killed server left; one where somebody answers stays."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _notice_death(listening: socket.socket, caps: Caps) -> None:
    """Has the system find out about peers that are gone without a word; connections inherit it."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = max(1, caps.dead_after // 2)
    options = {"TCP_KEEPIDLE": idle, "TCP_KEEPINTVL": max(1, idle // 4), "TCP_KEEPCNT": 4}
    options["TCP_USER_TIMEOUT"] = caps.dead_after * 1000
    for name, value in options.items():
        if hasattr(socket, name):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def certified(place: Place) -> ssl.SSLContext | None:
    """Returns how TLS is spoken; None where it is not.

    Raises:
        UsageError: the certificate or its key cannot be used; says why.
    """
    if place.certificate is None and place.key is None:
        return None
    if place.certificate is None or place.key is None:
        raise UsageError("TLS takes both --tls-cert and --tls-key: add the other one")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])

    def no_passphrase() -> str:
        raise UsageError(
            f"the key {str(place.key)!r} is encrypted: give one without a passphrase, for you alone to read"
        )

    try:
        context.load_cert_chain(place.certificate, place.key, no_passphrase)
    except ssl.SSLError as error:
        what = "the key is another certificate's" if "MISMATCH" in str(error.reason) else "one of them is no PEM file"
        raise UsageError(
            f"{str(place.certificate)!r} with {str(place.key)!r} cannot be used ({what}): give a certificate chain and "
            "its own key, both as PEM"
        ) from error
    except OSError as error:
        raise UsageError(
            f"the certificate or its key cannot be read ({_said(error)}: {error.filename or place.certificate}): "
            "name files that you may read"
        ) from error
    return context


def raise_files(wanted: int) -> int:
    """Lets this process open as many files as the system allows it, and returns how many connections that makes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or soft == resource.RLIM_INFINITY:
        most = wanted + _RESERVED if hard == resource.RLIM_INFINITY else min(hard, max(soft, wanted + _RESERVED))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
        except (OSError, ValueError):
            pass  # then it stays as it is
    return max(1, min(wanted, soft - _RESERVED))


def sound(place: Place, bound: list[socket.socket]) -> str:
    """Returns the address as people write it."""
    if place.unix is not None:
        return f"unix:{place.unix}"
    scheme = "http" if place.certificate is None else "https"
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{scheme}://{host}:{bound[0].getsockname()[1]}"


def _said(error: OSError) -> str:
    return error.strerror or str(error)
