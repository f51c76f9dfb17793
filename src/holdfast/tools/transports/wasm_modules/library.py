"""Where modules come from: files of one folder, and addresses they are fetched from, once.

A file is read through the guard of workspaces, so that neither its path nor a link leads out of the folder. What is
fetched passes the guard of addresses, is bounded, and is kept in a folder of the user's own, as a whole or not at all;
its digest stands beside it. A pinned digest is checked each time a module is loaded.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final, final
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from holdfast.errors import (
    AddressBlocked,
    AnswerTooLarge,
    NetError,
    PathEscape,
    RequestRefused,
    SandboxError,
)
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import PUBLIC, AddressPolicy
from holdfast.sandbox.modules.port import ModuleEnd, ModuleLimits
from holdfast.sandbox.modules.running import ModuleRunner
from holdfast.sandbox.snippets.codes import kept
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.transports.port import Unsent
from holdfast.tools.transports.wasm_modules.references import Reference
from holdfast.types import ToolResult

__all__ = ("LARGEST", "Loaded", "ModuleLibrary", "library_at")

LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a module."""
_REDIRECTS = 5
_TRANSIENT = (408, 425, 429)


class Loaded(msgspec.Struct, frozen=True):
    """A module."""

    data: bytes
    digest: str
    """Its SHA-256."""


@final
class ModuleLibrary:
    """The modules of all tools that are modules, and what runs them; usable from any event loop."""

    def __init__(
        self,
        folder: Path | None = None,
        cache: Path | None = None,
        *,
        policy: AddressPolicy = PUBLIC,
        client: HttpClient | None = None,
        largest: int = LARGEST,
    ) -> None:
        """`folder` holds the modules that are named by a path; `cache`, this user's own by default, what was fetched
        and compiled. `client` fetches, by the policy it was made with; one of the library's own follows `policy`.
        """
        self._folder = folder
        self._cache = cache or _usual_cache()
        self._client = client or HttpClient(policy, NetSettings(body_limit=largest))
        self._largest = largest
        self._runner: ModuleRunner | None = None
        self._fetching: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()

    async def load(self, tool: str, reference: Reference) -> Loaded:
        """Returns a module.

        Raises:
            Unsent: there is none, it may not be had, or it is another than was pinned; nothing was run.
        """
        if not reference.remote:
            return _checked(tool, reference, await asyncio.to_thread(self._read, tool, reference.name))
        if (found := await self._kept(tool, reference)) is not None:
            return found
        locks = self._fetching.setdefault(asyncio.get_running_loop(), {})
        async with locks.setdefault(reference.name, asyncio.Lock()):
            if (found := await self._kept(tool, reference)) is not None:
                return found  # somebody was quicker
            loaded = _checked(tool, reference, await self._fetched(tool, reference))
            await asyncio.to_thread(self._keep, tool, reference, loaded)
            return loaded

    async def run(self, loaded: Loaded, given: bytes, limits: ModuleLimits) -> ModuleEnd:
        """Runs a module once.

        Raises:
            IsolationMissing: wasmtime is not installed.
            SandboxError: it is no module that can be run here.
        """
        if self._runner is None:
            self._runner = ModuleRunner(self._cache / "compiled")
        return await self._runner.run(loaded.data, given, limits, digest=loaded.digest)

    @property
    def running(self) -> int:
        """Modules that run at this moment."""
        return 0 if self._runner is None else self._runner.running

    async def disconnect(self) -> None:
        """Closes the connections of the running event loop; modules run on."""
        await self._client.close()

    async def close(self) -> None:
        """Gives threads and connections back; only when nothing runs."""
        await self._client.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await asyncio.to_thread(runner.close)

    def _read(self, tool: str, path: str) -> Loaded:
        if self._folder is None:
            raise _failed(tool, f"there is no folder of modules to find {path!r} in: name one")
        try:
            data = Workspace(self._folder).contents(path)[0]
        except PathEscape as error:
            raise _failed(tool, f"module {path!r} is not loaded: {error}", "permission_denied") from None
        except (OSError, SandboxError) as error:
            raise _failed(tool, f"module {path!r} cannot be read: {error}") from None
        if len(data) > self._largest:
            raise _failed(tool, f"module {path!r} has over {self._largest:,} bytes")
        return _loaded(data)

    async def _kept(self, tool: str, reference: Reference) -> Loaded | None:
        """Returns what was fetched before; None where there is nothing, or it is damaged or another than was pinned."""
        loaded = await asyncio.to_thread(self._found, tool, reference)
        return loaded if loaded is not None and reference.digest in ("", loaded.digest) else None

    def _found(self, tool: str, reference: Reference) -> Loaded | None:
        try:
            return _loaded(kept(self._file(reference), _absent).read_bytes())
        except _Absent:
            return None
        except (OSError, SandboxError) as error:
            raise self._unkept(tool, error) from None

    def _keep(self, tool: str, reference: Reference, loaded: Loaded) -> None:
        try:
            kept(self._file(reference), lambda: loaded.data, anew=True)
        except (OSError, SandboxError) as error:
            raise self._unkept(tool, error) from None

    def _file(self, reference: Reference) -> Path:
        return self._cache / "fetched" / f"{reference.key}.wasm"

    def _unkept(self, tool: str, error: Exception) -> Unsent:
        return _failed(tool, f"modules cannot be kept in {str(self._cache)!r} ({error}): name another folder")

    async def _fetched(self, tool: str, reference: Reference) -> Loaded:
        data = bytearray()
        try:
            async with self._client.get(reference.name, redirects=_REDIRECTS) as answer:
                status = answer.status
                async for piece in answer:
                    data += piece
                    if len(data) > self._largest:
                        raise _failed(tool, f"module {reference.shown!r} has over {self._largest:,} bytes")
        except AddressBlocked as error:
            raise _failed(tool, f"module {reference.shown!r} is not fetched: {error}", "permission_denied") from None
        except (RequestRefused, AnswerTooLarge) as error:
            raise _failed(tool, f"module {reference.shown!r} cannot be fetched: {error}") from None
        except NetError as error:
            text = f"module {reference.shown!r} cannot be fetched: {error}"
            raise _failed(tool, text, "execution_failed", retryable=True) from None
        if status != 200:
            text = f"module {reference.shown!r} cannot be fetched: HTTP status {status}"
            again = status in _TRANSIENT or status >= 500
            raise _failed(tool, text, "execution_failed", retryable=again)
        return _loaded(bytes(data))


_shared: WeakValueDictionary[tuple[Path | None, str], ModuleLibrary] = WeakValueDictionary()


def library_at(folder: Path | str | None, policy: AddressPolicy) -> ModuleLibrary:
    """Returns the library of a folder, the same one for all tools of this process; without a folder it has only what
    is fetched.
    """
    place = None if folder is None else Path(folder).resolve()
    key = (place, policy.name)
    if (found := _shared.get(key)) is None:
        found = _shared[key] = ModuleLibrary(place, policy=policy)
    return found


class _Absent(Exception):
    """Nothing was fetched yet."""


def _absent() -> bytes:
    raise _Absent


def _loaded(data: bytes) -> Loaded:
    return Loaded(data, hashlib.sha256(data).hexdigest())


def _checked(tool: str, reference: Reference, loaded: Loaded) -> Loaded:
    """Returns a module that is the one that was pinned."""
    if reference.digest not in ("", loaded.digest):
        raise _failed(tool, f"module {reference.shown!r} is not what was pinned: its digest is {loaded.digest}")
    return loaded


def _failed(tool: str, why: str, code: str = "runtime_policy_invalid", *, retryable: bool = False) -> Unsent:
    return Unsent(ToolResult(f"{tool!r} was not called: {why}", fault_of(code, retryable=retryable)))


def _usual_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "holdfast" / "modules"
