"""Which host, port and path are meant: one spelling of each, found before anything is judged.

What is judged is what is dialled and sent on: a host in lower case without its final dot, a number in any spelling as
the address it is, an IPv4 address inside an IPv6 one as itself, a path whose escapes are the necessary ones. A text
that servers behind us might read in another way is refused instead of repaired.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address
from typing import Final

import msgspec

__all__ = ("Authority", "authority_of", "path_of", "split_url")

_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_VISIBLE: Final = re.compile(r"[!-~]*")
_SEPARATORS: Final = re.compile(r"/|\\|%2F|%5C")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NAME_BYTES: Final = 253


class Authority(msgspec.Struct, frozen=True):
    """A host and a port in their one spelling."""

    host: str
    """A name, or a numeric address without brackets."""
    port: int

    @property
    def is_address(self) -> bool:
        """Whether the host is a number, so that no name is looked up."""
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()

    def __str__(self) -> str:
        """Returns `host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def shown(self, default: int) -> str:
        """Returns it as a Host header has it, without the port that is understood anyway."""
        return str(self).removesuffix(f":{self.port}") if self.port == default else str(self)


def authority_of(text: str, port: int | None = None) -> Authority:
    """Returns what `host:port` means; `port` is what stands for a missing one.

    Raises:
        ValueError: it has no port and needs one, a user name, or anything that could be read in two ways.
    """
    if "@" in text:
        raise ValueError("there is a user name in the address")
    host, colon, number = text.rpartition(":")
    if not colon or (text.startswith("[") and text.endswith("]")):
        if port is None:
            raise ValueError("the address has no port")
        return Authority(_host_of(text), port)
    if not _PORT.fullmatch(number) or int(number) > 65535:
        raise ValueError("the port is no number from 1 to 65535")
    return Authority(_host_of(host), int(number))


def split_url(target: str) -> tuple[str, str]:
    """Returns the authority of an absolute `http://` URL, and the rest of it.

    Raises:
        ValueError: it is none.
    """
    scheme, found, rest = target.partition("://")
    if not found or scheme.lower() != "http":
        raise ValueError("a proxy is asked with a URL that begins with http://, or with CONNECT")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    path = rest[end:]
    return rest[:end], path if path.startswith("/") else f"/{path}"


def path_of(target: str) -> tuple[str, str]:
    """Returns the path and the query of a request as they are judged and sent on; without a query it is empty.

    An encoded slash stays one: the judge knows where those are allowed.

    Raises:
        ValueError: it is not `/path?query`, or holds what servers read in different ways: dot segments, a backslash,
            a control character, or a broken escape.
    """
    path, _, query = target.partition("?")
    if not path.startswith("/") or not _VISIBLE.fullmatch(target) or "#" in target:
        raise ValueError("the path does not begin with a slash, or holds what no URL may")
    plain = _ESCAPE.sub(_unescaped, path)
    parts = _SEPARATORS.split(plain)
    if "\\" in plain or "%5C" in plain:
        raise ValueError("the path has a backslash in it")
    if any(part.partition(";")[0] in (".", "..") for part in parts):
        raise ValueError("the path has dot segments in it")
    return plain, query


def _unescaped(found: re.Match[str]) -> str:
    digits = found[1]
    if not digits:
        raise ValueError("the path has a broken escape in it")
    letter = chr(int(digits, 16))
    if letter < " " or letter == "\x7f":
        raise ValueError("the path has a control character in it")
    return letter if letter in _UNRESERVED else f"%{digits.upper()}"


def _host_of(text: str) -> str:
    if text.startswith("["):
        return _inside_brackets(text)
    host = text.lower().removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))  # as every client's library reads 0x7f.1
        except OSError:
            raise ValueError("the host is neither a name nor an address") from None
    if len(host) > _NAME_BYTES or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is no name: write it in ASCII, as letters, digits, hyphens and dots")
    return host


def _inside_brackets(text: str) -> str:
    if not text.endswith("]") or "%" in text:
        raise ValueError("the host is no IPv6 address")
    try:
        address = ip_address(text[1:-1])
    except ValueError:
        raise ValueError("the host is no IPv6 address") from None
    if not isinstance(address, IPv6Address):
        raise ValueError("the host is no IPv6 address")
    return str(address.ipv4_mapped or address)
