"""Attempts on the network, and on memory that is shared by name. Runs inside: standard library only.

Nothing is sent anywhere but to listeners on the host's own loopback: whether there is a way to the world, the kernel
says when a datagram socket is connected, which sends nothing.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from knowing import Refused, Spec
from syscalls import call, libc

__all__ = ()


def host_loopback_tcp(spec: Spec) -> str:
    for host in ("127.0.0.1", "localhost", "::1"):
        with suppress(OSError), socket.create_connection((host, spec.tcp), timeout=1) as link:
            link.sendall(spec.mark("host_loopback_tcp").encode())
            return f"connected to {host}"
    raise Refused("nobody listens there")


def _way(family: int, address: tuple[str, int]) -> str:
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.connect(address)
        return f"there is a way from {link.getsockname()[0]}"


def route_to_internet(_: Spec) -> str:
    return _way(socket.AF_INET, ("203.0.113.1", 443))


def route_to_metadata(_: Spec) -> str:
    return _way(socket.AF_INET, ("169.254.169.254", 80))


def dns_sendto(spec: Spec) -> str:
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(question + spec.mark("dns_sendto").encode(), ("127.0.0.1", spec.udp))
    return "sent"


def ipv6_route(spec: Spec) -> str:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
        link.sendto(spec.mark("ipv6_route").encode(), ("::1", spec.udp6))
    return "sent"


def raw_socket(_: Spec) -> str:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "opened"


def packet_socket(_: Spec) -> str:
    socket.socket(17, socket.SOCK_RAW, 0).close()  # AF_PACKET
    return "opened"


def netlink_socket(_: Spec) -> str:
    with socket.socket(16, socket.SOCK_RAW, 0) as link:  # AF_NETLINK, NETLINK_ROUTE
        link.bind((0, 0))
    return "opened and bound"


def vsock_socket(_: Spec) -> str:
    socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK; nobody is called
    return "opened"


def abstract_unix_host(spec: Spec) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1)
        link.connect("\0" + spec.abstract)
        link.sendall(spec.mark("abstract_unix_host").encode())
    return "connected"


def path_unix_host(spec: Spec) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1)
        link.connect(f"{spec.outside}/socket")
        link.sendall(spec.mark("path_unix_host").encode())
    return "connected"


def alg_socket(_: Spec) -> str:
    with socket.socket(38, socket.SOCK_SEQPACKET) as link:  # AF_ALG
        link.bind(("hash", "sha256"))
    return "opened and bound"


def sysv_shm(spec: Spec) -> str:
    import ctypes

    number = call("shmget", spec.shm_key, 0, 0)
    attach = libc().shmat
    attach.restype = ctypes.c_void_p
    address = attach(number, None, 0o10000)  # SHM_RDONLY
    if address in (None, ctypes.c_void_p(-1).value):
        raise Refused("it cannot be attached")
    return ctypes.string_at(address, 32).decode(errors="replace")


def dev_shm_file(spec: Spec) -> str:
    return Path(spec.shm_file).read_text()
