"""What comes in beside prompts, files and answers of tools elsewhere; and what goes out, results on their way."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.errors import UnknownWait, UsageError
from holdfast.runtime.delivering.outgoing import Undelivered
from holdfast.runtime.sessions.keeping import Kept
from holdfast.server.doors.sessions.shapes import Said, receipt
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call, Raw

__all__ = ("callback", "callback_named", "deliveries", "revive", "secrets", "upload")


class Uploading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an upload is called."""

    name: Annotated[str, Meta(min_length=1, max_length=255)] = "file"


class InToken(msgspec.Struct, frozen=True):
    """A call that waits for its tool."""

    token: Annotated[str, Meta(max_length=4096)]


class ByToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A call that waits for its tool."""

    token: Annotated[str, Meta(min_length=1, max_length=4096)]


class InDelivery(msgspec.Struct, frozen=True):
    """A result on its way."""

    id: Annotated[str, Meta(max_length=256)]


class Secrets(msgspec.Struct, frozen=True):
    """What endpoints of this tenant check signatures with, the newest first; none where nothing is signed."""

    secrets: tuple[str, ...]
    hint: str = ""
    """What would have to be done for there to be some."""


class Deliveries(msgspec.Struct, frozen=True):
    """Results that have not arrived."""

    deliveries: tuple[Undelivered, ...]


async def upload(call: Call[None, Uploading, Raw]) -> Answer[Kept]:
    """Keeps a file for a prompt that names it by its id, within hours; the body is its bytes, 50 MB at most."""
    if not call.body.data:
        raise Refused(400, "empty_upload", "the body is the file, and there is none")
    kind = "" if call.body.media_type == "application/octet-stream" else call.body.media_type
    return Answer(value=await call.runtime.keep(call.query.name, call.body.data, kind), status=201)


async def callback(call: Call[InToken, None, Raw]) -> Answer[Said]:
    """Takes the answer of a tool elsewhere, as its contract writes it, to the call that waits for it.

    The token is the id of the request.
    """
    return await _bring(call, call.where.token, call.body.data)


async def callback_named(call: Call[None, ByToken, Raw]) -> Answer[Said]:
    """Takes the answer of a tool elsewhere to the call that waits for it; the id of the request is `token`."""
    return await _bring(call, call.query.token, call.body.data)


async def _bring(call: Call[Any, Any, Raw], token: str, body: bytes) -> Answer[Said]:
    unknown = Refused(404, "unknown_token", f"no call waits for an answer under {token[:200]!r}")
    if not token.startswith(f"{call.who.tenant}/"):
        raise unknown
    session = token.split("/")[1]
    try:
        if not await call.runtime.exists(session):
            raise unknown
        said = await call.runtime.bring_answer(token, body)
    except UnknownWait:
        raise Refused(409, "not_pending", f"nothing waits for a tool under {token[:200]!r}") from None
    except UsageError as error:
        raise Refused(400, "bad_answer", str(error)) from error
    await call.runtime.wake(session, call.service.agents.values())
    return await receipt(said)


async def deliveries(call: Call[None, None, None]) -> Deliveries:
    """Lists results that their targets have not got yet, and those that they will not get."""
    return Deliveries(tuple(await call.runtime.undelivered()))


async def revive(call: Call[InDelivery, None, None]) -> Deliveries:
    """Has a dead delivery tried again, under its old id; returns it if it has not arrived."""
    dead = [each.id for each in await call.runtime.undelivered() if each.dead]
    if call.where.id not in dead:
        raise Refused(404, "unknown_delivery", "no dead delivery has this id: GET /v1/deliveries lists what there is")
    return Deliveries(tuple(await call.runtime.revive_deliveries(call.where.id)))


async def secrets(call: Call[None, None, None]) -> Secrets:
    """Returns the secrets with which results for `webhook:` addresses are signed, as Standard Webhooks says."""
    found = call.runtime.webhook_secrets()
    hint = "" if found else "results are not signed: start the server with webhook_secrets or HOLDFAST_WEBHOOK_SECRETS"
    return Secrets(found, hint)
