"""All routes of this door."""

from __future__ import annotations

from holdfast.server.doors.accounts import auditing, entering, keys, users
from holdfast.server.routing.route import Route

__all__ = ("ROUTES",)

ROUTES: tuple[Route, ...] = (*entering.ROUTES, *users.ROUTES, *keys.ROUTES, *auditing.ROUTES)
