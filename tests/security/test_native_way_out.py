"""What a policy allows works in a native sandbox, whatever else does not; and a secret is used, but never read."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.egressing import PUBLIC, Upstream, authority
from tests.sandboxing import names, sandboxes

from holdfast.sandbox.egress import proxy
from holdfast.sandbox.egress.dialling import Dialler
from holdfast.sandbox.policy.loading import load_profile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

SECRET = "sk-very-secret-0123456789"
PROFILE = """
kind: SandboxProfile
policy:
  version: 1
  filesystem_policy:
    include_workdir: true
    read_only: [/usr, /bin, /lib, /lib64, /etc, {given}]
    read_write: [{open}]
  network_policies:
    service:
      name: service
      endpoints: [{{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: read-only }}]
      binaries: [{{ path: "/usr/bin/python3*" }}]
env:
  secrets: {{ TEST_SERVICE_KEY: [api.example.com] }}
"""
TRY = """
import json, os, socket, urllib.error, urllib.request

def tried(what, *given):
    try:
        return what(*given)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__

def write(path):
    with open(path, "w") as file:
        return file.write("x")

def ask(url):
    header = {"Authorization": "Bearer " + os.environ["TEST_SERVICE_KEY"]}
    with urllib.request.urlopen(urllib.request.Request(url, headers=header), timeout=10) as answer:
        return answer.status, answer.read().decode()

def read(path):
    with open(path, "rb", 0) as file:
        return file.read(1 << 22)

def everything():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            yield f"/proc/{pid}/{name}"
    for top in ("/tmp", "/run", "/dev/shm", "/home", os.getcwd(), given, opened):
        for folder, _, files in os.walk(top):
            yield from (os.path.join(folder, each) for each in files)

given, opened = os.environ["GIVEN"], os.environ["OPEN"]
outside = [given + "/made", "/usr/made", "/etc/made", "/made", os.path.dirname(os.getcwd()) + "/made"]
placeholder = os.environ["TEST_SERVICE_KEY"].encode()
contents = {path: seen for path in everything() if isinstance(seen := tried(read, path), bytes)}
print(json.dumps({
    "inside": [tried(write, each) for each in ("made", opened + "/made")],
    "outside": [tried(write, each) for each in outside],
    "unlisted": [tried(ask, each) for each in ("https://other.example.com/", "http://api.example.com/")],
    "direct": tried(socket.create_connection, ("93.184.215.14", 443), 2),
    "raw": [tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            tried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)],
    "listed": tried(ask, "https://api.example.com/"),
    "found": [path for path, seen in contents.items() if bytes(reversed(SECRET)) in seen],
    "control": [path for path, seen in contents.items() if placeholder in seen],
}))
"""


def reached_at(upstream: Upstream) -> Dialler:
    """Returns a dialler for which the names are public, and whose connections end at the server, once judged."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [PUBLIC]

    async def connect(address: str, port: int) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", upstream.port))
        return made

    trust = ssl.create_default_context(cadata=authority("upstream").pem)
    return Dialler(resolve=resolve, connect=connect, trust=trust, timeout=5)


@pytest.mark.requirement("sandbox:deny-outside-policy", "sandbox:secret-unreadable-inside")
async def test_what_is_listed_works_with_a_secret_nobody_inside_can_read_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, given, opened = (tmp_path / each for each in ("work", "given", "opened"))
    for each in (work, given, opened):
        each.mkdir()
    # Written backwards, or the script itself would be what is found.
    (work / "try.py").write_text(f"SECRET = {SECRET[::-1].encode()!r}\n{TRY}")
    (given / "data").write_text("data")
    upstream = Upstream(host="api.example.com", port=443)
    monkeypatch.setenv("TEST_SERVICE_KEY", SECRET)
    profile = load_profile(PROFILE.format(given=given, open=opened))
    async with AsyncExitStack() as stack:
        await upstream.serve(stack)
        monkeypatch.setattr(proxy, "Dialler", lambda: reached_at(upstream))
        async with sandboxes(work, profile) as place:
            place.env |= {"GIVEN": str(given), "OPEN": str(opened)}
            told = json.loads(await place.says("/usr/bin/python3 try.py"))
    assert told["inside"] == [1, 1]
    assert not set(map(str, told["outside"])) - {"PermissionError", "OSError"}, told["outside"]
    assert told["unlisted"] == ["URLError", 403]
    assert told["direct"] in ("OSError", "ConnectionRefusedError", "TimeoutError")
    assert told["raw"] == ["PermissionError", "PermissionError"]
    code, answer = told["listed"]
    assert code == 200
    assert f"Bearer {SECRET}".encode() in upstream.seen[-1], "the proxy fills it in"
    assert SECRET not in answer, "and what the server repeats of it does not come back"
    assert told["found"] == []
    assert told["control"], "the search finds what there is to find"
    assert (names(given), names(opened), names(work)) == (["data"], ["made"], ["made", "try.py"])
