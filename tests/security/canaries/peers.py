"""Tools elsewhere, by every transport and profile, whose other side repeats whatever it gets, in every spelling."""

from __future__ import annotations

import base64
import json
import sys
from asyncio import StreamWriter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, quote_plus

from tests.conformance.peers.grpc import GrpcServer
from tests.conformance.peers.wasm import assembled
from tests.loopback import Request, Server, answer, serving

from holdfast.tools.access.profiles import ApiKeyHeader, Auth, Basic, Bearer, OAuth2
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.declaring import remote
from holdfast.tools.transports.callback import Callback
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.running import Command, EnvFrom
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.external import External
from holdfast.tools.transports.grpc import Grpc
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Transport
from holdfast.tools.transports.wasm import Wasm

__all__ = ("HEADERS", "PROFILES", "WAYS", "Canaries", "spelled", "tools")

HEADERS: Final = ("authorization", "x-api-key", "x-canary")
PROFILES: Final = ("bearer", "api_key", "basic", "oauth2")
WAYS: Final = ("ok", "error", "details", "status", "cut")
Canaries = dict[str, str]
"""Secrets by the names that they are looked up under, and whatever else nobody is to see."""


def spelled(text: str) -> str:
    """Returns a text in every spelling in which somebody may repeat it."""
    data = text.encode()
    shifted = [base64.b64encode(b"x" * at + data + b"yz").decode() for at in range(3)]
    urlsafe = [base64.urlsafe_b64encode(b"x" * at + data + b"yz").decode() for at in range(3)]
    escaped = [json.dumps(text), json.dumps(json.dumps(text)), json.dumps(text).replace("/", "\\/")]
    urls = [quote(text), quote(text, safe=""), quote_plus(text)]
    return " | ".join([text, data.hex(), *urls, *escaped, *shifted, *urlsafe])


def _heard(headers: Mapping[str, str]) -> str:
    said = [value for name in HEADERS if (value := headers.get(name))]
    words = [word for each in said for word in (each, each.partition(" ")[2]) if word]
    for each in said:
        if each.startswith("Basic "):
            pair = base64.b64decode(each[6:]).decode()
            words += [pair, pair.partition(":")[2]]
    return " || ".join(map(spelled, words))


def _whole(heard: str) -> str:
    """Returns one value of all that was heard: nobody finds half of one."""
    return heard.partition(" | ")[0]


def _said(way: str, request_id: str, heard: str) -> bytes:
    said: dict[str, Any] = {"tool_contract_version": "v1", "request_id": request_id}
    match way:
        case "error":
            said |= {
                "status": "error",
                "error": {"code": "execution_failed", "message": heard, "reason": _whole(heard)},
            }
        case "details":
            said |= {"status": "denied", "error": {"code": "permission_denied", "message": "no", "details": {
                "seen": heard, _whole(heard): "name", "deep": {"list": [heard]},
            }}}  # fmt: skip
        case _:
            said |= {"status": "ok", "output": {"result": heard, "more": {"heard": [heard]}}}
    return json.dumps(said).encode()


class _Service:
    """Answers over HTTP, and gives tokens."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries

    async def __call__(self, request: Request, writer: StreamWriter, server: Server) -> None:
        path = request.line.split()[1]
        if path == "/token":
            asked = parse_qs(request.body.decode())
            token = f"token-for-{self._canaries['oauth2:client_secret'][::-1]}"
            self._canaries["the token"] = token
            assert asked["client_secret"] == [self._canaries["oauth2:client_secret"]]
            kind = "Content-Type: application/json\r\n"
            writer.write(answer(json.dumps({"access_token": token, "expires_in": 3600}).encode(), headers=kind))
            return
        way, heard = path.split("/")[1], _heard(request.headers)
        if way == "status":
            writer.write(answer(heard.encode(), "500 Internal Server Error", f"X-Echo: {quote(heard)[:200]}\r\n"))
        elif way == "cut":  # what is shown of it ends in the middle of the value
            writer.write(answer(b"x" * 385 + b" " + heard.encode(), "409 Conflict"))
        else:
            request_id = json.loads(request.body).get("request_id", "") if request.body else ""
            kind = "Content-Type: application/json\r\n"
            writer.write(answer(_said(way, request_id, heard), headers=kind))


def _auth(profile: str, server: Server) -> Auth:
    return {
        "bearer": Bearer(secret="bearer"),
        "api_key": ApiKeyHeader(secret="api-key"),
        "basic": Basic(secret="basic"),
        "oauth2": OAuth2(secret="oauth2", token_url=f"{server.url}/token"),
    }[profile]


def _made(name: str, transport: Transport, auth: Auth | None = None) -> Tool:
    async def call(text: str) -> str:
        """Asks somebody elsewhere."""
        return text

    isolation = "none" if isinstance(transport, Cli) else None
    made = remote(transport, auth=auth, name=name, effect="none", isolation=isolation)
    return made(call)


async def tools(canaries: Canaries, folder: Path, stack: AsyncExitStack) -> list[Tool]:
    """Returns a tool for each transport, profile and way to answer."""
    server = await stack.enter_async_context(serving(_Service(canaries)))

    async def says(method: str, body: bytes, context: Any) -> bytes:
        from grpc import StatusCode

        way, heard = method.split("/")[1], _heard(dict(context.invocation_metadata()))
        if way in ("status", "cut"):
            await context.abort(StatusCode.INTERNAL, "x" * 385 * (way == "cut") + f" {heard}"[:3000])
        return _said(way, json.loads(body)["request_id"], heard)

    rpc = await stack.enter_async_context(GrpcServer(says))
    found: list[Tool] = []
    for profile in PROFILES:
        auth = _auth(profile, server)
        for way in WAYS:
            url = f"{server.url}/{way}"
            address, method = f"grpc://127.0.0.1:{rpc.port}", f"/{way}/Execute"
            kinds: dict[str, Transport] = {
                "http": Http(url, private=True),
                "external": External(url, private=True),
                "callback": Callback(url, private=True),
                "grpc": Grpc(address, private=True, method=method),
            }
            found += [_made(f"{kind}-{profile}-{way}", each, auth) for kind, each in kinds.items()]
    return [*found, *_programs(), *_modules(folder)]


def _programs() -> list[Tool]:
    env = (EnvFrom(name="CANARY", secret="program"),)
    found: list[Tool] = []
    for way in ("ok", "error"):
        plain = Command(program=sys.executable, args=("-c", _escaped(f"{_TELLS}; {_ENDS[way]}")), env_from=env)
        speaks = Command(program=sys.executable, args=("-c", _escaped(f"{_TELLS}; {_SPEAKS[way]}")), env_from=env)
        found += [_made(f"cli-{way}", Cli(plain)), _made(f"container-{way}", Container(speaks, backend="bubblewrap"))]
    return found


_TELLS = (
    "import base64, json, os, sys; v = os.environ['CANARY'].encode(); "
    "s = ' '.join([v.decode(), v.hex(), *(base64.b64encode(b'x' * n + v).decode() for n in range(3))])"
)
_ENDS = {"ok": "print(s)", "error": "print('x' * 385, s, file=sys.stderr); sys.exit(3)"}
_SAID = "dict(tool_contract_version='v1', request_id=json.loads(sys.stdin.readline())['request_id'], status="
_SPEAKS = {
    "ok": f"print(json.dumps({_SAID}'ok', output=dict(result=s))))",
    "error": f"print(json.dumps({_SAID}'error', error=dict(code='execution_failed', message='x' * 385 + s))))",
}


def _escaped(script: str) -> str:
    return script.replace("{", "{{").replace("}", "}}")


_BEGINS = {
    "ok": (b'{"contract_version":"v1","status":"ok","output":', b"}"),
    "error": (
        b'{"contract_version":"v1","status":"error","error":{"code":"execution_failed","message":"no","details":',
        b"}}",
    ),
}
_ECHO = """
(func $put (param $at i32) (param $length i32)
  (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
  (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
(func (export "_start") (local $end i32)
  (local.set $end (i32.const 65536))
  (loop $more
    (i32.store (i32.const 0) (local.get $end)) (i32.store (i32.const 4) (i32.const 4096))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $end (i32.add (local.get $end) (i32.load (i32.const 8))))
    (br_if $more (i32.load (i32.const 8))))
  (call $put (i32.const 1024) (i32.const BEFORE))
  (call $put (i32.const 65536) (i32.sub (local.get $end) (i32.const 65536)))
  (call $put (i32.const 2048) (i32.const AFTER)))
"""


def _modules(folder: Path) -> list[Tool]:
    """Modules that give back all that they were given."""
    found: list[Tool] = []
    for way, (before, after) in _BEGINS.items():
        code = _ECHO.replace("BEFORE", str(len(before))).replace("AFTER", str(len(after)))
        data = [f'(data (i32.const {at}) "{"".join(f"{chr(92)}{b:02x}" for b in text)}")' for at, text in
                ((1024, before), (2048, after))]  # fmt: skip
        (folder / f"{way}.wasm").write_bytes(assembled(" ".join((*data, code))))
        for profile, auth in (("bearer", Bearer(secret="module")), ("basic", Basic(secret="basic"))):
            found.append(_made(f"wasm-{profile}-{way}", Wasm(f"{way}.wasm", folder), auth))
    return found
