"""The contract of modules, v1: one object in on the standard input, one object out on the standard output.

Source: Orloj 3.4. A module that prints anything else has broken the contract: `runtime_policy_invalid`, which trying
again does not mend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from holdfast.sandbox.modules.port import ModuleLimits
from holdfast.tools.contract.checking import result_of
from holdfast.tools.contract.messages import Answer, Fault, Request
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.types import ToolResult

__all__ = ("given_to", "said_by")

_VERSION: Final = "v1"


class _Runtime(msgspec.Struct, frozen=True):
    entrypoint: str
    max_memory_bytes: int
    fuel: int
    enable_wasi: bool


class _Auth(msgspec.Struct, frozen=True):
    profile: str
    headers: Mapping[str, str]


class _Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a module reads."""

    contract_version: str = _VERSION
    namespace: str
    tool: str
    input: str
    """The arguments as JSON text."""
    capabilities: tuple[str, ...]
    risk_level: str
    runtime: _Runtime
    auth: _Auth


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a module prints."""

    contract_version: str
    status: Literal["ok", "error", "denied"]
    output: msgspec.Raw = msgspec.Raw(b"null")
    error: Fault | None = None


_decoder = msgspec.json.Decoder(_Said)
_text_decoder = msgspec.json.Decoder(str)


def given_to(request: Request, headers: Mapping[str, str], limits: ModuleLimits) -> bytes:
    """Returns what a module reads for a request."""
    return msgspec.json.encode(
        _Given(
            namespace=request.namespace,
            tool=request.tool.name,
            input=request.input_raw,
            capabilities=request.tool.capabilities,
            risk_level=request.tool.risk_level,
            runtime=_Runtime(limits.entrypoint, limits.memory, limits.fuel, limits.wasi),
            auth=_Auth(request.auth.profile, headers),
        )
    )


def said_by(name: str, output: bytes, hide: Callable[[str], str] = str) -> ToolResult:
    """Returns what a module's output comes to, whatever it is; `hide` takes secrets out of texts that are cut."""
    if not output.strip():
        return _broken(name, "", "it printed nothing")
    try:
        said = _decoder.decode(output)
        text = _text_of(said.output)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _broken(name, "", f"what it printed is not one answer of contract {_VERSION}: {error}")
    if said.contract_version != _VERSION:
        return _broken(name, "contract_version", f"its version is {said.contract_version[:40]!r}")
    if said.status == "ok" and bytes(said.output) == b"null":
        return _broken(name, "output", "its status is 'ok', and it says no output")
    if said.status != "ok" and (said.error is None or not said.error.code):
        return _broken(name, "error.code", f"its status is {said.status!r}, and it says no code")
    answer = Answer(
        tool_contract_version=_VERSION, request_id="", status=said.status, output={"result": text}, error=said.error
    )
    return result_of(name, answer, hide)


def _text_of(output: msgspec.Raw) -> str:
    """Returns the output that the model reads: text as it is, any other value as JSON."""
    data = bytes(output)
    return _text_decoder.decode(data) if data.startswith(b'"') else data.decode()


def _broken(name: str, field: str, why: str) -> ToolResult:
    text = f"{name!r} broke the contract of modules: {why}"
    return ToolResult(text, fault_of("runtime_policy_invalid"), {"field": field} if field else {})
