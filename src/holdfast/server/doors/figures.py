"""Figures of the process, for whoever scrapes them."""

from __future__ import annotations

from holdfast.server.access.naming import HOME
from holdfast.server.observing.figures import MEDIA_TYPE, Figures
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Raw, Route

__all__ = ("ROUTES",)


async def metrics(call: Call[None, None, None]) -> Raw:
    """Returns figures of the process as Prometheus reads them: requests, streams, sessions, runs, tokens, cost.

    They are of all tenants together, so only the first one's may see them.
    """
    if call.who.tenant != HOME:
        raise Refused(
            403,
            "foreign_tenant",
            f"these figures are of all tenants, and only people of tenant {HOME!r} see them: show a key of it",
        )
    figures = call.service.parts.get(Figures)
    if not isinstance(figures, Figures):
        raise Refused(404, "no_figures", "this server keeps no figures")
    return Raw(figures.exposed(), MEDIA_TYPE)


ROUTES = (
    Route(
        method="GET",
        path="/metrics",
        handle=metrics,
        scope="metrics:read",
        tag="process",
        media_type=MEDIA_TYPE,
        errors=(404,),
    ),
)
