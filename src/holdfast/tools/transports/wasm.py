"""A tool that is a module of WebAssembly: run once for each call, within limits, with nothing to reach but its input.

It has no network, no files, no environment and no arguments, and what it prints is its answer (`wasm_modules/`). So a
call changes nothing anywhere, whatever the module does. Credentials that are declared for the tool go in with its
input; it is for the module to use them in what it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, final

import msgspec

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.modules.port import USUAL_LIMITS, ModuleEnd, ModuleLimits
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.transports.port import Errand, Transport, Unsent, reach, too_large
from holdfast.tools.transports.wasm_modules.envelopes import given_to, said_by
from holdfast.tools.transports.wasm_modules.library import ModuleLibrary, library_at
from holdfast.tools.transports.wasm_modules.references import reference_of
from holdfast.types import ToolResult

__all__ = ("Wasm",)

_SHOWN = 400
"""Characters of its errors that a result shows."""
_LIMITS: Final = ("fuel", "memory")


@final
class Wasm(Transport):
    """Runs a module."""

    kind = "wasm"

    def __init__(
        self,
        module: str,
        modules: ModuleLibrary | Path | str | None = None,
        *,
        private: bool = False,
        limits: ModuleLimits = USUAL_LIMITS,
        digest: str = "",
    ) -> None:
        """`module` is a path below the folder of `modules` or an `https://` address, which with `private` may be one of
        this machine or its networks; `digest` is the SHA-256 it must have.

        Raises:
            UsageError: it is neither, or the digest is none.
        """
        self._reference = reference_of(module, digest)
        self.place = self._reference.shown
        self.private = private
        self._library = modules if isinstance(modules, ModuleLibrary) else library_at(modules, reach(private))
        self._limits = limits

    async def send(self, errand: Errand) -> ToolResult:
        """Returns what the module answered."""
        name = errand.request.tool.name
        loaded = await self._library.load(name, self._reference)
        limits = self._limits
        if errand.most < limits.output:
            limits = msgspec.structs.replace(limits, output=errand.most)
        try:
            end = await self._library.run(loaded, given_to(errand.request, errand.headers, limits), limits)
        except IsolationMissing as error:
            text = f"{name!r} was not called: {error}"
            raise Unsent(ToolResult(text, fault_of("isolation_unavailable"))) from None
        except SandboxError as error:
            text = f"{name!r} was not called: module {self.place!r} cannot be run: {error}"
            raise Unsent(ToolResult(text, fault_of("runtime_policy_invalid"))) from None
        return _told(name, end, limits, errand.hide)

    async def close(self) -> None:
        """Closes the connections that modules were fetched over in the running event loop."""
        await self._library.disconnect()


def _told(name: str, end: ModuleEnd, limits: ModuleLimits, hide: Callable[[str], str]) -> ToolResult:
    """Returns what an end comes to."""
    if end.ended == "ok":
        return said_by(name, end.output, hide)
    if end.ended == "output":
        return too_large(name, limits.output)
    said = f"; it printed: {' '.join(hide(end.errors).split())[-_SHOWN:]}" if end.errors else ""
    text = f"{name!r} failed: {end.why}{said}"
    if end.ended == "refused":
        return ToolResult(text, fault_of("runtime_policy_invalid"))
    if end.ended in _LIMITS:  # the same call would meet it again
        return ToolResult(text, fault_of("execution_failed", retryable=False), {"limit": end.ended})
    return ToolResult(text, fault_of("execution_failed"))
