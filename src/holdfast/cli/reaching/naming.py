"""Which server a command speaks to, and with which key: `--server`, HOLDFAST_SERVER, `--key-file`, HOLDFAST_API_KEY.

The key is never an argument: other users of a machine see those. Nor does a project's file say any of it: it may have
come with somebody else's repository, and what is typed here would go to them.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click
import msgspec

from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.cli.reaching.port import Sessions

__all__ = ("Place", "Server", "opened", "place_options", "refuse_with", "server_options", "server_said", "store_here")

F = TypeVar("F", bound=Callable[..., Any])

_SERVER, _KEY = "HOLDFAST_SERVER", "HOLDFAST_API_KEY"
_LONGEST = 8192
"""Characters of a key; a longer one is none."""
_OURS = frozenset(("localhost", "127.0.0.1", "::1"))


class Server(msgspec.Struct, frozen=True):
    """A server and who one is to it."""

    url: str
    key: str = ""
    option: str = ""
    """What another command has to be given to reach it, too, where the environment does not say it."""


class Place(msgspec.Struct, frozen=True):
    """Where sessions are, as a command line says it."""

    server: Server | None
    url: str
    """Of the store, where there is no server."""
    option: str
    """What another command has to be given to find them again."""

    @property
    def name(self) -> str:
        """What it is called to a person."""
        return self.url if self.server is None else self.server.url


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say where sessions are; it is called with what they come to, as `place`."""

    @click.option("--store", help="Where the log is kept.  [default: your data folder]")
    @server_options
    @functools.wraps(command)
    def run(*given: Any, store: str | None, server: str | None, key_file: Path | None, **more: Any) -> None:
        from holdfast.cli.screen import store_option
        from holdfast.cli.settings.defaults import store_url

        named, url = server_said(server, key_file, store), store_url(store)
        command(*given, place=Place(named, url, store_option(url) if named is None else named.option), **more)

    return run


def store_here(instead: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that speaks to no server the option that names a store. Where the environment names a server it
    is refused, since it would act on another session of that name; `instead` is what does it there.
    """

    def give(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--store", help="Where the log is kept.  [default: your data folder]")
        @functools.wraps(command)
        def run(*given: Any, store: str | None, **more: Any) -> None:
            if store is None and os.environ.get(_SERVER):
                path = click.get_current_context().command_path
                raise UsageError(
                    f"`{path}` looks into a store of this machine, and {_SERVER} names a server\n"
                    f"name the store with --store, or leave it out: env -u {_SERVER} {path}; {instead}"
                )
            command(*given, store=store, **more)

        return run

    return give


def server_options(command: F) -> F:
    """Gives a command the options that name a server."""
    key = click.option("--key-file", type=click.Path(path_type=Path), help=f"A file with the key.  [default: {_KEY}]")
    return click.option("--server", help=f"Sessions of a server: its address.  [default: {_SERVER}]")(key(command))


def server_said(server: str | None, key_file: Path | None, store: str | None) -> Server | None:
    """Returns the server that a command line or the environment names; None where sessions are in a store.

    Raises:
        UsageError: a store is named, too; or it is no address, or no key.
    """
    if server and store:
        raise UsageError("--server and --store both say where the sessions are: leave one of them out")
    named = server or ("" if store else os.environ.get(_SERVER, ""))
    if not named:
        if key_file is not None:
            raise UsageError(f"--key-file is for a server: name it with --server, or in {_SERVER}")
        return None
    url, key = _address(named), _key(key_file)
    if key and url.startswith("http:") and urlsplit(url).hostname not in _OURS:
        print(f"note the key goes to {url} in the clear: have it speak TLS (https)", file=sys.stderr)
    option = f" --server {shlex.quote(url)}" if server else ""
    if key_file is not None:
        option += f" --key-file {shlex.quote(str(key_file))}"
    return Server(url, key, option)


def refuse_with(server: Server | None, given: Mapping[str, object]) -> None:
    """Returns where nothing is given that is not to be said to a server, by the names of options.

    Raises:
        UsageError: something is; names it.
    """
    said = [name for name, value in given.items() if value]
    if server is not None and said:
        these = ", ".join(said)
        raise UsageError(f"{these}: a server says that for itself\nleave {'it' if len(said) == 1 else 'them'} out")


@asynccontextmanager
async def opened(server: Server) -> AsyncGenerator[Sessions]:
    """Returns the sessions of a server that answers.

    Raises:
        NetError: it does not; says what helps.
    """
    from holdfast.cli.reaching.calling import Caller
    from holdfast.cli.reaching.remote import RemoteSessions

    caller = Caller(server.url, server.key)
    try:
        await caller.greet()
        yield RemoteSessions(caller, server.option)
    finally:
        await caller.close()


def _address(named: str) -> str:
    text = named if "://" in named else f"http://{named}"
    if not _is_address(text):
        raise UsageError(f"{named[:200]!r} is no address of a server: write it like http://127.0.0.1:8700")
    return text.rstrip("/")


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        more = parts.username or parts.password or parts.query or parts.fragment or parts.port == 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not more and text.isprintable()


def _key(file: Path | None) -> str:
    where = f"the file {str(file)!r}" if file is not None else _KEY
    if file is None:
        key = os.environ.get(_KEY, "")
    else:
        try:
            with file.open("rb") as opened_:
                key = opened_.read(_LONGEST + 2).decode("utf-8", "replace")
        except OSError as error:
            raise UsageError(f"the key cannot be read: {error.strerror}: {str(file)!r}") from None
    key = key.strip()
    if (file is not None and not key) or len(key) > _LONGEST or not re.fullmatch(r"[\x21-\x7e]*", key):
        raise UsageError(
            f"what is in {where} is no key: put the one line there that `holdfast serve keys create` showed"
        )
    return key
