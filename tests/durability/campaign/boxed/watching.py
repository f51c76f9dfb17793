"""The places at which a process dies whose commands run in sandboxes: around the making of one, a command, and what it
leaves in the workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ("watch_boxes",)


def watch_boxes(reach: Callable[..., None]) -> None:
    """Puts the hooks in place."""
    from holdfast.sandbox.backends import native
    from holdfast.sandbox.native import bringing, guarding
    from holdfast.sandbox.native.boxes.box import Box
    from holdfast.sandbox.native.client import Launcher

    _around(Launcher, "make", "box: making", reach)
    _around(native.NativeSandboxes, "_breach", "box: command over", reach)
    _around(native.NativeSandboxes, "_bring", "bring", reach)
    _before(bringing._Bringing, "_one", "bring: one more", reach)
    take_away = guarding._take_away

    def taken(*given: Any, **more: Any) -> Any:
        reach("guard: before")
        answer = take_away(*given, **more)
        reach("guard: after")
        return answer

    guarding._take_away = taken
    for each in (Launcher, Box):
        say = each.say

        def said(self: Any, message: Any, *given: Any, _say: Any = say) -> None:
            _say(self, message, *given)
            if message["do"] in ("make", "start", "end"):
                reach(f"box: told to {message['do']}")  # from here on it forks, or starts, or dies

        setattr(each, "say", said)  # noqa: B010  so that its parameters may have other names


def _around(owner: Any, name: str, kind: str, reach: Callable[..., None]) -> None:
    call = getattr(owner, name)

    async def watched(*given: Any, **more: Any) -> Any:
        reach(f"{kind}: before")
        answer = await call(*given, **more)
        reach(f"{kind}: after")
        return answer

    setattr(owner, name, watched)


def _before(owner: Any, name: str, kind: str, reach: Callable[..., None]) -> None:
    call = getattr(owner, name)

    def watched(*given: Any) -> Any:
        reach(kind)
        return call(*given)

    setattr(owner, name, watched)
