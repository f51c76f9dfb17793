"""Whether a stream may go on: whoever opened it is recognised once more, as long as it lasts.

A key that is revoked, a login that is over and a token that has expired end what was opened with them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from holdfast.errors import HoldfastError
from holdfast.server.access.port import Access, Asked
from holdfast.server.access.principal import Principal, Scope
from holdfast.server.problems import Refused

__all__ = ("lasting",)


def lasting(access: Access, asked: Asked, who: Principal, scope: Scope) -> Callable[[], Awaitable[Refused | None]]:
    """Returns what says why a stream may not go on that was opened by `who`; None while it may."""
    again = msgspec.structs.replace(asked, again=True)

    async def still() -> Refused | None:
        try:
            now = await access.identify(again)
        except Refused as refused:
            return refused if refused.status in (401, 403) else None
        except HoldfastError:  # the store does not answer, which says nothing of who listens
            return None
        if now is None or (now.tenant, now.user) != (who.tenant, who.user):
            return Refused(401, "unauthenticated", "what this was opened with is no longer good: log in, or ask anew")
        if not now.may(scope):
            return Refused(403, "scope_missing", f"this needs the scope {scope!r}, which this {now.how} has no longer")
        return None

    return still
