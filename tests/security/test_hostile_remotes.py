"""Remotes that a hostile repository names: the git tool speaks with no folder, proxy or stranger it was not allowed."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from tests.repositories import ACTIONS, Place, promised, unbounded

from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.git import git_tool


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    unbounded(monkeypatch)  # `test_bounded_git.py` is about the other half
    return Place(tmp_path)


@pytest.mark.requirement("tools:git-remotes-as-allowed")
@pytest.mark.parametrize(
    "url",
    [
        "./near.git",
        "../space/near.git",
        "SPACE/near.git",
        "SPACE/near",
        "SPACE/../space//near.git",
        "BASE/link.git",
        "BASE/link",
        "file://SPACE/near.git",
        "file://BASE/sp%61ce/near.git",
        "file://localhost/SPACE/near.git",
        "FILE://SPACE/near.git",
        "git://127.0.0.1/near.git",
        "ext::git-receive-pack SPACE/near.git",
        "-oProxyCommand=x:near.git",
    ],
)
async def test_a_remote_in_the_workspace_is_refused_because_its_hooks_would_run(place: Place, url: str) -> None:
    near = place.root / "near.git"
    place.plain("init", "-q", "--bare", str(near))
    (place.base / "link.git").symlink_to(near)
    (near / "hooks/post-receive").write_text(f"#!/bin/sh\n: > {place.ran}\n")
    (near / "hooks/post-receive").chmod(0o755)
    place.tool = git_tool([place.base])  # that the workspace is in an allowed folder allows nothing
    address = url.replace("SPACE", str(place.root)).replace("BASE", str(place.base))
    for setting in ("remote.origin.url", "remote.origin.pushurl"):
        place.plain("config", setting, address)
        for action in ("push", "pull"):
            assert (await place.fails(action)).code == "permission_denied"
    assert not place.ran.exists()
    place.plain("config", "--unset", "remote.origin.pushurl")
    if url == "file://BASE/sp%61ce/near.git":  # the trap is one
        place.plain("push", "-q", "origin", "main")
        assert place.ran.exists()


@pytest.mark.requirement("tools:git-remotes-as-allowed")
async def test_a_remote_without_an_address_is_no_folder_and_an_old_file_gives_it_none(place: Place) -> None:
    near = place.root / "near.git"
    place.plain("init", "-q", "--bare", str(near))
    place.plain("config", "--unset", "remote.origin.url")
    (place.root / "origin").symlink_to(near)
    assert (await place.fails("push")).code == "permission_denied"
    (place.root / ".git/branches").mkdir(exist_ok=True)
    (place.root / ".git/branches/origin").write_text(f"{near}\n")
    assert (await place.fails("push")).code == "permission_denied"
    assert not place.plain("for-each-ref", where=near)


class _Stranger(BaseHTTPRequestHandler):
    """Answers like a git server of old with one commit, asks for a password where told, and sets a cookie."""

    def do_GET(self) -> None:
        server = cast("Stranger", self.server)
        server.seen.append((self.path, self.headers.get("Authorization")))
        ask = server.asks and not self.headers.get("Authorization")
        body = f"{server.commit}\trefs/heads/main\n".encode() if "info/refs" in self.path else b"ref: refs/heads/main\n"
        self.send_response(401 if ask else 200 if server.commit else 404)
        if ask:
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Type", "text/plain")
        self.send_header("Set-Cookie", "x=y; Expires=Wed, 01 Jan 2070 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Stranger(ThreadingHTTPServer):
    """A server on the loopback, and what it was asked for."""

    def __init__(self, commit: str) -> None:
        super().__init__(("127.0.0.1", 0), _Stranger)
        self.commit = commit
        self.seen: list[tuple[str, str | None]] = []
        self.asks = False
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def stranger(place: Place) -> Iterator[Stranger]:
    with Stranger(place.plain("rev-parse", "HEAD")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


HTTP = "http://github.invalid/a/b.git"
ASTRAY: dict[str, tuple[str, dict[str, str]]] = {
    "a file of cookies": ("URL/a/b.git", {"http.cookieFile": "VICTIM", "http.saveCookies": "true"}),
    "cookies for one host": ("URL/a/b.git", {"http.URL.cookieFile": "VICTIM", "http.URL.saveCookies": "true"}),
    "a proxy": (HTTP, {"http.proxy": "URL"}),
    "a proxy of one remote": (HTTP, {"remote.origin.proxy": "URL"}),
    "another host": (HTTP, {"url.URL/.insteadOf": "http://github.invalid/"}),
    "another host to push to": (HTTP, {"url.URL/.pushInsteadOf": "http://github.invalid/"}),
    "headers": ("URL/a/b.git", {"http.extraHeader": "X-Evil: y"}),
    "no certificates": ("URL/a/b.git", {"http.sslVerify": "false"}),
    "a name's address": ("URL/a/b.git", {"http.curloptResolve": "github.invalid:80:127.0.0.1"}),
    "a file of certificates": ("URL/a/b.git", {"http.sslCert": "VICTIM"}),
    "bundles from elsewhere": ("URL/a/b.git", {"fetch.bundleURI": "URL/bundle"}),
    "options of a merge": ("URL/a/b.git", {"branch.main.mergeOptions": "--verify-signatures"}),
    "a list of what to skip": ("URL/a/b.git", {"fetch.fsck.skipList": "VICTIM"}),
    "who is asked": ("URL/a/b.git", {"credential.username": "me"}),
    "missing objects": ("URL/a/b.git", {"remote.evil.url": "URL/evil", "remote.evil.promisor": "true"}),
    "a program for ssh": ("ssh://127.0.0.1:1/x", {"core.sshCommand": "VICTIM"}),
    "a program for git": ("git://127.0.0.1:1/x", {"core.gitProxy": "VICTIM"}),
    "what nobody knows yet": ("URL/a/b.git", {"future.setting": "x"}),
}
PROVEN = {"a file of cookies", "cookies for one host", "a proxy", "a proxy of one remote", "another host"}
"""Those that plain git falls for here; the others need more of a server, or another git."""


@pytest.mark.requirement("tools:git-sends-nothing-astray")
@pytest.mark.parametrize("trap", ASTRAY)
async def test_no_setting_leads_a_pull_or_push_astray(place: Place, stranger: Stranger, trap: str) -> None:
    victim = place.base / "victim"
    victim.write_text("kept\n")
    url, settings = ASTRAY[trap]

    def filled(text: str) -> str:
        return text.replace("URL", stranger.url).replace("VICTIM", str(victim))

    place.plain("config", "remote.origin.url", filled(url))
    for name, value in settings.items():
        place.plain("config", filled(name), filled(value))
    for action in ("pull", "push"):
        error = await place.fails(action, branch="main")
        assert (error.code, "configuration sets" in str(error)) == ("permission_denied", True)
    assert await place.check(branch="main") is None
    assert (stranger.seen, victim.read_text()) == ([], "kept\n")
    if trap in PROVEN:
        place.plain("pull", "origin", "main", check=False)
        assert stranger.seen
        assert (victim.read_text() != "kept\n") == ("cookie" in trap)


@pytest.mark.requirement("tools:git-sends-nothing-astray")
async def test_what_is_for_remotes_is_in_the_way_of_nothing_else(place: Place) -> None:
    place.config(http__proxy="http://127.0.0.1:1", http__sslVerify="false", core__sshCommand="false")
    for arguments in ACTIONS[:-2]:
        if arguments["action"] != "commit":
            await place.use(**arguments)
    place.plain("config", "future.setting", "x")
    assert await place.says("status")
    assert "'future.setting'" in str(await place.fails("add", paths=["."]))


@pytest.mark.requirement("tools:git-sends-nothing-astray")
async def test_missing_objects_are_fetched_by_no_action(place: Place, stranger: Stranger) -> None:
    promised(place)
    place.plain("config", "--unset", "remote.origin.uploadpack")
    place.plain("config", "remote.origin.url", f"{stranger.url}/a/b.git")
    (place.root / "a.txt").unlink()
    stranger.commit = ""  # it has nothing
    place.plain("checkout", "HEAD", "--", "a.txt", check=False)
    assert stranger.seen  # plain git fetches them
    stranger.seen.clear()
    first: dict[str, Any] = {"action": "checkout", "paths": ["a.txt"]}
    for arguments in [first, *ACTIONS]:
        with contextlib.suppress(ToolFailure):
            await place.use(**arguments)
    assert stranger.seen == []


@pytest.mark.requirement("tools:git-sends-nothing-astray")
async def test_credentials_come_from_the_workspace_alone(
    place: Place, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.asks = True
    (place.base / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (place.base / ".netrc").chmod(0o600)
    (place.base / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    (place.base / ".git-credentials").write_text(stranger.url.replace("//", "//me:secret@") + "\n")
    monkeypatch.setenv("HOME", str(place.base))
    place.space.env["HOME"] = str(place.base)
    place.plain("config", "remote.origin.url", f"{stranger.url}/a/b.git")
    for action in ("pull", "push"):
        await place.fails(action, branch="main")
    assert {given for _, given in stranger.seen} == {None}
    place.plain("pull", "origin", "main", check=False)
    assert {given for _, given in stranger.seen} != {None}  # plain git tells them
    asked = place.base / "ask"
    asked.write_text("#!/bin/sh\necho own\n")
    asked.chmod(0o755)
    place.space.env["GIT_ASKPASS"] = str(asked)
    assert await place.says("push", branch="main") == "already up to date"
    assert stranger.seen[-1][1] == "Basic " + base64.b64encode(b"own:own").decode()


@pytest.mark.requirement("tools:git-sends-nothing-astray")
async def test_ssh_offers_no_key_of_the_users(place: Place) -> None:
    (place.base / "bin").mkdir()
    (place.base / "bin/ssh").write_text(f'#!/bin/sh\necho "$@" > {place.base}/told\nexit 1\n')
    (place.base / "bin/ssh").chmod(0o755)
    place.space.env["PATH"] = f"{place.base / 'bin'}:{os.environ['PATH']}"
    for url in ("ssh://git@127.0.0.1/x", "git@127.0.0.1:x"):
        place.plain("config", "remote.origin.url", url)
        await place.fails("pull", branch="main")
        told = (place.base / "told").read_text()
        assert "-F /dev/null -oBatchMode=yes -oIdentityFile=none" in told
        assert "git@127.0.0.1" in told
        (place.base / "told").unlink()
