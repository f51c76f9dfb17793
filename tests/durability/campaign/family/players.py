"""Agents that ask people, give each other jobs and spend from one purse; their models' words, and the person they ask.

Every label stands for one thing at the hostile service. What is said does not depend on what a bell came to, so a run
that was killed says what an uninterrupted one does, but for bells of which nobody can tell whether they rang.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, final

import msgspec
from tests.durability.campaign.hostile.calls import charge, ring

from holdfast import Agent, Limits, Price, Runtime
from holdfast.engine.events import CODEC, ModelFinished, PhaseStarted, ReviewRequested, ToolWaiting
from holdfast.errors import UsageError
from holdfast.journal.reading import Follower
from holdfast.ledger.amounts import Cap
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.pipelines import Phase, Pipeline
from holdfast.testing import Call, ScriptRequest, Turn
from holdfast.testing.faults import Status
from holdfast.testing.scripts import ScriptFunction, Tokens
from holdfast.types import Control, Event, StreamId, Wait, stream_id

__all__ = ("CAP", "CONTROL", "LIMITS", "LINES", "USED", "USER", "Person", "agent_for", "prices_for")

USER: Final = ("local", "user")
CAP: Final = Cap(tokens=1_000_000, cost=20_000_000_000)
"""What the user may spend, by the ledger."""
LIMITS: Final = {
    "tree": Limits(tokens=400_000),
    "line": Limits(tokens=400_000, dollars=4.0),
    "tight": Limits(tokens=22_000),
    "lean": Limits(tokens=4_000),
}
"""What a run and all it starts may spend, by the kind of job; the last two get nowhere near their ends with it."""
CONTROL: Final = {"tree": Control(review=1)}
USED: Final = 50
"""Tokens of each answer."""
_MODELS: Final = ("lead", "aide", "deep", "scout", "odd", "writer")
_TOKENS: Final = Tokens(input_tokens=40, output_tokens=10)


def prices_for(number: str) -> dict[str, Price]:
    """Returns what the models of a trial cost."""
    return {f"openai/{name}-{number}": Price.per_million(10, 10) for name in _MODELS}


def agent_for(job: str, number: str) -> BoundAgent:
    """Returns who does a job; each trial has models of its own, by which its requests are told apart."""

    def agent(name: str, *tools: Any, **more: Any) -> Agent:
        more |= {"instructions": f"You are {name}, and you do what you are told.", "max_output_tokens": 40}
        return Agent(f"openai/{name}-{number}", tools=tools, name=name, **more)

    deep = agent("deep", charge)
    aide = agent("aide", ring, charge, "write", deep.as_tool("deep"))
    scout = agent("scout", ring, "question")
    odd = agent("odd", limits=Limits(model_retries=0))
    writer = agent("writer", charge, "write")
    phases = [
        Phase("facts", scout, "Find out about {query}"),
        Phase("gossip", odd, fallback="nobody says anything"),
        Phase("errands", aide, "errand line"),
        Phase("story", writer, "Write on {facts}, {gossip} and {errands}", workspace="shared"),
    ]
    line = Pipeline(phases, name="line")
    if job in ("line", "lean"):
        return line
    copyist = aide.as_tool("copy", workspace="forked")
    return agent(
        "lead",
        ring,
        charge,
        "question",
        "write",
        aide.as_tool("help"),
        copyist,
        line.as_tool("tell", workspace="shared"),
    )


# ---- what the models say ------------------------------------------------------------------------------------


def _turn(text: str, *calls: Call) -> Turn:
    return Turn(text, calls, usage=_TOKENS)


def _call(name: str, label: str) -> Call:
    return Call(name, {"label": label})


def _job(name: str, prompt: str) -> Call:
    return Call(name, {"prompt": prompt})


def _write(path: str, content: str) -> Call:
    return Call("write", {"path": path, "content": content})


def _ask(question: str) -> Call:
    return Call("question", {"questions": [{"question": question}]})


_LEAD: Final = (
    _turn(
        "Many things at once.",
        _job("help", "errand one"),
        _call("ring", "door"),
        _call("charge", "ann"),
        _job("help", "errand two"),
        _write("lead.txt", "begun\n"),
    ),
    _turn("", _ask("Which colour?"), _call("ring", "no-roof"), _call("charge", "typo")),
    _turn("", _job("copy", "errand copy"), _job("tell", "the sky")),
    _turn("", _call("ring", "gate"), _write("lead.txt", "over\n")),
    _turn("All of it is done, and here is at great length what it was."),
    _turn("All of it is done."),
)


def _lead(request: ScriptRequest) -> Turn | None:
    return _LEAD[request.answers] if request.answers < len(_LEAD) else None


def _aide(request: ScriptRequest) -> Turn | None:
    word = request.first_user_text.split()[-1]
    copy = [_write("copied.txt", "a copy\n")] if word == "copy" else []
    errands = (_call("ring", f"{word}-bell"), _call("charge", f"{word}-due"), _job("deep", f"deep {word}"), *copy)
    return (_turn("", *errands), _turn(f"Errand {word} is done."))[request.answers]


def _deep(request: ScriptRequest) -> Turn | None:
    return (_turn("", _call("charge", f"{request.first_user_text.split()[-1]}-deep")), _turn("Deep."))[request.answers]


def _scout(request: ScriptRequest) -> Turn | None:
    asks = _turn("", _ask("May I look?"), _call("ring", "scout-bell"))
    return (asks, _turn("it is blue"))[request.answers]


def _odd(_: ScriptRequest) -> Turn | None:
    return Turn(fault=Status(400))


def _writer(request: ScriptRequest) -> Turn | None:
    told = request.first_user_text
    turns = (_turn("", _write("story.txt", f"{told}\n"), _call("charge", "paper")), _turn(f"A story: {told}."))
    return turns[request.answers]


LINES: Final[Mapping[str, ScriptFunction]] = {
    "lead": _lead,
    "aide": _aide,
    "deep": _deep,
    "scout": _scout,
    "odd": _odd,
    "writer": _writer,
}
"""By the beginnings of models' names."""


# ---- whom they ask ------------------------------------------------------------------------------------------


@final
class Person:
    """Answers whatever any session of a run asks, however often it was asked, from its log alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: set[str] = set()
        self._calls: dict[tuple[str, str], dict[str, Any]] = {}

    async def attend(self, session: str) -> None:
        """Reads a session, and those it starts, for ever."""
        self._known.add(session)
        stream: StreamId = stream_id("local", session)
        follower = Follower(self._runtime.journal, stream, CODEC, lambda _: None)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    for item in await follower.next():
                        child = await self._hear(session, item) if isinstance(item, Event) else ""
                        if child and child not in self._known:
                            group.create_task(self.attend(child))
        finally:
            follower.close()

    async def _hear(self, session: str, event: Event) -> str:
        """Answers what an event asks; returns the session that it says was started."""
        match event.data:
            case ModelFinished() as data:
                given = {call.id: msgspec.json.decode(call.arguments) for call in data.message.calls}
                self._calls |= {(session, call_id): arguments for call_id, arguments in given.items()}
            case ToolWaiting(wait=Wait(kind="child", subject=child)) | PhaseStarted(wait=Wait(subject=child)):
                return child
            case ToolWaiting() as data:
                with contextlib.suppress(UsageError):  # it is over: it was answered before, or nobody wants it any more
                    await self._answer(session, data.wait, self._calls.get((session, data.call_id), {}))
            case ReviewRequested() as data:
                with contextlib.suppress(UsageError):
                    await self._review(session, data)
            case _:
                pass
        return ""

    async def _answer(self, session: str, wait: Wait, arguments: dict[str, Any]) -> None:
        speaking, label = self._runtime.session(session), arguments.get("label", "")
        if wait.kind == "question":
            await speaking.reply(wait.token, ["Blue." for _ in wait.questions])
        elif label.startswith("no-"):
            await speaking.deny(wait.token, "not there")
        elif label == "typo":
            await speaking.approve(wait.token, arguments={"label": "typed"})
        else:
            await speaking.approve(wait.token)

    async def _review(self, session: str, data: ReviewRequested) -> None:
        speaking = self._runtime.session(session)
        if data.changes_left:
            await speaking.request_changes(data.wait.token, "shorter, please")
        else:
            await speaking.approve(data.wait.token)
