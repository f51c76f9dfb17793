"""What a module is called where it is declared: a file of the folder of modules, or an address it is fetched from."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from holdfast.errors import RequestRefused, UsageError

__all__ = ("Reference", "reference_of")

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DIGEST: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)
_HOW = "name a file below the folder of modules, like 'weather.wasm', or an 'https://' address"


class Reference(msgspec.Struct, frozen=True, gc=False):
    """A module by its name."""

    name: str
    """A path relative to the folder of modules, or an address."""
    remote: bool
    digest: str = ""
    """SHA-256 that its bytes must have, as hexadecimal digits; empty where any will do."""

    @property
    def shown(self) -> str:
        """The name as people may read it: what follows a question mark may be a key."""
        return self.name.partition("?")[0].partition("#")[0] if self.remote else self.name

    @property
    def key(self) -> str:
        """The name of its file in the cache."""
        return hashlib.sha256(self.name.encode()).hexdigest()


def reference_of(name: str, digest: str = "") -> Reference:
    """Returns a reference as it is declared.

    Raises:
        UsageError: it is none that is loaded from: an address that is not https, a path that is absolute or leads up.
    """
    pinned = _DIGEST.fullmatch(digest)
    if digest and pinned is None:
        raise UsageError("the digest of a module is its SHA-256, as 64 hexadecimal digits")
    digest = pinned[1].lower() if pinned else ""
    if name.startswith("https://"):
        from holdfast.net.hops import checked_url  # noqa: PLC0415 - most modules are files

        try:
            checked_url(name)
        except RequestRefused as error:
            raise UsageError(f"a module cannot be fetched: {error}") from None
        return Reference(name, True, digest)
    if scheme := _SCHEME.match(name):
        raise UsageError(f"modules are not loaded from {scheme[0]!r} addresses; {_HOW}")
    parts = name.split("/")
    if not name or "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"{name!r} is no path below the folder of modules; {_HOW}")
    return Reference(name, False, digest)
