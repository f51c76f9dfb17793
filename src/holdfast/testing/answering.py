"""From a request to the steps that answer it: which script, which turn, which fault, and the record of it.

Nothing is decided by what came before, with one exception: how often a turn of a run has failed, so that a fault
can end. The order of the looks is: path, body, script by the model's name, turn, fault.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import final

import msgspec

from holdfast.errors import InvalidRequest
from holdfast.flow.clock import Clock
from holdfast.models.wire.chat import serving as chat
from holdfast.models.wire.gemini import serving as gemini
from holdfast.models.wire.messages import serving as messages
from holdfast.models.wire.served import ServedRequest
from holdfast.testing.faults import Fault, Reply, choose_fault, error_reply, reply_steps
from holdfast.testing.http1 import BadRequest, HttpRequest, Step
from holdfast.testing.protocols import PROTOCOLS, counter_of, protocol_of
from holdfast.testing.recording import Exchange, Recording, run_key
from holdfast.testing.scripts import ANY_MODEL, Canned, ScriptFunction, ScriptRequest, Turn, find_turn
from holdfast.testing.vectors import EMBEDDINGS, parse_wanted, render_vectors

__all__ = ("Answering",)

_CACHED_ANSWERS = 1024
_CACHED_BYTES = 64 * 1024


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for an answer, understood."""

    http: HttpRequest
    number: int
    run: str
    script: str
    request: ScriptRequest
    served: ServedRequest
    """The same in the words of its protocol."""
    protocol: str = "chat"

    @property
    def usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return not isinstance(self.served, chat.ChatRequest) or self.served.include_usage


@final
class Answering:
    """Answers the requests of one server."""

    def __init__(
        self,
        scripts: Mapping[str, Sequence[Turn] | ScriptFunction],
        *,
        run_header: str,
        recording: Recording,
        clock: Clock,
    ) -> None:
        self._scripts = scripts
        self._run_header = run_header
        self._recording = recording
        self._clock = clock
        self._arrivals = 0
        self._cache: dict[tuple[str, int, str, int, bool, bool, str], Reply] = {}

    def answer(self, http: HttpRequest) -> Sequence[Step] | Awaitable[Sequence[Step]]:
        """Returns how a request is answered, later if an async script function has to be asked."""
        self._arrivals += 1
        number = self._arrivals
        path = http.target.partition("?")[0]
        if http.method == "POST" and (found := protocol_of(path)) is not None:
            return self._complete(http, number, *found)
        if http.method == "POST" and (found := counter_of(path)) is not None:
            return self._count(http, number, *found)
        if http.method == "POST" and re.fullmatch(EMBEDDINGS, path):
            return self._embed(http, number)
        path = path.removeprefix("/v1beta").removeprefix("/v1")
        if http.method == "GET" and path in ("/models", "/health"):
            return self._list(http, number, path)
        why = f"nothing is served at {http.method} {http.target[:200]!r}: use POST /v1/chat/completions or /v1/messages"
        return self._refusal(http, number, 404, why)

    def refuse(self, error: BadRequest) -> bytes:
        """Returns what is sent to a client that does not speak HTTP, before it is hung up on."""
        self._arrivals += 1
        nobody = HttpRequest(method="", target="", headers={}, body=b"", keep_alive=False, chunks=False)
        self._record(nobody, self._arrivals, status=error.status, unexpected=str(error))
        reply = error_reply(error.status, str(error), headers=(("connection", "close"),))
        return reply.head() + reply.body

    def _list(self, http: HttpRequest, number: int, path: str) -> Sequence[Step]:
        """Answers what asks for no answer of a model."""
        own = messages if "anthropic-version" in http.headers else chat
        wire = gemini if http.target.startswith("/v1beta/") else own
        body = wire.render_models(tuple(self._scripts)) if path == "/models" else b'{"status":"ok"}'
        self._record(http, number, label=path[1:])
        return reply_steps(Reply(events=(body,)))

    def _count(self, http: HttpRequest, number: int, protocol: str, said: Mapping[str, str]) -> Sequence[Step]:
        try:
            body = PROTOCOLS[protocol].count(http.body, said.get("model", ""))
        except InvalidRequest as error:
            return self._refusal(http, number, 400, str(error), protocol=protocol)
        self._record(http, number, label="count_tokens")
        return reply_steps(Reply(events=(body,), protocol=protocol))

    async def _embed(self, http: HttpRequest, number: int) -> Sequence[Step]:
        """Answers with vectors, of which no script says anything."""
        try:
            wanted = parse_wanted(http.body)
            body = await render_vectors(wanted)
        except InvalidRequest as error:
            return self._refusal(http, number, 400, str(error))
        said = f"{len(wanted.texts):,} vector{'' if len(wanted.texts) == 1 else 's'}"
        self._record(http, number, label=said, model=wanted.model)
        return reply_steps(Reply(events=(body,)))

    # ---- which turn ----

    def _complete(
        self, http: HttpRequest, number: int, protocol: str, said: Mapping[str, str]
    ) -> Sequence[Step] | Awaitable[Sequence[Step]]:
        try:
            served = PROTOCOLS[protocol].parse(http.body, **said)
        except InvalidRequest as error:
            return self._refusal(http, number, 400, str(error), protocol=protocol)
        name = served.model if served.model in self._scripts else ANY_MODEL
        script = self._scripts.get(name)
        if script is None:
            why = f"no script is called {served.model!r}: there is {', '.join(map(repr, self._scripts)) or 'none'}"
            return self._refusal(http, number, 404, why, code="model_not_found", protocol=protocol)
        request = ScriptRequest.read(served, http.headers)
        asked = _Asked(
            http=http,
            number=number,
            run=http.headers.get(self._run_header) or run_key(request.first_user_text),
            script=name,
            request=request,
            served=served,
            protocol=protocol,
        )
        if callable(script):
            return self._ask(script, asked)
        index = find_turn(script, request)
        return self._missing(asked, len(script)) if index is None else self._give(asked, script[index], index)

    def _ask(self, script: ScriptFunction, asked: _Asked) -> Sequence[Step] | Awaitable[Sequence[Step]]:
        try:
            said = script(asked.request)
        except Exception as error:  # noqa: BLE001  the boundary of a surface: the client is told, the test is told
            return self._raised(asked, error)
        if said is None or isinstance(said, Turn | str):
            return self._said(asked, said)
        return self._await(said, asked)

    async def _await(self, coming: Awaitable[Turn | str | None], asked: _Asked) -> Sequence[Step]:
        try:
            said = await coming
        except asyncio.CancelledError:
            self._note(asked, label="the client went away")
            raise
        except Exception as error:  # noqa: BLE001  the boundary of a surface, as in `_ask`
            return self._raised(asked, error)
        return self._said(asked, said)

    def _said(self, asked: _Asked, said: Turn | str | None) -> Sequence[Step]:
        if said is None:
            return self._missing(asked, None)
        return self._give(asked, Turn(said) if isinstance(said, str) else said, None)

    # ---- what is sent ----

    def _give(self, asked: _Asked, turn: Turn, index: int | None) -> Sequence[Step]:
        state = self._recording.run(asked.run, asked.script)
        place = asked.request.answers if index is None else index
        fault = None if turn.fault is None else choose_fault(turn.fault, state.failed.get(place, 0))
        if fault is not None:
            state.failed[place] = state.failed.get(place, 0) + 1
        if index is not None and (fault is None or fault.times is None):
            state.given.add(index)
        reply = self._reply(asked, turn, index)
        steps = reply_steps(reply) if fault is None else fault.steps(reply)
        kind = "" if fault is None else _kind(fault)
        self._note(asked, turn=index, label=turn.label, fault=kind, status=_status(fault, reply))
        return [turn.delay, *steps] if turn.delay else steps

    def _reply(self, asked: _Asked, turn: Turn, index: int | None) -> Reply:
        if turn.raw is not None:
            return _canned(turn.raw)
        if index is None:
            return _render(asked, turn)
        request = asked.request
        key = (asked.script, index, request.model, request.answers, request.stream, asked.usage, asked.protocol)
        reply = self._cache.get(key)
        if reply is None:
            reply = _render(asked, turn)
            if sum(map(len, reply.events)) <= _CACHED_BYTES:
                if len(self._cache) >= _CACHED_ANSWERS:
                    self._cache.clear()
                self._cache[key] = reply
        return reply

    # ---- what nobody expected ----

    def _missing(self, asked: _Asked, turns: int | None) -> Sequence[Step]:
        request = asked.request
        what = f"script {asked.script!r} has no turn for this request"
        if turns is None:
            what += " (the function gave none)"
        elif request.answers >= turns:
            what = f"script {asked.script!r} ran out: all it has is {turns} turn{'' if turns == 1 else 's'}"
        else:
            what += f" (it has {turns})"
        why = (
            f"{what}; the conversation holds {request.answers} answers and {request.tool_results} tool results, and "
            f"its last prompt is {run_key(request.last_user_text)!r}: add a turn, or find out why the client asks again"
        )
        return self._unexpected(asked, why)

    def _raised(self, asked: _Asked, error: Exception) -> Sequence[Step]:
        why = f"the function of script {asked.script!r} raised {type(error).__name__}: {error}"
        return self._unexpected(asked, why)

    def _unexpected(self, asked: _Asked, why: str) -> Sequence[Step]:
        self._note(asked, status=500, unexpected=why)
        # Clients that know the header do not try again what can never succeed.
        headers = (("x-should-retry", "false"),)
        reply = error_reply(
            500, why, kind="script_error", code="unexpected_request", headers=headers, protocol=asked.protocol
        )
        return reply_steps(reply)

    def _refusal(
        self,
        http: HttpRequest,
        number: int,
        status: int,
        why: str,
        *,
        code: str | None = None,
        protocol: str = "chat",
    ) -> Sequence[Step]:
        self._record(http, number, status=status, unexpected=why)
        return reply_steps(error_reply(status, why, code=code, protocol=protocol))

    # ---- what is remembered ----

    def _note(
        self,
        asked: _Asked,
        *,
        turn: int | None = None,
        label: str = "",
        fault: str = "",
        status: int = 200,
        unexpected: str = "",
    ) -> None:
        self._recording.add(
            Exchange(
                number=asked.number,
                at=self._clock.now(),
                method=asked.http.method,
                target=asked.http.target,
                headers=asked.http.headers,
                body=asked.http.body,
                run=asked.run,
                script=asked.script,
                model=asked.request.model,
                turn=turn,
                label=label,
                fault=fault,
                status=status,
                unexpected=unexpected,
            )
        )

    def _record(
        self,
        http: HttpRequest,
        number: int,
        *,
        label: str = "",
        status: int = 200,
        unexpected: str = "",
        model: str = "",
    ) -> None:
        self._recording.add(
            Exchange(
                number=number,
                at=self._clock.now(),
                method=http.method,
                target=http.target,
                headers=http.headers,
                body=http.body,
                model=model,
                label=label,
                status=status,
                unexpected=unexpected,
            )
        )


def _render(asked: _Asked, turn: Turn) -> Reply:
    request, protocol = asked.request, asked.protocol
    message = turn.message(f"{asked.script}/{request.model}", request.answers)
    spoken = PROTOCOLS[protocol]
    id = f"{spoken.id}-{asked.script}-{request.answers}"
    if not request.stream:
        return Reply(events=(spoken.answer(message, id),), protocol=protocol)
    return Reply(
        content_type=spoken.media,
        headers=(("cache-control", "no-cache"),),
        events=tuple(spoken.stream(message, asked.served, turn.chunk, id)),
        streamed=asked.http.chunks,
        protocol=protocol,
    )


def _canned(raw: Canned) -> Reply:
    given = {name.lower(): value for name, value in raw.headers.items()}
    kind = given.pop("content-type", "application/json")
    return Reply(
        status=raw.status, content_type=kind, headers=tuple(given.items()), events=(raw.data or raw.body.encode(),)
    )


def _kind(fault: Fault) -> str:
    return str(fault.__struct_config__.tag)


def _status(fault: Fault | None, reply: Reply) -> int:
    return getattr(fault, "status", reply.status)
