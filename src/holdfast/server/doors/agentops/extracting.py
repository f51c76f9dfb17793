"""What a model makes of a conversation beside the agent: something worth keeping, or a title (source: AgentOps 5.4).

Each is a run of its own, of an agent without tools, in a session of its own: it is asked and paid for as every run. Of
what is worth keeping nothing stays: it is shown to a person, who may save it. A title is the answer of its run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from holdfast.errors import HoldfastError, UnknownSession
from holdfast.flow.ids import new_key
from holdfast.runtime.agent import Agent
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.runtime import Runtime
from holdfast.server.doors.agentops.asking import Extracting
from holdfast.server.problems import Refused
from holdfast.types import AssistantMessage, Limits, Message, UserMessage

__all__ = ("Extract", "extract", "extractor", "title_of", "title_session", "titler", "want_title")

Kind = Literal["decision", "bugfix", "discovery", "pattern", "architecture", "config", "learning"]
_KINDS = ("decision", "bugfix", "discovery", "pattern", "architecture", "config", "learning")
_INSTRUCTIONS = f"""You read a conversation between people and an agent, and say the one thing in it that is worth \
knowing later.

Answer with one JSON object and nothing else: no fence, no words around it. Its fields:
  type     one of {", ".join(_KINDS)}
  title    at most 80 characters
  content  two to five sentences that can be understood without the conversation: what holds, and why
  tags     two to five words in lower case

Where nothing was said that would be of use later, answer with
{{"type":"learning","title":"Nothing to extract","content":"The conversation holds nothing to keep.",
"tags":["empty"]}}"""
_TITLES = """You find titles for conversations. You are given how one begins, and answer with its title alone: at most \
eight words, in the language of the conversation, without quotes and without a full stop."""
_OUTPUT = 1024
_READ = 200_000
"""Characters of a conversation that are read: its end."""
_TITLE = 80
_SUFFIX = ".title"
_FENCE = re.compile(r"^\s*```[a-z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL | re.IGNORECASE)
_ONCE = Limits(steps=1)


class Extract(msgspec.Struct, frozen=True, kw_only=True):
    """Something worth keeping."""

    type: str
    title: str
    content: str
    tags: tuple[str, ...]


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    content: str
    type: str = ""
    tags: tuple[str, ...] = ()


def extractor(model: str, **access: Any) -> BoundAgent:
    """Returns the agent that says what is worth keeping."""
    return Agent(model, name="extract", instructions=_INSTRUCTIONS, limits=_ONCE, max_output_tokens=_OUTPUT, **access)


def titler(model: str, **access: Any) -> BoundAgent:
    """Returns the agent that finds titles."""
    return Agent(model, name="title", instructions=_TITLES, limits=_ONCE, max_output_tokens=_OUTPUT, **access)


async def extract(runtime: Runtime, agent: BoundAgent, messages: Sequence[Message], wanted: Extracting) -> Extract:
    """Returns what a model finds worth keeping; nothing is stored.

    Raises:
        Refused: the model gave no answer.
    """
    run = await runtime.start(agent, _task(messages, wanted), session=f"extract-{new_key()}", unattended=True)
    try:
        result = await run.result()
    finally:
        await _forget(runtime, run.session)
    if result.status != "completed":
        raise Refused(500, "extraction_failed", f"extraction failed: {result.reason or result.status}")
    return _read(result.output, wanted.type)


async def _forget(runtime: Runtime, session: str) -> None:
    with contextlib.suppress(HoldfastError):  # one that is still open ends by itself, and is pruned with the others
        await runtime.delete(session)


def _task(messages: Sequence[Message], wanted: Extracting) -> str:
    lines: list[str] = []
    for message in messages:
        if isinstance(message, UserMessage | AssistantMessage):
            role = "user" if isinstance(message, UserMessage) else "assistant"
            if message.text.strip():
                lines.append(f"[{role}] {message.text}")
            if isinstance(message, AssistantMessage):
                lines += [f"[{role}] Tool call: {call.name}" for call in message.calls]
    said = "\n".join(lines)[-_READ:]
    asked = ["=== Task ===", "Say what is worth keeping."]
    if wanted.focus:
        asked.append(f"Look above all at: {wanted.focus}")
    if wanted.type:
        asked.append(f"Preferred type: {wanted.type}")
    return "\n".join(("=== Conversation ===", said, "", *asked))


def _read(answer: str, hint: str) -> Extract:
    fenced = _FENCE.match(answer)
    text = fenced.group(1) if fenced else answer
    try:
        found = msgspec.json.decode(text, type=_Found)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Extract(type="learning", title="Extracted knowledge", content=answer.strip(), tags=("auto-extracted",))
    return Extract(type=found.type or hint or "learning", title=found.title, content=found.content, tags=found.tags)


def title_session(session: str) -> str:
    """Returns the name of the session in which a title is looked for; empty where none fits."""
    name = session + _SUFFIX
    return name if len(name) <= 128 and not session.endswith(_SUFFIX) else ""


async def want_title(runtime: Runtime, agent: BoundAgent | None, session: str, prompt: str) -> None:
    """Has a title looked for, once for each session, and waits for nothing."""
    name = title_session(session)
    if agent is None or not name or await runtime.exists(name):
        return
    await runtime.start(
        agent, prompt[:_READ], session=name, key="title", if_idle=True, unattended=True, background=True
    )


async def title_of(runtime: Runtime, session: str, prompt: str) -> str:
    """Returns a session's title: what was found, else how it began."""
    name = title_session(session)
    if name:
        try:
            result = await runtime.run(name, "title").peek()
        except UnknownSession:
            result = None
        if result is not None and result.status == "completed" and result.output.strip():
            return _flat(result.output).strip("\"'")[:_TITLE]
    return _flat(prompt)[:_TITLE]


def _flat(text: str) -> str:
    return " ".join(text.split())
