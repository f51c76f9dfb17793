"""What several routes of this door take and give, and what they check before anything is done."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.speaking import Receipt
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call
from holdfast.types import Document, Image, Text, UserPart

__all__ = (
    "Given",
    "InSession",
    "Key",
    "Name",
    "Said",
    "Words",
    "agent_of",
    "check_session",
    "key_of",
    "last_agent",
    "receipt",
    "reused",
    "words_of",
)

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", description="The name of a session.")]
Key = Annotated[str, Meta(max_length=256, description="Makes what is sent twice one; as the header Idempotency-Key.")]
_OURS = ("answer:", "told:", "passed:", "meant:", "returned:", "abort:", "critic:", "interrupt:")
"""How keys begin under which the house itself writes to sessions. Whoever could use one before would have what comes
under it taken for something that was said already.
"""
Words = Annotated[str, Meta(max_length=4 * 1024 * 1024)]
Seq = Annotated[int, Meta(ge=0, le=2**53)]


class InSession(msgspec.Struct, frozen=True):
    """A session."""

    session: Name


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Words."""

    text: Words


class ImagePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="image"):
    """A picture."""

    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: bytes
    """The file's bytes in base64."""
    name: Annotated[str, Meta(max_length=255)] = ""


class DocumentPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="document"):
    """Something to read."""

    media_type: Literal["application/pdf", "text/plain"]
    data: bytes
    """The file's bytes in base64."""
    name: Annotated[str, Meta(max_length=255)] = ""


Given = TextPart | ImagePart | DocumentPart


class Said(msgspec.Struct, frozen=True):
    """What became of something that was said to a session."""

    status: Literal["accepted", "duplicate"]
    n: int
    """Its number in the session's inbox."""
    key: str
    """The log names it as the cause of what comes of it."""


def words_of(text: str, parts: tuple[Given, ...]) -> str | list[str | UserPart]:
    """Returns what somebody says.

    Raises:
        Refused: it is nothing, or said in two ways.
    """
    if bool(text.strip()) == bool(parts):
        raise Refused(400, "bad_body", "say something: either `text`, or `parts`")
    if not parts:
        return text
    return [_part(part) for part in parts]


def _part(part: Given) -> UserPart:
    match part:
        case TextPart():
            return Text(part.text)
        case ImagePart():
            return Image(part.media_type, part.data, part.name)
        case DocumentPart():
            return Document(part.media_type, part.data, part.name)


def key_of(call: Call[Any, Any, Any], key: str) -> str | None:
    """Returns the key under which something is said once; None where none is given.

    Raises:
        Refused: the header and the body say different ones, or it cannot be one.
    """
    header = call.headers.get("idempotency-key", "")
    if header and key and header != key:
        raise Refused(400, "bad_key", "the header Idempotency-Key and `key` differ: send one of them")
    found = header or key
    if len(found) > 256 or not found.isprintable():
        raise Refused(400, "bad_key", "a key has 256 characters at most, all of them to be seen: use a digest of it")
    if found.startswith(_OURS):
        raise Refused(400, "bad_key", f"keys that begin with {found.partition(':')[0]!r} and a colon are the server's")
    return found or None


async def check_session(call: Call[Any, Any, Any], session: str) -> None:
    """Returns where there is such a session.

    Raises:
        Refused: there is none, or it is somebody else's: nobody is told which.
    """
    if not await call.runtime.exists(session):
        raise Refused(
            404,
            "unknown_session",
            f"there is no session {session!r}: GET /v1/sessions lists what there is, POST /v1/sessions makes one, and "
            "so does a prompt to a name that is free (POST /v1/sessions/{session}/prompts)",
        )


def agent_of(call: Call[Any, Any, Any], name: str) -> BoundAgent:
    """Returns an agent by its name; the only one where none is named.

    Raises:
        Refused: there is none of that name, it is not theirs to ask, or there are several and none was named.
    """
    mine = {each: agent for each, agent in call.service.agents.items() if call.who.may_ask(each)}
    if not name and len(mine) == 1:
        return next(iter(mine.values()))
    if name in mine:
        return mine[name]
    if name in call.service.agents:
        raise Refused(403, "agent_denied", f"the agent {name!r} is not among those that may be asked with this")
    what = f"there is no agent {name[:100]!r}" if name else "say which `agent` is to answer"
    raise Refused(422, "unknown_agent", f"{what}: GET /v1/agents lists them")


async def last_agent(call: Call[Any, Any, Any], session: str | None) -> str:
    """Returns the name of the agent that a session's last prompt asked, where several could be meant and that one may
    be asked; else nothing.
    """
    mine = {name: agent for name, agent in call.service.agents.items() if call.who.may_ask(name)}
    if session is None or len(mine) < 2 or (last := await call.runtime.last_asked(session)) is None:
        return ""
    exactly = next((name for name, agent in mine.items() if agent.digest == last.spec), "")
    return exactly or (last.agent if last.agent in mine else "")


async def receipt(said: Receipt) -> Answer[Said]:
    """Returns what became of something that was said: 202 the first time, 200 when it was said before.

    Raises:
        Refused: something else was said before under its key.
    """
    if not await said.is_same():
        raise reused(said.key)
    status = 200 if said.status == "duplicate" else 202
    return Answer(value=Said(said.status, said.n, said.key), status=status)


def reused(key: str) -> Refused:
    """Returns how somebody is refused who says something else under a key than was said under it before."""
    return Refused(409, "key_reused", f"something else was said under the key {key[:60]!r}: take another key for this")
