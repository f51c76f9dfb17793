"""Tools as a user would write them, against the hostile service: one for each effect, and one that calls others.

Where the service is comes from the environment, as it would in life.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import time
import urllib.error
import urllib.request
from typing import Final

from holdfast import tool
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.types import Effect

__all__ = ("ADDRESS", "CALLS", "book", "charge", "errand", "look", "publish", "ring")

ADDRESS: Final = "HOSTILE_SERVICE"
"""Variable of the environment that says where the service and the book are."""
_TRIES: Final = 20
_PAUSE: Final = 0.01
"""Seconds between two tries."""


@tool(effect="none")
async def look(what: str) -> str:
    """Look at something for a moment.

    Args:
        what: The thing.
    """
    await asyncio.sleep(0.03)
    return f"{what} has {len(what)} letters"


@tool(effect="keyed")
def charge(label: str, context: ToolContext) -> str:
    """Charge somebody once; asks until there is an answer.

    Args:
        label: Who.
        context: Where the call runs.
    """
    return _post_until_answered(label, context.key)


@tool(effect=Effect(workspace=True, outside="keyed"), touches=lambda arguments: (arguments.path,))
def publish(path: str, label: str, context: ToolContext) -> str:
    """Announce something once, with a line in a file before and one after.

    Args:
        path: The file.
        label: What.
        context: Where the call runs.
    """
    workspace = context.workspace
    assert workspace is not None
    workspace.replace(path, workspace.contents(path)[0] + f"about to publish {label}\n".encode())
    answer = _post_until_answered(label, context.key)
    workspace.replace(path, workspace.contents(path)[0] + f"{answer}\n".encode())
    return answer


def _post_until_answered(label: str, key: str) -> str:
    address = f"{os.environ[ADDRESS]}/keyed/{label}"
    for _ in range(_TRIES):
        request = urllib.request.Request(address, b"{}", {"Idempotency-Key": key}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(_PAUSE)
    raise ToolFailure(f"{label} could not be charged")


async def _was_booked(label: str, context: ToolContext) -> str | None:
    for _ in range(_TRIES):
        try:
            status, text = await _exchange("GET", f"checkable/{label}", context.key)
        except ConnectionError:
            status, text = 0, ""
        if status in (200, 404):
            return text if status == 200 else None
        await asyncio.sleep(_PAUSE)
    raise ConnectionError("the desk does not answer")


@tool(effect="checkable", check=_was_booked, settles=1.2)
async def book(label: str, context: ToolContext) -> str:
    """Book something.

    Args:
        label: What.
        context: Where the call runs.
    """
    status, text = await _exchange("POST", f"checkable/{label}", context.key)
    if status != 200:
        raise ConnectionError(f"the desk answered {status}")
    return text


@tool
async def ring(label: str) -> str:
    """Ring a bell. Nobody can tell afterwards whether it rang.

    Args:
        label: Which.
    """
    try:
        status, text = await _exchange("POST", f"unsafe/{label}", "")
    except ConnectionError:
        raise ToolFailure("no answer: it may have rung") from None
    if status != 200:
        raise ToolFailure(f"answered {status}: it may have rung")
    return text


@tool(effect="none")
async def errand(label: str, context: ToolContext, deeper: bool = False) -> str:
    """Do several things for one purpose: some together, some one after another.

    Args:
        label: The purpose.
        context: Where the call runs.
        deeper: Whether an errand of its own is part of it.
    """
    begun = await context.call("write", {"path": f"errands/{label}.txt", "content": "begun\nEND\n"})
    async with asyncio.TaskGroup() as group:
        parts = [group.create_task(context.call(name, {"label": f"{label}-{name}"})) for name in ("charge", "book")]
        group.create_task(context.call("ring", {"label": f"{label}-ring"}))  # what came of it is not told on
    change = {"oldText": "END\n", "newText": "over\nEND\n"}
    over = await context.call("edit", {"path": f"errands/{label}.txt", "edits": [change]})
    more = [await context.call("errand", {"label": f"{label}-more"})] if deeper else []
    said = [begun, *(part.result() for part in parts), over, *more]
    return "; ".join(each.content for each in said)


async def _exchange(verb: str, path: str, key: str) -> tuple[int, str]:
    """Returns status and text; raises ConnectionError when there is no whole answer."""
    host, _, prefix = os.environ[ADDRESS].removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    try:
        lines = (f"{verb} /{prefix}/{path} HTTP/1.1", f"Host: {host}", f"Idempotency-Key: {key}", "Content-Length: 0")
        writer.write("\r\n".join((*lines, "", "")).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        return int(head.split()[1]), (await reader.readexactly(length)).decode()
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("cut off") from error
    finally:
        writer.close()


CALLS: Final = tuple(f"{__name__}:{each.spec.name}" for each in (look, charge, publish, book, ring, errand))
"""References, for the orders of a trial."""
