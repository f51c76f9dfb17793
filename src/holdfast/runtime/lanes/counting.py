"""All sessions that a run starts, and that these start, counted together, whichever processes they run in.

The ledger counts them, because it counts exactly for everybody at once: of an account of the root's own, each child
takes one, under a key that is its own, so that a child that is started twice counts once. Who cannot count starts
nothing.
"""

from __future__ import annotations

from typing import final

from holdfast.engine.state import Run
from holdfast.ledger.amounts import Account, Amount, Cap
from holdfast.ledger.port import Denied, Ledger
from holdfast.types import StreamId, digest_of, session_of, tenant_of

__all__ = ("FAMILIES", "Family", "account_name", "family_of", "session_account")

FAMILIES = "~descendants"
"""The outermost name of the accounts in which sessions are counted and nothing is spent; no tenant is called so."""
_NAME = 128
_ONE = Amount(tokens=1)


def account_name(name: str) -> str:
    """Returns a name that an account may have."""
    fits = 1 <= len(name) <= _NAME and "/" not in name and name.isprintable()
    return name if fits else digest_of(name.encode("utf-8", "replace"))


def session_account(stream: StreamId, user: str) -> Account:
    """Returns the account of what a user's runs in a session spend: by its name, as people know it."""
    return tuple(map(account_name, (tenant_of(stream), user or "user", session_of(stream))))


def family_of(stream: StreamId, run: Run) -> Account:
    """Returns the account in which everything is counted that a run starts: its root's."""
    lineage = run.setup.setup.lineage
    if lineage is not None and lineage.family:
        return lineage.family
    root, number = (stream, f"@{run.id}") if lineage is None else (lineage.line[0].stream, "")
    session = session_of(root)
    return (FAMILIES, *map(account_name, (tenant_of(root), session, f"{session}{number}")))


@final
class Family:
    """Counts sessions."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def admit(self, account: Account, most: int, token: str) -> str:
        """Counts one session more; returns why it may not be, empty when it may.

        `most` is how many there may be, where nobody said so before.

        Raises:
            StorageError: nobody knows whether it was counted: ask again, or start nothing.
        """
        if not (caps := await self._ledger.caps(account)):
            caps = (Cap(tokens=most),)
            await self._ledger.set_caps(account, caps)
        granted = await self._ledger.grant(account, _ONE, _key(token))
        if isinstance(granted, Denied):
            return f"the run at the root and all below it have started {caps[0].tokens} others, as many as they may"
        return "" if granted.open or granted.spent == _ONE else "it was refused before"

    async def started(self, token: str) -> None:
        """Keeps a session counted for good."""
        await self._ledger.settle(_key(token), _ONE)

    async def refused(self, token: str) -> None:
        """Takes a session back that was counted and not started."""
        await self._ledger.release(_key(token))


def _key(token: str) -> str:
    return f"{FAMILIES}/{token}"
