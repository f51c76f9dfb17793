"""What the server says of itself: `/openapi.json` for programs, `/docs` for people, a page that needs nobody else."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from holdfast.server.access.chain import Chain
from holdfast.server.access.local import LocalAccess
from holdfast.server.problems import Refused
from holdfast.server.routing.openapi import Description
from holdfast.server.routing.route import Answer, Call, Raw, Route

__all__ = ("ROUTES",)

_PAGE = Path(__file__).with_name("docs.html")


async def openapi(call: Call[None, None, None]) -> Answer[Raw]:
    """Returns the description of every route, as OpenAPI 3.1."""
    found = call.service.parts.get(Description)
    if not isinstance(found, Description):
        raise Refused(404, "not_described", "this server has no description of its routes")
    access = call.service.access
    guarded = not await access.open_to_all() if isinstance(access, Chain) else not isinstance(access, LocalAccess)
    document = await found.document(guarded=guarded)
    return Answer(value=Raw(document, "application/json"), headers={"cache-control": "no-cache"})


async def docs(call: Call[None, None, None]) -> Answer[Raw]:
    """Returns the description of every route as a page."""
    page, policy = _page()
    headers = {"content-security-policy": policy, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    return Answer(value=Raw(page, "text/html; charset=utf-8"), headers=headers)


@cache
def _page() -> tuple[bytes, str]:
    """Returns the page, and what a browser may do for it: run its own script, and ask this server."""
    page = _PAGE.read_bytes()
    allowed = {
        kind: f"'sha256-{b64encode(sha256(_between(page, tag)).digest()).decode()}'"
        for kind, tag in (("script-src", b"script"), ("style-src", b"style"))
    }
    rules = ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
    return page, "; ".join([*rules, *(f"{kind} {source}" for kind, source in allowed.items())])


def _between(page: bytes, tag: bytes) -> bytes:
    return page.partition(b"<" + tag + b">")[2].partition(b"</" + tag + b">")[0]


ROUTES = (
    Route(method="GET", path="/openapi.json", handle=openapi, scope=None, tag="process", errors=(404,)),
    Route(method="GET", path="/docs", handle=docs, scope=None, tag="process", media_type="text/html; charset=utf-8"),
)
