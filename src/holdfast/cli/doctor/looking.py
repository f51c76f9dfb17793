"""What is looked at beside isolation: Python, settings, the store, keys, programs, the terminal.

Of keys only the names are ever read out.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from holdfast import __version__
from holdfast.cli.doctor.findings import Finding, Level
from holdfast.cli.words import one_line
from holdfast.errors import HoldfastError
from holdfast.flow.clock import SystemClock
from holdfast.models.providers.table import TABLE
from holdfast.runtime.opening import data_url, open_journal, store_exists
from holdfast.runtime.settings import load_settings, project_file, user_file
from holdfast.storage.sqlite import SQLITE_VERSION

__all__ = ("keys", "machine", "programs", "terminal")

_OLDEST = (3, 11)
_FOUND = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
"""Variables that say that a provider's credentials are found elsewhere."""
_PATIENCE = 5


def machine(env: Mapping[str, str]) -> list[Finding]:
    """Returns how the program itself, its settings and its store are."""
    python = platform.python_version()
    fits: Level = "ok" if sys.version_info[:2] >= _OLDEST else "broken"
    found = [
        Finding("holdfast", "version", "ok", __version__),
        Finding("holdfast", "Python", fits, python, "" if fits == "ok" else "use Python 3.11 or later"),
        Finding("holdfast", "SQLite", "ok", SQLITE_VERSION),
    ]
    folder = Path()
    try:
        held = load_settings(folder, env)
    except HoldfastError as error:
        return [*found, Finding("holdfast", "settings", "broken", str(error), "mend that line, or remove it")]
    files = [str(path) for path in (user_file(env), project_file(folder)) if path is not None and path.exists()]
    found.append(Finding("holdfast", "settings", "ok", ", ".join(files) or "none; all defaults"))
    found += [Finding("holdfast", "settings", "warning", note, "see holdfast config show") for note in held.notes]
    return [*found, asyncio.run(_store(held.store or data_url("holdfast.db")))]


async def _store(url: str) -> Finding:
    """Opens the store, where there is one; else sees whether there could be one."""
    if not store_exists(url):
        folder = _nearest(url)
        if os.access(folder, os.W_OK | os.X_OK):
            return Finding("holdfast", "store", "ok", f"{url} (made by the first run)")
        hint = "make that folder writable, or name another store: holdfast config set store sqlite:////path/to/file.db"
        return Finding("holdfast", "store", "broken", f"{url}: {folder} cannot be written", hint)
    try:
        journal = await open_journal(url, SystemClock())
        try:
            await journal.heads("local", limit=1)
        finally:
            await journal.close()
    except HoldfastError as error:
        return Finding("holdfast", "store", "broken", str(error), "or name another: holdfast config set store URL")
    return Finding("holdfast", "store", "ok", url)


def _nearest(url: str) -> Path:
    """Returns the folder in which the first run would make the store, or the first one above that is there."""
    folder = Path(url.removeprefix("sqlite:///").partition("?")[0]).expanduser().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def keys(env: Mapping[str, str]) -> list[Finding]:
    """Returns which providers can be asked, without a word of any key."""
    found: list[Finding] = []
    lacking: dict[str, str] = {}
    known: set[str] = set()
    for row in (each.described() for each in TABLE.values()):
        names = (*row.key_variables, *_FOUND) if row.key == "found" else row.key_variables
        if names[0] in known:  # the same service by another protocol
            continue
        known.add(names[0])
        held = next((name for name in names if env.get(name, "").strip()), None)
        url = env.get(row.url_variable, "").strip()
        if held is not None:
            found.append(Finding("models", row.title, "ok", f"{held} is set"))
        elif row.key == "wanted":
            lacking[row.title] = names[0]
        if url:
            bare = row.url_variable == "OLLAMA_HOST" and "://" not in url  # a name and a port will do there
            found.append(_address(row.title, row.url_variable, f"http://{url}" if bare else url))
    found += _described(env)
    if lacking:
        said = ", ".join(f"{title} ({name})" for title, name in lacking.items())
        hint = f"export {next(iter(lacking.values()))}=…, then holdfast models check"
        found.append(Finding("models", "no key", "missing", said, hint))
    if all(each.level == "missing" for each in found):
        found.append(Finding("models", "none", "warning", "no model can be asked", "holdfast demo needs no key"))
    return found


def _described(env: Mapping[str, str]) -> list[Finding]:
    """Says how the servers are that the settings describe."""
    try:
        servers = load_settings(Path(), env).servers
    except HoldfastError as error:
        hint = "mend the section servers of your settings"
        return [Finding("models", "servers", "broken", str(error), hint)] if "servers" in str(error) else []
    found: list[Finding] = []
    for name, server in servers.items():
        secret = () if server.oauth is None else (server.oauth.secret_variable,)
        names = secret or server.key_variables
        held = next((each for each in names if env.get(each, "").strip()), None)
        if held is None and names:
            found.append(Finding("models", name, "missing", f"{names[0]} is not set", f"export {names[0]}=…"))
        else:
            found.append(Finding("models", name, "ok", f"{held} is set" if held else "takes no key"))
    return found


def _address(provider: str, name: str, url: str) -> Finding:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Finding("models", provider, "warning", f"{name} is no address", "write https://host/path")
    # Only the place: a name and a password in front of it, or a key behind it, are nobody's business.
    return Finding("models", provider, "ok", f"{name} is {parts.scheme}://{parts.hostname}{port}{parts.path}")


def programs() -> list[Finding]:
    """Returns which programs the tools can use."""
    found = [
        _program("bash", "warning", "the bash tool needs it: install bash"),
        _program("git", "missing", "the git tool needs it: install git"),
        _program("rg", "missing", "grep is slower without it: install ripgrep"),
    ]
    if find_spec("textual") is None:
        hint = "holdfast runs watch needs it: pip install 'holdfast[tui]'"
        return [*found, Finding("programs", "textual", "missing", "not installed", hint)]
    return [*found, Finding("programs", "textual", "ok", version("textual"))]


def _program(name: str, level: Level, hint: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding("programs", name, level, "not found in PATH", hint)
    try:
        ran = subprocess.run(
            [path, "--version"], capture_output=True, timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return Finding("programs", name, level, f"{path} does not run", hint)
    first = one_line(ran.stdout.decode("utf-8", "replace").partition("\n")[0], 60)
    return Finding("programs", name, "ok" if ran.returncode == 0 else level, first or path)


def terminal(env: Mapping[str, str], *, colours: str, width: int, encoding: str) -> list[Finding]:
    """Returns what the terminal shows; `colours` are those that were found out."""
    if not sys.stdout.isatty():
        return [Finding("terminal", "output", "ok", "a file or a pipe: plain text, nobody is asked")]
    found = [Finding("terminal", "size", "ok", f"{width} columns")]
    if width < 60:
        found = [Finding("terminal", "size", "warning", f"{width} columns", "diffs and cards want 60 or more")]
    sober = "NO_COLOR is set" if env.get("NO_COLOR") else f"TERM is {env.get('TERM') or 'not set'}"
    found.append(Finding("terminal", "colours", "ok", colours or f"none: {sober}"))
    if encoding.lower().replace("-", "") != "utf8":
        found.append(Finding("terminal", "letters", "warning", encoding, "set LANG=C.UTF-8 or another UTF-8 locale"))
    else:
        found.append(Finding("terminal", "letters", "ok", "UTF-8"))
    return found
