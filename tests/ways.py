"""How each route is asked: of what it needs there to be, what a path names, and what is sent.

A tenant's things hold words that nobody else has, so that whoever is told one of them can be found out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from tests.standing import PASSWORD, Standing
from yarl import URL

from holdfast.server.routing.route import Route

__all__ = ("AGENTOPS_WAYS", "WAYS", "Said", "Tenant", "Unmade", "Way", "path_of")

MODEL = "openai/scripted"
_SILENCE = 0.3
"""Seconds of it after which a stream waits for somebody."""
_numbers = itertools.count(1)


class Said(msgspec.Struct, frozen=True):
    """An answer, whole."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]

    def json(self) -> Any:
        """Returns what it says."""
        return json.loads(self.body) if self.body else None

    @property
    def whole(self) -> bytes:
        """All of its bytes that a client sees."""
        return "\n".join(f"{name}: {value}" for name, value in self.headers).encode() + b"\n\n" + self.body


class Unmade(AssertionError):
    """Something could not be made: what it needs is busy, or not what it was."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How one route is asked."""

    needs: str = ""
    """What there has to be, by the name of what makes it (`Tenant.things`)."""
    query: Mapping[str, str] = {}
    """In which `{canary}`, and what was made by its name, is filled in; so in the body."""
    body: Any = None
    raw: bytes | None = None
    headers: Mapping[str, str] = {}
    keyless: bool = False
    """Whether it is asked without a key, as nobody in particular."""


def path_of(route: Route, names: Mapping[str, str]) -> str:
    """Returns a route's path with names in it."""
    parts = [quote(names[part[1:-1]], safe="") if part.startswith("{") else part for part in route.path.split("/")]
    return "/".join(parts)


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """Returns a value with names in all its texts."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, Mapping):
        return {filled(key, names): filled(each, names) for key, each in value.items()}
    return [filled(each, names) for each in value] if isinstance(value, list) else value


@final
class Tenant:
    """Somebody who asks, and what they have made."""

    def __init__(self, server: Standing, client: aiohttp.ClientSession, name: str, key: str, canary: str) -> None:
        self.server, self.client, self.name, self.key, self.canary = server, client, name, key, canary

    async def send(self, route: Route, names: Mapping[str, str], way: Way, *, key: str | None = None) -> Said:
        """Asks a route, about things of these names."""
        given = {"canary": self.canary, "url": self.server.url, **names}
        headers = {name: filled(value, given) for name, value in way.headers.items()}
        data = None if way.raw is None else bytes(filled(way.raw.decode(), given), "utf-8")
        return await self.ask(
            route.method,
            path_of(route, names),
            filled(way.body, given),
            query=filled(way.query, given),
            data=data,
            headers=headers,
            key="" if way.keyless else self.key if key is None else key,
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Said:
        """Asks a path."""
        given = dict(headers or {})
        if key := self.key if key is None else key:
            given.setdefault("authorization", f"Bearer {key}")
        asked = f"?{urlencode(query)}" if query else ""
        if body is not None:
            data = json.dumps(body).encode()
            given["content-type"] = "application/json"
        url = URL(self.server.url + path + asked, encoded=True)
        async with self.client.request(method, url, data=data, headers=given) as answer:
            return Said(answer.status, await _whole(answer, path), tuple(answer.headers.items()))

    async def make(self, kind: str) -> dict[str, str]:
        """Makes what a way needs, and returns its names."""
        return {} if not kind else await getattr(self, f"_{kind}")(f"{self.canary}-{next(_numbers)}")

    async def _must(self, *args: Any, **more: Any) -> Any:
        said = await self.ask(*args, **more)
        if said.status >= 300:
            raise Unmade(said)
        return said.json()

    async def _prompted(self, name: str, words: str = "", **more: Any) -> dict[str, str]:
        """A session with a run that was asked for, open or over."""
        prompt = {"text": words or f"remember {self.canary}", "agent": "helper", "mode": "auto", **more}
        made = await self._must("POST", "/v1/sessions", {"name": name, "prompt": prompt})
        return {"session": made["session"], "key": made["prompt"]["key"]}

    async def _session(self, name: str, words: str = "", **more: Any) -> dict[str, str]:
        """A session with a run that is over."""
        made = await self._prompted(name, words, **more)
        await self._must("GET", f"/v1/sessions/{name}/runs/{quote(made['key'], safe='')}", query={"wait": "20"})
        return made

    async def _blank(self, name: str) -> dict[str, str]:
        return {"session": (await self._must("POST", "/v1/sessions", {"name": name}))["session"]}

    async def _halted(self, name: str) -> dict[str, str]:
        """A session whose run ended half-way."""
        return await self._session(name, limits={"steps": 0})

    async def _waiting(self, name: str) -> dict[str, str]:
        made = await self._prompted(name, f"please sign {self.canary}")
        return {**made, "token": (await self._waits(name))["token"]}

    async def _waits(self, name: str) -> dict[str, Any]:
        return await _once(lambda: self._must("GET", f"/v1/sessions/{name}/waits"), lambda said: said["waits"])

    async def _called(self, name: str) -> dict[str, str]:
        """A call of a tool elsewhere that waits for its answer."""
        await self._prompted(name, f"the weather in {self.canary}", agent="forecaster")

        async def pending() -> Any:
            found = [event for event in (await self._log(name)) if event["type"] == "tool.waiting"]
            return [event["data"]["wait"]["token"] for event in found]

        return {"session": name, "token": (await _once(pending, lambda said: said))}

    async def _log(self, name: str) -> list[dict[str, Any]]:
        headers = {"accept": "application/json"}
        return (await self._must("GET", f"/v1/sessions/{name}/events", headers=headers))["events"]

    async def _dead(self, name: str) -> dict[str, str]:
        """A result that its target did not take."""
        await self._session(name, deliver=["team"])
        await self.server.scene.runtime.flush_deliveries()
        found = (await self._must("GET", "/v1/deliveries"))["deliveries"]
        return {"id": next(each["id"] for each in found if each["session"] == name and each["dead"])}

    async def _export(self, name: str) -> dict[str, str]:
        await self._session(name)
        lines = (await self.ask("GET", f"/v1/sessions/{name}/export")).body
        return {"session": name, "lines": lines.decode()}

    async def _uploaded(self, name: str) -> dict[str, str]:
        kept = await self._must("POST", "/v1/uploads", data=self.canary.encode(), query={"name": f"{name}.txt"})
        return {**await self._blank(name), "file": kept["id"]}

    async def _response(self, name: str, **more: Any) -> dict[str, str]:
        body = {"model": MODEL, "input": f"remember {self.canary}", "metadata": {"of": name}, **more}
        return {"id": (await self._must("POST", "/v1/responses", body))["id"]}

    async def _background(self, name: str) -> dict[str, str]:
        return await self._response(name, background=True)

    async def _apikey(self, name: str) -> dict[str, str]:
        made = await self._must("POST", "/v1/keys", {"user": f"u-{self.canary}", "name": name})
        return {"key": made["id"], "secret": made["key"]}

    async def _person(self, name: str) -> dict[str, str]:
        user = name.lower()
        await self._must("POST", "/v1/auth/users", {"name": user, "password": PASSWORD, "role": "writer"})
        return {"user": user, "tenant": self.name}

    async def _entered(self, name: str) -> dict[str, str]:
        """A login."""
        made = await self._person(name)
        body = {"name": made["user"], "password": PASSWORD, "tenant": self.name}
        said = await self.ask("POST", "/v1/auth/login", body, key="")
        cookie = next(value for key, value in said.headers if key.lower() == "set-cookie")
        return {**made, "cookie": cookie.partition(";")[0]}

    async def _agent(self, name: str) -> dict[str, str]:
        return {"agent": "helper"}

    async def _model(self, name: str) -> dict[str, str]:
        return {"id": "helper", "provider": "openai", "owner": "any", "name": "scripted"}

    async def _routed(self, name: str) -> dict[str, str]:
        return {"provider": "openrouter", "owner": "meta-llama", "name": "llama-3"}

    # of the door of AgentOps

    async def _talk(self, name: str) -> dict[str, str]:
        """A session in which something was said."""
        id = await self._fresh(name)
        await self._must("POST", f"/sessions/{name}/prompt", {"prompt": f"remember {self.canary}"})
        return id

    async def _fresh(self, name: str) -> dict[str, str]:
        return {"id": (await self._must("POST", "/sessions", {"id": name}))["id"]}

    async def _gated(self, name: str) -> dict[str, str]:
        """A session in which somebody has to allow a call."""
        await self._fresh(name)
        return {"id": name, "wait": await self._wait(f"/sessions/{name}/prompt", name, "please sign")}

    async def _inquired(self, name: str) -> dict[str, str]:
        """A session in which somebody is asked."""
        await self._fresh(name)
        return {"id": name, "wait": await self._wait(f"/sessions/{name}/prompt", name, "ask me about")}

    async def _gate(self, name: str) -> dict[str, str]:
        """A call in the conversation that somebody has to allow."""
        return {"wait": await self._wait("/prompt", "helper", "please sign")}

    async def _inquiry(self, name: str) -> dict[str, str]:
        """A question in the conversation."""
        return {"wait": await self._wait("/prompt", "helper", "ask me about")}

    async def _wait(self, path: str, session: str, words: str) -> str:
        """Gives a prompt that waits for somebody, and returns what for."""
        asking = asyncio.ensure_future(self.ask("POST", path, {"prompt": f"{words} {self.canary}"}))
        self.server.asking.append(asking)
        runtime = self.server.scene.runtime.acting_for(tenant=self.name)

        async def waits() -> Any:
            if asking.done():
                raise Unmade(asking.result())
            found = [each for each in await runtime.waiting() if not each.answered]
            return [each.id for each in found if each.session == session or each.session.startswith(f"{session}.")]

        return await _once(waits, lambda said: said)

    async def _spoken(self, name: str) -> dict[str, str]:
        """A conversation in which something was said."""
        await self._must("POST", "/prompt", {"prompt": f"remember {self.canary}"})
        return {}


async def _whole(answer: aiohttp.ClientResponse, path: str) -> bytes:
    """Returns all that is told; of what has no end, or waits for somebody, what comes at once."""
    if answer.content_type != "text/event-stream":
        return await answer.read()
    if path == "/events":
        return await answer.content.readuntil(b"\n\n")
    told = bytearray()
    try:
        while piece := await asyncio.wait_for(answer.content.readany(), _SILENCE):
            told += piece
    except TimeoutError:
        pass
    return bytes(told)


async def _once(ask: Callable[[], Awaitable[Any]], found: Callable[[Any], Any]) -> Any:
    """Returns the first of what is found, once something is."""
    async with asyncio.timeout(10):
        while not (told := found(await ask())):  # noqa: ASYNC110 - a client can do nothing else
            await asyncio.sleep(0.01)
    return told[0]


_WORDS = {"text": "more of {canary}"}
_SESSION = Way(needs="session")
_SAID = Way(needs="session", body={})
_ANSWER = b'{"tool_contract_version": "v1", "request_id": "{token}", "status": "ok", "output": {"result": "{canary}"}}'
_ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "remember {canary}"}]}
_NAMED = {"name": "n-{canary}", "prompt": {"text": "remember {canary}", "agent": "helper"}}
_LOGIN = {"name": "{user}", "password": PASSWORD, "tenant": "{tenant}"}
_COOKIE = {"cookie": "{cookie}", "origin": "{url}"}
_ONE = "/v1/sessions/{session}"

WAYS: Mapping[tuple[str, str], Way] = {
    **{("GET", path): Way() for path in ("/healthz", "/health", "/livez", "/readyz", "/version", "/openapi.json")},
    **{("GET", path): Way() for path in ("/docs", "/metrics", "/v1/agents", "/v1/tools", "/v1/catalogue")},
    ("GET", "/v1/sessions"): _SESSION,
    ("POST", "/v1/sessions"): Way(body=_NAMED),
    ("GET", _ONE): _SESSION,
    ("DELETE", _ONE): _SESSION,
    ("POST", f"{_ONE}/prompts"): Way(needs="uploaded", body={**_WORDS, "agent": "helper", "files": ["{file}"]}),
    ("POST", f"{_ONE}/proceed"): Way(needs="halted", body={}),
    ("GET", f"{_ONE}/runs/{{key}}"): _SESSION,
    ("GET", f"{_ONE}/events"): Way(needs="session", query={"until": "idle"}),
    ("POST", f"{_ONE}/steer"): Way(needs="session", body=_WORDS),
    ("POST", f"{_ONE}/follow-up"): Way(needs="session", body=_WORDS),
    **{("POST", f"{_ONE}/{verb}"): _SAID for verb in ("pause", "resume", "abort", "exit")},
    ("GET", f"{_ONE}/waits"): Way(needs="waiting"),
    ("POST", f"{_ONE}/waits/{{token}}"): Way(needs="waiting", body={"decision": "approve"}),
    ("GET", "/v1/waits"): Way(needs="waiting"),
    ("POST", f"{_ONE}/fork"): _SAID,
    ("POST", f"{_ONE}/rewind"): Way(needs="session", body={"to": 1}),
    ("GET", f"{_ONE}/diff"): _SESSION,
    ("GET", f"{_ONE}/export"): _SESSION,
    ("POST", "/v1/imports"): Way(needs="export", query={"name": "again-{session}"}, raw=b"{lines}"),
    ("GET", "/v1/agents/{agent}"): Way(needs="agent"),
    ("POST", "/v1/uploads"): Way(query={"name": "{canary}.txt"}, raw=b"{canary}"),
    ("POST", "/v1/callbacks"): Way(needs="called", query={"token": "{token}"}, raw=_ANSWER),
    ("POST", "/v1/callbacks/{token}"): Way(needs="called", raw=_ANSWER),
    ("GET", "/v1/deliveries"): Way(needs="dead"),
    ("POST", "/v1/deliveries/{id}/revive"): Way(needs="dead"),
    ("GET", "/v1/webhook-secrets"): Way(),
    ("GET", "/v1/auth/config"): Way(keyless=True),
    ("POST", "/v1/auth/setup"): Way(body={"token": "{setup}", "name": "first", "password": PASSWORD}, keyless=True),
    ("POST", "/v1/auth/login"): Way(needs="person", body=_LOGIN, keyless=True),
    ("POST", "/v1/auth/logout"): Way(needs="entered", headers=_COOKIE, keyless=True),
    ("GET", "/v1/auth/me"): Way(),
    ("POST", "/v1/auth/change-password"): Way(
        needs="entered",
        body={"current": PASSWORD, "new": f"another {PASSWORD}"},
        headers=_COOKIE,
        keyless=True,
    ),
    ("GET", "/v1/auth/users"): Way(needs="person"),
    ("POST", "/v1/auth/users"): Way(body={"name": "new-{canary}", "role": "reader"}),
    ("GET", "/v1/auth/users/{user}"): Way(needs="person"),
    ("PATCH", "/v1/auth/users/{user}"): Way(needs="person", body={"role": "reader"}),
    ("DELETE", "/v1/auth/users/{user}"): Way(needs="person"),
    ("POST", "/v1/auth/users/{user}/reset-password"): Way(needs="person", body={}),
    ("GET", "/v1/keys"): Way(needs="apikey"),
    ("POST", "/v1/keys"): Way(body={"user": "u-{canary}"}),
    ("GET", "/v1/keys/{key}"): Way(needs="apikey"),
    ("DELETE", "/v1/keys/{key}"): Way(needs="apikey"),
    ("POST", "/v1/keys/{key}/rotate"): Way(needs="apikey", body={}),
    ("GET", "/v1/audit"): Way(needs="apikey"),
    ("POST", "/v1/chat/completions"): Way(body=_ASKED),
    ("POST", "/v1/responses"): Way(
        needs="response", body={"model": MODEL, "input": "and {canary}", "previous_response_id": "{id}"}
    ),
    ("POST", "/v1/responses/input_tokens"): Way(
        needs="response", body={"model": MODEL, "input": "and {canary}", "previous_response_id": "{id}"}
    ),
    ("GET", "/v1/responses/{id}"): Way(needs="response"),
    ("DELETE", "/v1/responses/{id}"): Way(needs="response"),
    ("POST", "/v1/responses/{id}/cancel"): Way(needs="background"),
    ("GET", "/v1/responses/{id}/input_items"): Way(needs="response"),
    ("POST", "/v1/messages"): Way(body={**_ASKED, "max_tokens": 100}),
    ("POST", "/v1/messages/count_tokens"): Way(body={**_ASKED, "max_tokens": 100}),
    ("GET", "/v1/models"): Way(),
    ("GET", "/v1/models/{id}"): Way(needs="model"),
    ("GET", "/v1/models/{provider}/{name}"): Way(needs="model"),
    ("GET", "/v1/models/{provider}/{owner}/{name}"): Way(needs="routed"),
    ("POST", "/v1/embeddings"): Way(body={"model": "hashing", "input": "{canary}"}),
}
"""Of `holdfast serve`."""

_PROMPT = {"prompt": "more of {canary}"}
_ALLOWED = {"response": "once"}
_REPLIED = {"answers": [["{canary}"]]}
_AT = "/sessions/{id}"

AGENTOPS_WAYS: Mapping[tuple[str, str], Way] = {
    **{("GET", path): Way() for path in ("/healthz", "/openapi.json", "/docs", "/prompt/stream")},
    ("POST", "/prompt"): Way(body=_PROMPT),
    ("POST", "/prompt/stream"): Way(body=_PROMPT),
    ("GET", "/events"): Way(needs="spoken"),
    ("POST", "/steer"): Way(body={"message": "more of {canary}"}),
    ("DELETE", "/abort"): Way(),
    ("POST", "/permission/{wait}/reply"): Way(needs="gate", body=_ALLOWED),
    ("POST", "/question/{wait}/reply"): Way(needs="inquiry", body=_REPLIED),
    ("GET", "/status"): Way(needs="spoken"),
    ("GET", "/working-memory"): Way(needs="spoken"),
    ("DELETE", "/working-memory"): Way(needs="spoken"),
    ("POST", "/memory/extract"): Way(needs="spoken", body={}),
    ("PATCH", "/config/window-size"): Way(body={"size": 2}),
    ("POST", "/sessions"): Way(body={"id": "new-{canary}"}),
    ("GET", "/sessions"): Way(needs="talk"),
    ("GET", _AT): Way(needs="talk"),
    ("DELETE", _AT): Way(needs="talk"),
    ("GET", f"{_AT}/messages"): Way(needs="talk"),
    ("POST", f"{_AT}/prompt"): Way(needs="talk", body=_PROMPT),
    ("POST", f"{_AT}/prompt/stream"): Way(needs="talk", body=_PROMPT),
    ("POST", f"{_AT}/steer"): Way(needs="talk", body={"message": "more of {canary}"}),
    ("DELETE", f"{_AT}/abort"): Way(needs="talk"),
    ("POST", f"{_AT}/permission/{{wait}}/reply"): Way(needs="gated", body=_ALLOWED),
    ("POST", f"{_AT}/question/{{wait}}/reply"): Way(needs="inquired", body=_REPLIED),
}
"""Of `holdfast daemon`."""
