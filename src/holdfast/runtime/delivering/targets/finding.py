"""From the name of a target to the target: one that this runtime was given, a folder, or an endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from holdfast.errors import UsageError
from holdfast.net.client import HttpClient
from holdfast.net.hops import checked_url
from holdfast.runtime.delivering.port import Function, Target
from holdfast.runtime.delivering.targets.signing import TenantSecrets
from holdfast.safety.addresses import judge

__all__ = ("HOOK", "Targets", "checked_names", "is_private")

HOOK = "hook:delivery"
"""What the hook is called in the log."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST = 16
"""Targets of one run."""
_KEPT = 64
"""Addresses that are remembered."""


@final
class Targets:
    """The targets of one runtime."""

    def __init__(self, given: Mapping[str, Target | Function], hook: Function | None) -> None:
        self._given: dict[str, Target] = {}
        for name, each in given.items():
            if not _NAME.fullmatch(name) or name in ("file", "webhook", "hook"):
                raise UsageError(
                    f"{name!r} is no name for a target: use letters, digits, dots, dashes and underscores, and not "
                    "'file', 'webhook' or 'hook'"
                )
            self._given[name] = _called(each) if not hasattr(each, "promise") else each  # pyright: ignore
        if hook is not None:
            self._given[HOOK] = _called(hook)
        self._addressed: dict[str, Target] = {}
        self._client: HttpClient | None = None
        """Of all endpoints that whoever starts a run names."""
        self.secrets: TenantSecrets | None = None
        """Signs what goes to `webhook:` addresses, which then is CloudEvents, too."""

    def __bool__(self) -> bool:
        return bool(self._given)

    @property
    def names(self) -> tuple[str, ...]:
        """What the targets that it was given are called."""
        return tuple(name for name in self._given if name != HOOK)

    def find(self, name: str) -> Target | None:
        """Returns a target; None where this runtime has none of that name."""
        if (target := self._given.get(name) or self._addressed.get(name)) is not None:
            return target
        kind, _, address = name.partition(":")
        if kind == "file" and address:
            from holdfast.runtime.delivering.targets.file import FileTarget

            target = FileTarget(address)
        elif kind == "webhook" and address:
            from holdfast.runtime.delivering.targets.webhook import WebhookTarget, connected

            if self._client is None:
                self._client = connected(trusted=False)
            try:
                # Whoever starts a run names it, not whoever runs this process: only what the whole internet reaches.
                secrets = self.secrets
                envelope = "plain" if secrets is None else "cloudevents"
                target = WebhookTarget(
                    address, trusted=False, envelope=envelope, secrets=secrets or (), client=self._client
                )
            except UsageError:
                return None
        else:
            return None
        self._addressed[name] = target
        if len(self._addressed) > _KEPT:
            del self._addressed[next(iter(self._addressed))]
        return target

    async def close(self) -> None:
        """Lets go of every connection."""
        for each in (*self._given.values(), *self._addressed.values()):
            await each.close()
        if self._client is not None:
            await self._client.close()


def _called(function: Function) -> Target:
    from holdfast.runtime.delivering.targets.function import FunctionTarget

    return FunctionTarget(function)


def checked_names(targets: Targets, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of targets as the log holds them, each once.

    Raises:
        UsageError: one names no target.
    """
    if isinstance(names, str):
        raise UsageError(f"deliver={names!r} is one word: write a list of targets, as in deliver=[{names!r}]")
    told = dict.fromkeys(_absolute(name) for name in names)
    if len(told) > _MOST:
        raise UsageError(f"a run has {len(told)} targets and {_MOST} are allowed: deliver to one that passes it on")
    for name in told:
        if name == HOOK or targets.find(name) is None:
            raise UsageError(
                f"there is no target {name!r}: write 'file:/folder' or 'webhook:https://...', or give it to the "
                "runtime with Runtime.open(targets={...})"
            )
        if name.startswith("webhook:") and is_private(name.removeprefix("webhook:")):
            raise UsageError(
                f"the target {name!r} is an address of this machine or of a private network, which no 'webhook:' "
                "reaches: give it to the runtime by name, as in Runtime.open(targets={'ours': WebhookTarget(url)})"
            )
    return tuple(told)


def is_private(url: str) -> bool:
    """Whether a URL says by itself that it is not public; what a name leads to is seen when it is dialled.

    Raises:
        RequestRefused: it is no URL that anything is sent to.
    """
    host = checked_url(url).host or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return judge(host)[0] != "public"
    except ValueError:
        return False


def _absolute(name: str) -> str:
    kind, _, address = name.partition(":")
    return f"file:{Path(address).expanduser().resolve()}" if kind == "file" and address else name
