"""Secrets that never enter a sandbox: programs hold placeholders, and the proxy fills the values in on the way out.

A value goes to the hosts it is bound to and nowhere else, in the one header it is meant for, and only after the
policy allowed the request. Whatever comes back from such a host is searched for all values bound to it, plain and in
base64, whichever request it answers: a server that repeats what it was sent, at once or later, does not tell the
sandbox. No message, record or `repr` of this room holds a value.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, final

import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.egress.parsing.authorities import Authority

__all__ = ("Credential", "Filled", "Mask", "Misplaced", "Placeholders")

_NAMED: Final = "openshell:resolve:env:"
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SENDABLE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_SHORT: Final = 8
"""Bytes below which a value is not searched for: it would be found where it is not meant."""


class Misplaced(Exception):
    """A placeholder stands where its value must not go; the text says what to do."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A secret and where it may go."""

    key: str
    """The name its placeholder carries, like that of an environment variable."""
    value: str
    hosts: tuple[str, ...]
    """Names in lower case, each alone or with `:port`."""
    header: str = "authorization"
    """The header it may stand in, in lower case."""

    def __post_init__(self) -> None:
        """Checks it.

        Raises:
            UsageError: the key is no name, or the value cannot be sent in a header.
        """
        if not _KEY.fullmatch(self.key):
            raise UsageError(f"{self.key!r} is no name of a credential: use letters, digits and underscores")
        if not _SENDABLE.fullmatch(self.value):
            raise UsageError(
                f"the value of the credential {self.key!r} cannot stand in a header: give one line of ASCII"
            )

    def __repr__(self) -> str:
        """Returns it without the value."""
        return f"Credential(key={self.key!r}, hosts={self.hosts!r}, header={self.header!r})"

    def bound_to(self, authority: Authority) -> bool:
        """Returns whether it may go there."""
        return authority.host in self.hosts or str(authority) in self.hosts


class Filled(msgspec.Struct, frozen=True):
    """A request's fields with values in them."""

    fields: list[tuple[str, str]]
    keys: tuple[str, ...]
    """Which credentials were used."""
    hidden: tuple[bytes, ...]
    """What must not come back, beside what is bound to that host anyway."""

    def __repr__(self) -> str:
        """Returns which credentials were used."""
        return f"Filled(keys={self.keys!r})"


@final
class Placeholders:
    """What the programs of one sandbox hold in place of secrets."""

    def __init__(self, credentials: Sequence[Credential] = ()) -> None:
        self._credentials = tuple(credentials)
        self._hidden: dict[str, tuple[bytes, ...]] = {}
        """By hosts that credentials are bound to."""
        self._random = {each.key: f"hfph_{secrets.token_hex(20)}" for each in credentials}
        self._meant = {f"{_NAMED}{each.key}": each for each in credentials}
        self._meant |= {self._random[each.key]: each for each in credentials}
        ours = "".join(f"|{re.escape(each)}" for each in self._random.values())
        self._pattern = re.compile(f"{re.escape(_NAMED)}{_KEY.pattern}{ours}")

    def of(self, key: str) -> str:
        """Returns the placeholder of a credential that only this sandbox has.

        Raises:
            UsageError: there is no such credential.
        """
        if key not in self._random:
            raise UsageError(f"there is no credential {key!r}: there are {', '.join(self._random) or 'none'}")
        return self._random[key]

    def bound_to(self, authority: Authority) -> bool:
        """Returns whether any credential may go there."""
        return any(each.bound_to(authority) for each in self._credentials)

    def hidden_at(self, authority: Authority) -> tuple[bytes, ...]:
        """Returns what no answer of a host may bring: the values that may go there, to whichever of its ports."""
        host = authority.host
        if host not in self._hidden:
            bound = [each.value.encode() for each in self._credentials if host in map(_host_of, each.hosts)]
            if not bound:
                return ()
            self._hidden[host] = tuple(form for each in bound for form in (each, *_in_base64(each)))
        return self._hidden[host]

    def fill(self, fields: list[tuple[str, str]], authority: Authority, *, secure: bool) -> Filled:
        """Returns the fields with their values filled in; `secure` says whether nobody on the way can read them.

        Raises:
            Misplaced: a placeholder is unknown, bound to another host, in the wrong header, or would be readable.
        """
        done: list[tuple[str, str]] = []
        used: dict[str, None] = {}
        hidden: dict[bytes, None] = {}
        for name, value in fields:
            filled = value
            if plain := self._with_placeholder(value):
                for found in self._pattern.findall(plain):
                    credential = self._admitted(found, name.lower(), authority, secure=secure)
                    used[credential.key] = None
                filled = self._filled(plain)
                if plain is not value:
                    filled = f"Basic {base64.b64encode(filled.encode()).decode()}"
                    hidden[filled[6:].encode()] = None
            done.append((name, filled))
        return Filled(done, tuple(used), tuple(hidden))

    def _with_placeholder(self, value: str) -> str:
        """Returns the text that has a placeholder in it, that of Basic credentials decoded; else nothing."""
        if self._pattern.search(value):
            return value
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "basic":
            try:
                decoded = base64.b64decode(rest.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ""
            return decoded if self._pattern.search(decoded) else ""
        return ""

    def _admitted(self, found: str, header: str, authority: Authority, *, secure: bool) -> Credential:
        credential = self._meant.get(found)
        if credential is None:
            raise Misplaced(f"there is no credential {found.removeprefix(_NAMED)!r}; ask for one to be configured")
        if not credential.bound_to(authority):
            raise Misplaced(f"the credential {credential.key!r} is not for {str(authority)!r}; send it to its own host")
        if header != credential.header:
            raise Misplaced(f"the credential {credential.key!r} goes into the header {credential.header!r} only")
        if not secure:
            raise Misplaced(f"the credential {credential.key!r} would be readable on the way; use https")
        return credential

    def _filled(self, text: str) -> str:
        return self._pattern.sub(lambda found: self._meant[found[0]].value, text)


@final
class Mask:
    """Blots values out of a stream of bytes, length by length, so that nothing about its framing changes."""

    def __init__(self, hidden: Iterable[bytes]) -> None:
        self._values = sorted({each for each in hidden if len(each) >= _SHORT}, key=len, reverse=True)
        self._held = b""

    def __bool__(self) -> bool:
        return bool(self._values)

    def feed(self, piece: bytes) -> bytes:
        """Returns what may go on; what could be the beginning of a value waits for what comes next."""
        data = self._held + piece
        for value in self._values:
            data = data.replace(value, b"*" * len(value))
        kept = max((_overlap(data, value) for value in self._values), default=0)
        self._held = data[len(data) - kept :]
        return data[: len(data) - kept]

    def end(self) -> bytes:
        """Returns what waited in vain."""
        rest, self._held = self._held, b""
        return rest

    def text(self, value: str) -> str:
        """Returns a whole text without values."""
        return (self.feed(value.encode("latin-1")) + self.end()).decode("latin-1")


def _host_of(bound: str) -> str:
    """The host of `host` or `host:port`, in the spelling of authorities."""
    name, colon, port = bound.rpartition(":")
    return (name if colon and port.isdigit() and (":" not in name or name.endswith("]")) else bound).strip("[]")


def _in_base64(value: bytes) -> Iterator[bytes]:
    """What base64 makes of a value whatever stands around it: at each of three places, without the ends, which depend
    on the neighbours.
    """
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + value)
        inner = whole[(0, 2, 3)[before] : (before + len(value)) * 8 // 6]
        yield inner
        yield inner.translate(_URL_SAFE)


def _overlap(data: bytes, value: bytes) -> int:
    """Returns how many bytes at the end of the data are how the value begins."""
    longest = min(len(data), len(value) - 1)
    return next((count for count in range(longest, 0, -1) if data.endswith(value[:count])), 0)
