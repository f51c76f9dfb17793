"""Tokens of a list: for a server whose keys stand in its environment.

    HOLDFAST_API_TOKENS=ci:3f9c…:writer,ops:a81b…:admin

Each is `name:token:role`, or `token:role` (source: Orloj 6.5). A list in which anything is wrong is refused as a whole
before the server starts: a token that is left out in silence is one that somebody believes to be there.
"""

from __future__ import annotations

from typing import Final, cast, final

from holdfast.errors import UsageError
from holdfast.server.access.credentials import hash_of, same
from holdfast.server.access.naming import HOME, check_user
from holdfast.server.access.principal import ROLES, Principal, Role

__all__ = ("VARIABLE", "ListedTokens")

VARIABLE: Final = "HOLDFAST_API_TOKENS"
_SHORTEST: Final = 16
"""Characters of a token: what is shorter can be guessed."""


@final
class ListedTokens:
    """Recognises the tokens of a list; only their hashes are kept."""

    def __init__(self, text: str) -> None:
        """Raises:
        UsageError: something in the list is no token; says which entry, and shows nothing of it.
        """
        self._known: list[tuple[str, Principal]] = []
        for at, entry in enumerate(text.split(","), 1):
            if entry.strip():
                self._known.append(_entry(entry.strip(), at))
        if text.strip() and not self._known:
            raise UsageError(f"{VARIABLE} holds no token: write name:token:role, with commas between, or unset it")
        if len({kept for kept, _ in self._known}) < len(self._known):
            raise UsageError(f"{VARIABLE} holds a token twice: whose would it be? Give each name its own")

    def __len__(self) -> int:
        """How many there are."""
        return len(self._known)

    def recognise(self, text: str) -> Principal | None:
        """Returns for whom a token speaks. It compares with all of them, whichever it is."""
        given, found = hash_of(text), None
        for kept, principal in self._known:
            if same(given, kept):
                found = principal
        return found


def _entry(entry: str, at: int) -> tuple[str, Principal]:
    parts = [each.strip() for each in entry.split(":")]
    if len(parts) == 2:
        parts.insert(0, f"token-{at}")
    if len(parts) != 3:
        raise UsageError(f"entry {at} of {VARIABLE} is no token: write name:token:role")
    name, token, role = parts
    if role not in ROLES:
        raise UsageError(f"entry {at} of {VARIABLE} has no role at its end: write one of {', '.join(ROLES)}")
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"the token of entry {at} of {VARIABLE} can be guessed or sent by nobody: use {_SHORTEST} or more letters "
            "and digits, such as `openssl rand -hex 32` draws"
        )
    try:
        check_user(HOME, name)
    except UsageError:
        raise UsageError(f"the name of entry {at} of {VARIABLE} cannot be one: use letters and digits") from None
    scopes = ROLES[cast("Role", role)]
    return hash_of(token), Principal(tenant=HOME, user=name, scopes=scopes, how="key", id=f"listed:{name}"[:64])
