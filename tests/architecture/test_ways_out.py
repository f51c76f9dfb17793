"""Nothing leaves the machine but by `net/`, by the guarded channels of calls, and by a sandbox's own proxy."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

import pytest
from tests.architecture.tree import PACKAGE, modules, nodes

CLIENTS = {
    "ftplib",
    "http.client",
    "httpx",
    "imaplib",
    "nntplib",
    "poplib",
    "requests",
    "smtplib",
    "telnetlib",
    "urllib.request",
    "urllib3",
    "websockets",
    "xmlrpc.client",
}
"""Modules that speak to other machines past the address guard."""
OPENS = {
    "connect_ex",
    "create_connection",
    "create_datagram_endpoint",
    "gethostbyname",
    "insecure_channel",
    "open_connection",
    "secure_channel",
    "sendto",
    "sock_connect",
}
WAYS = {
    "net/": "the one client: each address is judged when it is connected to",
    "tools/transports/rpc/channels.py": "gRPC's channels, dialled at an address that was judged",
    "sandbox/egress/dialling.py": "the proxy of a sandbox, which judges by the sandbox's own policy",
    "sandbox/longrunning/dialling.py": "a port of a process of ours, inside its sandbox, on the loopback address",
    "testing/": "peers on this machine, for tests",
}


def ways_out(looked_at: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yields each line that could open a connection, with what does it."""
    for node in looked_at:
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, each.name) for each in names if each.name in CLIENTS)
            case ast.ImportFrom(module=str(module), names=names):
                found = [module, *(f"{module}.{each.name}" for each in names)]
                yield from ((node.lineno, each) for each in found if each in CLIENTS)
            case ast.Attribute(attr=str(name)) if name in OPENS:
                yield node.lineno, name
            case _:
                pass


@pytest.mark.requirement("net:only-way-out")
def test_no_other_file_opens_a_connection() -> None:
    found: dict[str, list[tuple[int, str]]] = {}
    for path in modules(PACKAGE):
        name = path.relative_to(PACKAGE).as_posix()
        if lines := list(ways_out(nodes(path, ast.Import, ast.ImportFrom, ast.Attribute))):
            found[name] = lines
    assert {name: lines for name, lines in found.items() if not name.startswith(tuple(WAYS))} == {}
    assert all(any(name.startswith(way) for name in found) for way in WAYS if way != "net/"), (
        "an exception nobody needs"
    )


@pytest.mark.requirement("net:only-way-out")
@pytest.mark.parametrize(
    "planted",
    [
        "import requests",
        "import urllib.request",
        "from urllib import request",
        "from http.client import HTTPSConnection",
        "async def f():\n    await asyncio.open_connection('x', 1)",
        "def f():\n    socket.create_connection(('x', 1))",
        "async def f(loop, s):\n    await loop.sock_connect(s, ('x', 1))",
    ],
)
def test_one_that_does_is_found(planted: str) -> None:
    assert list(ways_out(ast.walk(ast.parse(planted))))
