"""What a person is told whose server is not there, does not know them, or is something else, and what helps."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.governing import Guarded, guarding
from tests.listening import certificate
from tests.loopback import Handler, Request, Server, answer
from tests.loopback import serving as answering
from tests.reaching import at_server, caller
from tests.running import scene, soon, until
from tests.surfaces.commands import Shell, bash, shell
from tests.surfaces.distant import distant

from holdfast.cli.reaching.naming import refuse_with, server_said
from holdfast.cli.reaching.port import Terms
from holdfast.cli.reaching.remote import RemoteSessions
from holdfast.errors import (
    HoldfastError,
    NetError,
    NotConnected,
    PolicyDenied,
    ProtocolError,
    UnknownSession,
    UsageError,
)
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.types import Event, Limits, Text

TERMS = Terms("openai/scripted", "auto", Path(), Limits())


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def two_lines(error: BaseException | str) -> tuple[str, str]:
    """Returns what is wrong and what to do: one line each."""
    what, do = str(error).strip().split("\n")
    assert what.strip() and do.strip()
    return what, do


@asynccontextmanager
async def sessions_of(served: Guarded, key: str) -> AsyncGenerator[RemoteSessions]:
    there = caller(served.url, key)
    try:
        yield RemoteSessions(there)
    finally:
        await there.close()


@pytest.mark.requirement("server_cli:errors")
async def test_who_one_is_not_and_what_one_may_not_is_said_with_what_helps() -> None:
    async with guarding() as served:
        key = await served.key()
        for given, words in (
            ("", "wants to know who you are"),
            ("hf_0123456789abcdef_wrong", "does not take this key"),
        ):
            async with sessions_of(served, given) as sessions:
                with pytest.raises(UsageError) as caught:
                    await sessions.names(1)
                what, do = two_lines(caught.value)
                assert words in what
                assert "HOLDFAST_API_KEY" in do
                assert "wrong" not in f"{what}{do}"
                with pytest.raises(UsageError, match=words):
                    await anext(sessions.follow("s"))
        async with sessions_of(served, await served.key(role="reader")) as reader:
            assert await reader.names(1) == []
            with pytest.raises(PolicyDenied) as caught_:
                await reader.start(TERMS, [Text("go")], session="s")
            assert "ask whoever runs the server" in two_lines(caught_.value)[1]
        async with sessions_of(served, key) as mine, sessions_of(served, await served.key(tenant="other")) as theirs:
            await mine._caller.ask("POST", "/v1/sessions", {"name": "secret"})
            assert (await mine.stand("secret")) is not None
            assert (await theirs.stand("secret")) is None
            for asked in (theirs.rewind("secret", to=0), anext(theirs.follow("secret")), theirs.take_up("secret")):
                with pytest.raises(UnknownSession) as caught__:
                    await asked
                assert "runs list --server" in two_lines(caught__.value)[1]


def plain(body: bytes, status: str = "200 OK") -> Handler:
    async def handler(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(body, status, "Content-Type: application/json\r\n"))

    return handler


@pytest.mark.requirement("server_cli:errors")
@pytest.mark.parametrize(
    ("body", "status", "words", "helps"),
    [
        (b'{"version":"0.0.9","name":"holdfast"}', "200 OK", "runs Holdfast 0.0.9", "updated"),
        (b'{"version":"1.0","name":"other"}', "200 OK", "no Holdfast server", "holdfast serve"),
        (b"<html>", "200 OK", "no Holdfast server", "holdfast serve"),
        (b"{}", "404 Not Found", "no Holdfast server", "holdfast serve"),
    ],
)
async def test_what_is_no_server_or_too_old_a_one_is_said_before_anything_is_sent(
    body: bytes, status: str, words: str, helps: str
) -> None:
    async with answering(plain(body, status)) as server:
        there = caller(server.url)
        with pytest.raises(ProtocolError) as caught:
            await there.greet()
        await there.close()
    what, do = two_lines(caught.value)
    assert words in what
    assert helps in do
    assert [request.line for request in server.requests] == ["GET /version HTTP/1.1"]


@pytest.mark.requirement("server_cli:errors")
async def test_what_talks_no_http_or_says_what_nobody_understands_is_an_error_and_no_crash() -> None:
    async with answering(greeting=b"220 mail ready\r\n") as server:
        there = caller(server.url)
        with pytest.raises(NetError):
            await there.greet()
        await there.close()
    stream = b"event: what.is.this\ndata: [1]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(stream)

    async def handler(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(head + stream if "events" in request.line else answer(b"[[[", headers="Content-Type: a/b\r\n"))

    async with answering(handler) as server:
        there = caller(server.url)
        sessions = RemoteSessions(there)
        with pytest.raises(HoldfastError, match="cannot be read here"):
            await soon(anext(sessions.follow("s")))
        with pytest.raises(ProtocolError, match="no Holdfast server"):
            await sessions.agents()
        await there.close()


@pytest.mark.requirement("server_cli:errors")
async def test_a_server_that_could_not_says_under_what_its_log_has_it() -> None:
    problem = b'{"title":"x","status":500,"code":"internal","detail":"the server could not","request_id":"r-7"}'
    async with answering(plain(problem, "500 Internal Server Error")) as server:
        there = caller(server.url)
        with pytest.raises(NetError, match=r"its log says why under r-7"):
            await RemoteSessions(there).agents()
        await there.close()
    assert len(server.requests) == 1


@pytest.mark.requirement("server_cli:errors")
def test_commands_say_in_two_lines_that_the_server_is_away_not_believed_or_wants_a_key(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    port = free_port()
    for command in (("runs", "list"), ("runs", "show", "s"), ("approve", "list")):
        done = sh.run(*command, "--server", f"127.0.0.1:{port}")
        assert done.returncode == 1
        what, do = two_lines(done.stderr)
        assert what.startswith(f"error http://127.0.0.1:{port} is away")
        assert "holdfast serve" in do
    with ScriptedModelServer.in_thread([Turn(text="x")]) as model:
        done = sh.run("runs", "list", "--server", model.origin)
        assert "is no Holdfast server" in two_lines(done.stderr)[0]
    certificate(tmp_path)
    with distant(sh, "--tls-cert", "server.pem", "--tls-key", "server.key") as there:
        assert there.url.startswith("https://")
        url = there.url.replace("127.0.0.1", "localhost")
        done = sh.run("runs", "list", "--server", url)
        assert done.returncode == 1
        what, do = two_lines(done.stderr)
        assert "is not believed" in what
        assert "SSL_CERT_FILE=" in do
        command = [sys.executable, "-m", "holdfast", "runs", "list", "--server", url]
        trusting = sh.environment | {"SSL_CERT_FILE": "server.pem"}  # which is read when the library is loaded
        done_ = subprocess.run(command, cwd=tmp_path, env=trusting, capture_output=True, timeout=30, check=False)
        assert done_.returncode == 0


@pytest.mark.requirement("server_cli:key")
def test_the_key_comes_from_the_environment_or_a_file_and_is_no_argument(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Hi.")]) as sh:
        key = sh.run("serve", "keys", "create", "ada").stdout.strip()
        (tmp_path / "key").write_text(f"{key}\n")
        with distant(sh) as there:
            refused = sh.run("runs", "list", "--server", there.url)
            assert "wants to know who you are" in refused.stderr
            assert sh.run("runs", "list", "--server", there.url, HOLDFAST_API_KEY=key).returncode == 0
            known = sh.run("runs", "list", "--server", there.url, "--key-file", "key")
            assert (known.returncode, known.stderr) == (0, "")
            assert "--key-file key" in known.stdout
            wrong = sh.run("runs", "list", "--server", there.url, HOLDFAST_API_KEY=f"{key[:-4]}0000")
            assert "does not take this key" in wrong.stderr
            assert key[:-4] not in wrong.stderr
        help_ = sh.run("chat", "--help").stdout
        assert "--key-file" in help_
        assert not re.search(r"--(api-)?key\b(?!-file)", help_)


@pytest.mark.requirement("server_cli:key")
def test_what_names_a_server_or_holds_a_key_is_looked_at_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOLDFAST_SERVER", "HOLDFAST_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert server_said(None, None, None) is None
    with pytest.raises(UsageError, match="--key-file is for a server"):
        server_said(None, tmp_path, None)
    with pytest.raises(UsageError, match="leave one of them out"):
        server_said("http://a", None, "memory:")
    for bad in ("ftp://a", "http://", "http://a?x=1", "http://u:p@a", "http://[", "http://a:99999", "http://a\x1b[2J"):
        with pytest.raises(UsageError, match="is no address of a server") as caught:
            server_said(bad, None, None)
        assert "\x1b" not in str(caught.value)
    monkeypatch.setenv("HOLDFAST_SERVER", "https://there/base/")
    said = server_said(None, None, None)
    assert said is not None
    assert (said.url, said.option) == ("https://there/base", "")
    assert server_said(None, None, "memory:") is None
    for junk in ("", "two words", "ü", "x" * 9000):
        (tmp_path / "key").write_text(junk)
        with pytest.raises(UsageError, match="is no key"):
            server_said(None, tmp_path / "key", None)
    with pytest.raises(UsageError, match="cannot be read"):
        server_said(None, tmp_path / "absent", None)
    monkeypatch.setenv("HOLDFAST_API_KEY", "hf_k")
    assert capsys.readouterr().err == ""
    server_said("http://far.example", None, None)
    assert "in the clear" in capsys.readouterr().err
    server_said("http://127.0.0.1:1", None, None)
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match=r"--model, --policy: a server says that for itself"):
        refuse_with(said, {"--model": "x", "--policy": "p", "--roles": ""})
    refuse_with(None, {"--model": "x"})


@pytest.mark.requirement("server_cli:reconnect")
async def test_whoever_follows_is_told_once_that_the_way_is_lost_and_once_that_it_is_found(tmp_path: Path) -> None:
    script = [bash("true"), Turn(text="Done.")]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db", seconds=30) as s, at_server(s) as (sessions, served):
        told: list[str] = []
        run = await sessions.start(Terms("m", "ask", tmp_path, Limits(), agent="coder"), [Text("go")], session="s")
        sessions.on_notice = told.append
        seen: list[int] = []

        async def follow() -> None:
            async for item in sessions.follow("s"):
                seen.extend([item.seq] if isinstance(item, Event) else [])

        task = asyncio.create_task(follow())
        await until(lambda: bool(seen))
        before = sessions._caller.url
        sessions._caller.url = f"http://127.0.0.1:{free_port()}"
        served.service.closing.set()  # streams say farewell, as they do when a server is stopped
        await until(lambda: bool(sessions.away))
        with pytest.raises(NotConnected):
            await sessions.names(1)
        served.service.closing.clear()
        sessions._caller.url = before
        await until(lambda: not sessions.away)
        for each in await sessions.waiting("s"):
            await run.approve(each.token)
        await soon(run.result())
        log = await s.log()
        await until(lambda: len(seen) == len(log))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert seen == [event.seq for event in log]
        assert [words[:1] for words in told] == ["!", "●"]


@pytest.mark.requirement("server_cli:runs-commands")
def test_lists_and_shows_and_answers_of_a_server_are_those_of_its_store(tmp_path: Path) -> None:
    script = [bash("echo hi"), Turn(text="Said hi.")]
    with shell(tmp_path, script) as sh, distant(sh) as there:
        import urllib.request

        prompt = {"name": "talk", "prompt": {"text": "say hi", "mode": "ask"}}
        request = urllib.request.Request(
            f"{there.url}/v1/sessions", json.dumps(prompt).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()
        at = ("--server", there.url)
        waiting: list[dict[str, str]] = []
        while not waiting:
            waiting = json.loads(sh.run("approve", "list", "-o", "json", *at).stdout)
        assert waiting == json.loads(sh.run("approve", "list", "-o", "json").stdout)
        token = waiting[0]["id"][:8]
        assert sh.run("approve", "show", token, *at).stdout.replace(f" --server {there.url}", "") == (
            sh.run("approve", "show", token).stdout
        )
        done = sh.run("approve", "yes", token, *at)
        assert (done.returncode, done.stdout) == (0, "✓ allowed once: bash in session talk\n")
        again = sh.run("approve", "yes", token, *at)
        assert again.returncode != 0
        while "completed" not in sh.run("runs", "list", *at).stdout:
            pass
        here, far = (json.loads(sh.run("runs", "list", "-o", "json", *each).stdout)[0] for each in ((), at))
        assert far | {"models": []} == here | {"models": []}
        for more in ((), ("--event", "2"), ("-o", "jsonl")):
            assert sh.run("runs", "show", "ta", *more, *at).stdout == sh.run("runs", "show", "ta", *more).stdout
        missing = sh.run("runs", "show", "nothing", *at)
        assert missing.returncode == 2
        assert "there is no session 'nothing' at http" in missing.stderr
