"""Every route of this door."""

from __future__ import annotations

from holdfast.server.doors.sessions import (
    answering,
    branching,
    bringing,
    managing,
    offering,
    prompting,
    speaking,
    streaming,
)
from holdfast.server.doors.sessions.describing import streamed_events
from holdfast.server.routing.route import Handler, Method, Route
from holdfast.server.routing.socket import Socket

__all__ = ("ROUTES", "SOCKETS")

_ATTACHED = 32 * 1024 * 1024
"""The longest prompt: 20 MB of images and documents, in base64."""
_FILE = 50_000_000
_TWICE = (200,)
"""Of what was said before, under the same key."""
_ONE = "/v1/sessions/{session}"


def _read(path: str, handle: Handler, errors: tuple[int, ...] = (404,), tag: str = "sessions") -> Route:
    return Route(method="GET", path=path, handle=handle, scope="sessions:read", tag=tag, errors=errors)


def _write(
    path: str,
    handle: Handler,
    status: int = 202,
    errors: tuple[int, ...] = (404, 409, 410),
    body: int = 4 * 1024 * 1024,
    method: Method = "POST",
    also: tuple[int, ...] = (),
    tag: str = "sessions",
) -> Route:
    return Route(
        method=method,
        path=path,
        handle=handle,
        scope="sessions:write",
        tag=tag,
        status=status,
        errors=errors,
        body_bytes=body,
        also=also,
    )


ROUTES: tuple[Route, ...] = (
    _read("/v1/sessions", managing.list_, ()),
    _write("/v1/sessions", managing.create, 201, (403, 409, 410), _ATTACHED, also=_TWICE),
    _read(_ONE, managing.show),
    _write(_ONE, managing.delete, 204, (404, 409), method="DELETE"),
    _write(f"{_ONE}/prompts", prompting.prompt, 202, (403, 404, 409, 410), _ATTACHED, also=_TWICE),
    _write(f"{_ONE}/proceed", prompting.proceed, 202, (403, 404, 409, 410)),
    _read(f"{_ONE}/runs/{{key}}", prompting.result),
    Route(
        method="GET",
        path=f"{_ONE}/events",
        handle=streaming.events,
        scope="sessions:read",
        tag="sessions",
        errors=(404, 409),
        media_type="text/event-stream",
        tells=streamed_events,
    ),
    _write(f"{_ONE}/steer", speaking.steer, body=_ATTACHED, also=_TWICE),
    _write(f"{_ONE}/follow-up", speaking.follow_up, body=_ATTACHED, also=_TWICE),
    _write(f"{_ONE}/pause", speaking.pause, also=_TWICE),
    _write(f"{_ONE}/resume", speaking.resume, also=_TWICE),
    _write(f"{_ONE}/abort", speaking.abort, also=_TWICE),
    _write(f"{_ONE}/exit", speaking.exit_, also=_TWICE),
    _read(f"{_ONE}/waits", answering.waits_of),
    Route(
        method="POST",
        path=f"{_ONE}/waits/{{token}}",
        handle=answering.answer,
        rest=True,
        scope="waits:answer",
        tag="waits",
        status=202,
        errors=(404, 409, 410),
    ),
    _read("/v1/waits", answering.waits, (), "waits"),
    _write(f"{_ONE}/fork", branching.fork, 201, (404, 409)),
    _write(f"{_ONE}/rewind", branching.rewind, 200, (404, 409, 410)),
    _read(f"{_ONE}/diff", branching.diff, (404, 409)),
    Route(
        method="GET",
        path=f"{_ONE}/export",
        handle=branching.export,
        scope="sessions:read",
        tag="sessions",
        errors=(404, 409),
        media_type="application/x-ndjson",
    ),
    _write("/v1/imports", branching.import_, 201, (409,), _FILE),
    _read("/v1/agents", offering.agents, (), "agents"),
    _read("/v1/agents/{agent}", offering.agent, (404,), "agents"),
    _read("/v1/tools", offering.tools, (), "agents"),
    _read("/v1/catalogue", offering.catalogue, (404,), "agents"),
    _write("/v1/uploads", bringing.upload, 201, (), _FILE, tag="uploads"),
    Route(
        method="POST",
        path="/v1/callbacks",
        handle=bringing.callback_named,
        scope="waits:answer",
        tag="tools elsewhere",
        status=202,
        errors=(404, 409, 410),
        also=_TWICE,
    ),
    Route(
        method="POST",
        path="/v1/callbacks/{token}",
        handle=bringing.callback,
        rest=True,
        scope="waits:answer",
        tag="tools elsewhere",
        status=202,
        errors=(404, 409, 410),
        also=_TWICE,
    ),
    _read("/v1/deliveries", bringing.deliveries, (), "deliveries"),
    _write("/v1/deliveries/{id}/revive", bringing.revive, 200, (404, 409), tag="deliveries"),
    Route(method="GET", path="/v1/webhook-secrets", handle=bringing.secrets, scope="admin", tag="deliveries"),
)
"""Those that answer."""

SOCKETS: tuple[Socket, ...] = (
    Socket(path=f"{_ONE}/stream", handle=streaming.socket, scope="sessions:read", tag="sessions"),
)
"""Those that only tell."""
